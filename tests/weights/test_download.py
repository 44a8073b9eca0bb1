"""Downloads from a real server that cuts, stalls, lies and fails: what has its name is right, and what was brought is kept."""

import hashlib
import random
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from http_server import compressed, content, endless, serving, status
from watch import largest_file

from frex.cli.main import main
from frex.errors import FRExError
from frex.weights.download import BLOCK, Unreachable, fetch
from frex.weights.manifest import WeightFile

SIZE = 16 * BLOCK
# Weights begin like a pickle.
CONTENT = b'\x80' + random.Random(0).randbytes(SIZE - 1)
OTHER = b'\x80' + random.Random(1).randbytes(SIZE - 1)
SUM = hashlib.sha256(CONTENT).hexdigest()
PAGE = b'<!DOCTYPE html><title>Please sign in</title>'
# What a manifest may know of a file.
ALL, NO_SIZE, BEGINNING, NOTHING = {}, {'size': None}, {'size': None, 'sha256': [SUM[:8]]}, {'size': None, 'sha256': []}


def weights(*urls, **changes):
    known = {
        'key': 'weights',
        'file': 'weights.pth',
        'purpose': 'tests',
        'tasks': ['train'],
        'size': SIZE,
        'sha256': [SUM],
        'licence': 'MIT',
    }
    return WeightFile(**(known | changes), urls=list(urls))


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ('FREX_HOME', 'XDG_CACHE_HOME', 'TORCH_HOME'):
        monkeypatch.setenv(variable, str(tmp_path / 'empty'))
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'weights').mkdir()
    return tmp_path / 'weights'


@pytest.fixture
def serve():
    """Starts servers: the answers to requests for weights.pth, and those for other paths."""
    with ExitStack() as stack:
        yield lambda *answers, **others: stack.enter_context(
            serving({'/weights.pth': list(answers)} | {f'/{path}': answers for path, answers in others.items()})
        )


def get(server, folder, **changes):
    """Fetch weights.pth from the server at once; tells how it came."""
    return fetch(weights(server.url('/weights.pth'), **changes), folder, pause=0)[1]


def refusal(folder, *urls, **changes):
    """What the addresses said, where none gives the file; nothing has its name."""
    with pytest.raises(Unreachable) as error:
        fetch(weights(*urls, **changes), folder, pause=0)
    assert not (folder / 'weights.pth').exists()
    return list(error.value.answers.values())


def names(folder):
    return [path.name for path in folder.iterdir() if path.suffix != '.lock']


def is_whole(folder):
    return (folder / 'weights.pth').read_bytes() == CONTENT and names(folder) == ['weights.pth']


# --- Servers that give the file


@pytest.mark.parametrize('stated', [True, False])
@pytest.mark.parametrize('known', [ALL, NO_SIZE, BEGINNING, NOTHING])
def test_a_file_is_fetched_by_one_request_and_nothing_else_is_left(folder, serve, known, stated):
    server = serve(content(CONTENT, stated=stated))
    assert get(server, folder, **known).startswith(f'from {server.url("/weights.pth")}')
    assert is_whole(folder)
    assert server.ranges == [None]
    assert server.asked[0].headers['accept-encoding'] == 'identity'


def test_a_sum_that_nobody_states_is_told(folder, serve):
    assert get(serve(content(CONTENT)), folder, **NOTHING).endswith(f'; nobody states its sha256, this one has {SUM}')


def test_the_folder_is_made(tmp_path, serve):
    get(serve(content(CONTENT)), tmp_path / 'a' / 'b')
    assert is_whole(tmp_path / 'a' / 'b')


@pytest.mark.parametrize('place', ['weights', 'experiments/pretrained_models'])
def test_a_file_that_lies_somewhere_is_not_asked_for(tmp_path, folder, serve, place):
    server = serve(content(CONTENT))
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / 'weights.pth').write_bytes(CONTENT)
    path, how = fetch(weights(server.url('/weights.pth')), folder)
    assert path.resolve() == tmp_path / place / 'weights.pth'
    assert how == 'there already'
    assert server.asked == []


@pytest.mark.parametrize('damaged', [b'', CONTENT[:-1], OTHER])
def test_a_damaged_file_is_replaced(folder, serve, damaged):
    (folder / 'weights.pth').write_bytes(damaged)
    get(serve(content(CONTENT)), folder)
    assert is_whole(folder)


def test_a_damaged_file_stays_where_none_is_to_be_had(folder, serve):
    (folder / 'weights.pth').write_bytes(OTHER)
    with pytest.raises(Unreachable):
        get(serve(status(404)), folder)
    assert (folder / 'weights.pth').read_bytes() == OTHER


def test_a_redirection_is_followed_and_resumed(folder, serve):
    server = serve(status(302, Location='/moved'), moved=[content(CONTENT, cut=3 * BLOCK), content(CONTENT)])
    get(server, folder)
    assert is_whole(folder)
    assert [(asked.path, asked.range) for asked in server.asked] == [
        ('/weights.pth', None),
        ('/moved', None),
        ('/weights.pth', 'bytes=49152-'),
        ('/moved', 'bytes=49152-'),
    ]


@pytest.mark.parametrize('known', [ALL, NO_SIZE, NOTHING])
def test_a_server_that_compresses_unasked_is_understood(folder, serve, known):
    get(serve(compressed(CONTENT)), folder, **known)
    assert is_whole(folder)


def test_offline_nothing_is_asked(folder, serve):
    server = serve(content(CONTENT))
    with pytest.raises(Unreachable) as error:
        fetch(weights(server.url('/weights.pth')), folder, [server.url('')], offline=True)
    assert error.value.answers == {server.url('/weights.pth'): 'not tried'}
    assert server.asked == []


# --- Resuming


@pytest.mark.parametrize('known', [ALL, NO_SIZE, NOTHING])
def test_a_cut_connection_is_resumed_where_it_was_cut(folder, serve, known):
    server = serve(content(CONTENT, cut=3 * BLOCK), content(CONTENT))
    get(server, folder, **known)
    assert is_whole(folder)
    assert server.ranges == [None, 'bytes=49152-']
    assert server.given == SIZE


def test_a_reset_connection_is_no_failure(folder, serve):
    get(serve(content(CONTENT, cut=3 * BLOCK, reset=True), content(CONTENT)), folder)
    assert is_whole(folder)


@pytest.mark.parametrize('known', [ALL, NO_SIZE])
def test_a_server_that_cuts_every_answer_is_asked_until_the_file_is_whole(folder, serve, known):
    server = serve(content(CONTENT, cut=20_000))
    get(server, folder, **known)
    assert is_whole(folder)
    assert server.ranges == [None, *(f'bytes={start}-' for start in range(BLOCK, SIZE, BLOCK))]


@pytest.mark.parametrize('known', [ALL, NO_SIZE])
def test_a_server_that_gives_shorter_ranges_than_asked_for_is_asked_again(folder, serve, known):
    (folder / 'weights.pth.part').write_bytes(CONTENT[:1000])
    server = serve(content(CONTENT, most=100_000))
    get(server, folder, **known)
    assert is_whole(folder)
    assert server.ranges == ['bytes=1000-', 'bytes=101000-', 'bytes=201000-']


@pytest.mark.parametrize('known', [ALL, NO_SIZE])
@pytest.mark.parametrize('stated', [True, False])
def test_what_an_earlier_run_left_is_kept(folder, serve, known, stated):
    (folder / 'weights.pth.part').write_bytes(CONTENT[:1000])
    server = serve(content(CONTENT, stated=stated))
    get(server, folder, **known)
    assert is_whole(folder)
    assert server.ranges == ['bytes=1000-']
    assert server.given == SIZE - 1000


def test_a_whole_file_that_an_earlier_run_did_not_name_is_not_asked_for(folder, serve):
    (folder / 'weights.pth.part').write_bytes(CONTENT)
    server = serve(content(CONTENT))
    get(server, folder)
    assert is_whole(folder)
    assert server.asked == []


@pytest.mark.parametrize('known', [ALL, NO_SIZE])
def test_a_server_without_ranges_gives_all_again(folder, serve, known):
    (folder / 'weights.pth.part').write_bytes(OTHER[:1000])
    server = serve(content(CONTENT, ranges=False))
    get(server, folder, **known)
    assert is_whole(folder)
    assert server.ranges == ['bytes=1000-']


def test_a_server_without_ranges_that_always_cuts_is_left(folder, serve):
    server = serve(content(CONTENT, ranges=False, cut=20_000))
    refusal(folder, server.url('/weights.pth'))
    assert server.ranges == [None, *['bytes=16384-'] * 3]


@pytest.mark.parametrize(
    'headers',
    [
        {'Content_Range': f'bytes 500-{SIZE - 1}/{SIZE}'},
        {'Content_Range': f'bytes 10000-{SIZE - 1}/{SIZE}'},
        {'Content_Range': 'nonsense'},
        {'Content_Range': f'bytes 1000-{SIZE - 1}/{SIZE}', 'Content_Encoding': 'gzip'},
        {},
    ],
)
@pytest.mark.parametrize('known', [ALL, NO_SIZE])
def test_another_range_than_was_asked_for_is_not_written(folder, serve, known, headers):
    (folder / 'weights.pth.part').write_bytes(CONTENT[:1000])
    server = serve(status(206, OTHER[1000:], **headers), content(CONTENT))
    get(server, folder, **known)
    assert is_whole(folder)
    assert server.ranges == ['bytes=1000-', None]


@pytest.mark.parametrize('known', [ALL, NO_SIZE, NOTHING])
@pytest.mark.parametrize('stale', [CONTENT + b'x', OTHER + b'xyz', OTHER, OTHER[:1000], PAGE, b''])
@pytest.mark.parametrize('ranges', [True, False])
def test_whatever_an_earlier_run_left_the_file_is_right(folder, serve, known, stale, ranges):
    (folder / 'weights.pth.part').write_bytes(stale)
    get(serve(content(CONTENT, ranges=ranges)), folder, **known)
    assert is_whole(folder)


def test_a_refused_range_is_followed_by_a_request_for_all(folder, serve):
    (folder / 'weights.pth.part').write_bytes(CONTENT + b'x')
    server = serve(content(CONTENT))
    get(server, folder)
    assert server.ranges == ['bytes=262145-', None]


def test_a_range_that_is_refused_though_none_was_asked_for_is_no_failure(folder, serve):
    get(serve(status(416), content(CONTENT)), folder)
    assert is_whole(folder)


def test_an_address_that_gives_a_page_does_not_undo_what_another_gave(folder, serve):
    (folder / 'weights.pth.part').write_bytes(CONTENT[:1000])
    server = serve(content(CONTENT), portal=[status(200, PAGE)])
    fetch(weights(server.url('/portal'), server.url('/weights.pth')), folder, pause=0)
    assert is_whole(folder)
    assert server.given == len(PAGE) + SIZE - 1000


# --- Servers that do not give the file


@pytest.mark.parametrize(
    ('code', 'requests'), [(400, 1), (401, 1), (403, 1), (404, 1), (410, 1), (416, 3), (500, 3), (502, 3), (503, 3), (504, 3)]
)
def test_what_may_pass_is_asked_again_and_what_will_not_is_not(folder, serve, code, requests):
    server = serve(status(code, PAGE))
    assert refusal(folder, server.url('/weights.pth')) == ['the range was refused' if code == 416 else f'status {code}']
    assert len(server.asked) == requests
    assert names(folder) == []


def test_a_server_that_was_busy_is_asked_again(folder, serve):
    get(serve(status(503), status(500), content(CONTENT)), folder)
    assert is_whole(folder)


def test_a_failure_in_the_middle_keeps_what_is_there(folder, serve):
    server = serve(content(CONTENT, cut=3 * BLOCK), status(503), content(CONTENT))
    get(server, folder)
    assert is_whole(folder)
    assert server.ranges == [None, 'bytes=49152-', 'bytes=49152-']


@pytest.mark.parametrize('body', [CONTENT[:-1], CONTENT + b'x', PAGE])
def test_another_length_than_the_manifests_is_refused_at_once(folder, serve, body):
    server = serve(content(body))
    assert refusal(folder, server.url('/weights.pth')) == [f'{len(body):,} bytes instead of 262,144']
    assert len(server.asked) == 1
    assert names(folder) == []


def test_a_file_that_is_shorter_than_the_manifests_does_not_take_for_ever(folder, serve):
    server = serve(content(CONTENT[:-1], stated=False))
    refusal(folder, server.url('/weights.pth'))
    assert server.ranges == [None, 'bytes=262143-'] * 2
    assert names(folder) == []


def test_no_more_is_written_than_the_manifests_size(folder, serve):
    server = serve(endless)
    with largest_file(SIZE):
        assert refusal(folder, server.url('/weights.pth')) == ['more than 262,144 bytes']
    assert names(folder) == []


def test_no_more_is_written_than_any_file_has(folder, serve, monkeypatch):
    monkeypatch.setattr('frex.weights.download.MOST_BYTES', 100_000)
    server = serve(endless)
    with largest_file(100_000):
        assert refusal(folder, server.url('/weights.pth'), **NOTHING) == ['more than 100,000 bytes']
    assert names(folder) == []


@pytest.mark.parametrize('known', [ALL, NO_SIZE, BEGINNING])
def test_other_bytes_are_told_and_nothing_is_left_of_them(folder, serve, known):
    server = serve(content(OTHER))
    digits = hashlib.sha256(OTHER).hexdigest()[:8]
    assert refusal(folder, server.url('/weights.pth'), **known) == [f'gave other bytes (their sha256 begins with {digits})']
    assert len(server.asked) == 1
    assert names(folder) == []


def test_any_of_the_known_sums_will_do(folder, serve):
    get(serve(content(CONTENT)), folder, sha256=['0' * 64, SUM[:8]])
    assert is_whole(folder)


@pytest.mark.parametrize('body', [PAGE, b'', b'{"error": "not found"}', b'PK', b'version https://git-lfs.github.com/spec/v1\n'])
def test_a_page_is_not_taken_for_weights_of_which_nothing_is_known(folder, serve, body):
    server = serve(content(body))
    assert refusal(folder, server.url('/weights.pth'), **NOTHING)[0].startswith('gave other bytes')
    assert names(folder) == []


@pytest.mark.parametrize('begins', [b'\x80\x02', b'PK\x03\x04', b'\x40\0\0\0\0\0\0\0{"__metadata__"'])
def test_pickles_zips_and_safetensors_are_weights(folder, serve, begins):
    get(serve(content(begins + PAGE)), folder, **NOTHING)
    assert (folder / 'weights.pth').read_bytes() == begins + PAGE


def test_bytes_that_are_not_compressed_though_the_server_says_so_are_not_taken(folder, serve):
    server = serve(content(CONTENT, Content_Encoding='gzip'))
    assert 'gzip' in refusal(folder, server.url('/weights.pth'))[0]
    assert len(server.asked) == 3


@pytest.mark.parametrize('length', ['much', '-1', ''])
def test_a_length_that_is_no_number_is_not_believed(folder, serve, length):
    get(serve(content(CONTENT, stated=False, Content_Length=length)), folder, **NO_SIZE)
    assert is_whole(folder)


def test_a_server_that_stalls_is_left_and_resumed(folder, serve, monkeypatch):
    monkeypatch.setattr('frex.weights.download.READ_SECONDS', 0.2)
    server = serve(content(CONTENT, hold=4 * BLOCK), content(CONTENT))
    get(server, folder)
    assert is_whole(folder)
    assert server.ranges == [None, 'bytes=65536-']


@pytest.mark.parametrize('answer', [content(CONTENT, hold=0), lambda handler, asked: handler.server.released.wait()])
def test_a_silent_server_is_left(folder, serve, monkeypatch, answer):
    monkeypatch.setattr('frex.weights.download.READ_SECONDS', 0.1)
    server = serve(answer)
    assert refusal(folder, server.url('/weights.pth')) == ['no answer in time']
    assert len(server.asked) == 3


def test_a_redirection_in_a_circle_ends(folder, serve):
    server = serve(status(302, Location='/weights.pth'))
    assert refusal(folder, server.url('/weights.pth')) == ['Exceeded 30 redirects.']


@pytest.mark.parametrize('path', ['/weights.pth', '/someone/something/resolve/main/weights.pth'])
def test_an_address_at_which_nothing_listens_is_told(folder, path):
    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        assert refusal(folder, f'http://127.0.0.1:{bound.getsockname()[1]}{path}') == ['no connection']


@pytest.mark.parametrize(
    'answer', [(socket.EAI_NONAME, 'Name or service not known'), (socket.EAI_AGAIN, 'Temporary failure in name resolution')]
)
def test_a_host_that_is_not_known_is_told(folder, monkeypatch, answer):
    def unknown(*_, **__):
        raise socket.gaierror(*answer)

    monkeypatch.setattr(socket, 'getaddrinfo', unknown)
    assert refusal(folder, 'http://nowhere.invalid/weights.pth') == ['its host is not known here']


# --- Several addresses


@pytest.mark.parametrize('first', [content(OTHER), content(PAGE), status(404), status(500), content(CONTENT, cut=0)])
@pytest.mark.parametrize('known', [ALL, NO_SIZE])
def test_the_next_address_is_asked(folder, serve, first, known):
    bad, good = serve(first), serve(content(CONTENT))
    how = fetch(weights(bad.url('/weights.pth'), good.url('/weights.pth'), **known), folder, pause=0)[1]
    assert how == f'from {good.url("/weights.pth")}'
    assert is_whole(folder)


def test_the_next_address_goes_on_where_the_first_was_cut(folder, serve):
    bad, good = serve(content(CONTENT, cut=3 * BLOCK), status(404)), serve(content(CONTENT))
    fetch(weights(bad.url('/weights.pth'), good.url('/weights.pth')), folder, pause=0)
    assert is_whole(folder)
    assert good.ranges == ['bytes=49152-']


def test_what_a_wrong_address_began_is_not_in_the_file(folder, serve):
    bad, good = serve(content(OTHER, cut=3 * BLOCK), status(404)), serve(content(CONTENT))
    fetch(weights(bad.url('/weights.pth'), good.url('/weights.pth')), folder, pause=0)
    assert is_whole(folder)
    assert good.ranges == ['bytes=49152-', None]


def test_each_addresss_answer_is_told(folder, serve):
    server = serve(status(404), other=[content(OTHER)])
    with pytest.raises(Unreachable) as error:
        fetch(weights(server.url('/weights.pth'), server.url('/other')), folder, pause=0)
    digits = hashlib.sha256(OTHER).hexdigest()[:8]
    assert str(error.value) == (
        f'{server.url("/weights.pth")}: status 404; {server.url("/other")}: gave other bytes (their sha256 begins with {digits})'
    )


@pytest.mark.parametrize('slash', ['', '/'])
def test_mirrors_are_asked_first(folder, serve, slash):
    mirror, server = serve(content(CONTENT)), serve(content(CONTENT))
    how = fetch(weights(server.url('/weights.pth')), folder, [mirror.url(slash)])[1]
    assert how == f'from {mirror.url("/weights.pth")}'
    assert server.asked == []


@pytest.mark.parametrize('mirror', ['127.0.0.1/weights', 'file:///tmp', 'http://', 'http://a b', 'nonsense'])
def test_a_mirror_that_is_no_address_is_passed_over(folder, serve, mirror):
    server = serve(content(CONTENT))
    fetch(weights(server.url('/weights.pth')), folder, [mirror], pause=0)
    assert is_whole(folder)


# --- Folders and processes


@pytest.mark.parametrize(
    ('obstacle', 'place'), [('weights', 'weights'), ('weights', 'weights/below'), ('x', '/proc/weights'), ('x', '/dev/null/weights')]
)
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, serve, obstacle, place):
    (tmp_path / obstacle).write_text('no folder')
    server = serve(content(CONTENT))
    with pytest.raises(FRExError) as error:
        get(server, tmp_path / place)
    assert str(error.value).startswith(f'{tmp_path / place / "weights.pth"}: cannot be written (')
    assert len(str(error.value).splitlines()) == 1
    assert server.asked == []


@pytest.mark.parametrize('name', ['weights.pth', 'weights.pth.part'])
def test_a_folder_in_the_files_place_is_one_line(folder, serve, name):
    (folder / name / 'kept').mkdir(parents=True)
    with pytest.raises(FRExError, match=r'weights\.pth: cannot be written \(Is a directory\)$'):
        get(serve(content(CONTENT)), folder)
    assert (folder / name / 'kept').is_dir()


def test_a_full_disk_is_one_line_and_what_was_written_is_kept(folder, serve):
    server = serve(content(CONTENT))
    with largest_file(4 * BLOCK), pytest.raises(FRExError, match=r'weights\.pth: cannot be written \(File too large\)$'):
        get(server, folder)
    get(server, folder)
    assert is_whole(folder)
    assert server.ranges == [None, 'bytes=65536-']


PROCESS = f"""
import sys
from pathlib import Path
from frex.weights.download import fetch
from frex.weights.manifest import WeightFile
file = WeightFile('weights', 'weights.pth', 'tests', ['train'], {SIZE}, ['{SUM}'], 'MIT', [sys.argv[1]])
print('begins', flush=True)
print(fetch(file, Path(sys.argv[2]))[1])
"""


def start_process(server, folder):
    process = subprocess.Popen([sys.executable, '-c', PROCESS, server.url('/weights.pth'), str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'begins\n'
    return process


def wait_until(happened):
    ends = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_two_processes_fetch_a_file_once(folder, serve):
    server = serve(content(CONTENT, hold=4 * BLOCK))
    processes = [start_process(server, folder) for _ in range(2)]
    wait_until(lambda: server.asked)
    # Time for the other to ask, if it did not wait.
    time.sleep(0.3)
    server.released.set()
    said = {process.communicate(timeout=20)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert f'from {server.url("/weights.pth")}\n' in said
    assert said & {'fetched by another process\n', 'there already\n'}
    assert is_whole(folder)
    assert server.ranges == [None]


def test_a_killed_process_is_resumed_by_the_next(folder, serve):
    part = folder / 'weights.pth.part'
    server = serve(content(CONTENT, hold=8 * BLOCK), content(CONTENT))
    process = start_process(server, folder)
    wait_until(lambda: part.exists() and part.stat().st_size)
    process.kill()
    process.communicate(timeout=20)
    there = part.stat().st_size
    assert not (folder / 'weights.pth').exists()
    get(server, folder)
    assert is_whole(folder)
    assert server.ranges == [None, f'bytes={there}-']


# --- The command


def download(*arguments):
    return main(['weights', 'download', *map(str, arguments)])


@pytest.mark.parametrize('names', [['weights'], ['--for', 'train'], ['weights', 'weights', '--for', 'train']])
def test_the_command_says_where_each_file_is_and_its_licence(folder, serve, manifest_of, capsys, names):
    server = serve(content(CONTENT))
    manifest_of(weights(server.url('/weights.pth')), weights(key='other', file='other.pth', tasks=['restore']))
    assert download('--weights', folder, *names) == 0
    path = folder / 'weights.pth'
    assert capsys.readouterr() == (
        f'into {folder}\nweights: {path} (from {server.url("/weights.pth")}; licence: MIT)\n',
        '',
    )
    assert is_whole(folder)
    assert download('--weights', folder, *names) == 0
    assert capsys.readouterr().out == f'into {folder}\nweights: {path} (there already; licence: MIT)\n'
    assert len(server.asked) == 1


@pytest.mark.parametrize('arguments', [[], ['--offline']])
def test_each_file_that_cannot_be_had_is_a_line_with_all_that_is_needed_to_get_it_by_hand(folder, serve, manifest_of, capsys, arguments):
    server = serve(content(CONTENT))
    told = {
        '1st.pth': ({}, f'262,144 bytes, sha256 {SUM}'),
        '2nd.pth': (NO_SIZE, f'size not known, sha256 {SUM}'),
        '3rd.pth': (BEGINNING, f'size not known, sha256 {SUM[:8]}... (the rest is not known)'),
        '4th.pth': (NOTHING, 'size not known, sha256 not known'),
    }
    urls = [server.url('/lost'), server.url('/lost_too')]
    manifest_of(*(weights(*urls, key=name, file=name, **known) for name, (known, _) in told.items()))
    assert download('--weights', folder, '--for', 'train', *arguments) == 1
    *lines, last = capsys.readouterr().err.splitlines()
    answer = 'not tried' if arguments else 'status 404'
    addresses = ', '.join(f'{url} ({answer})' for url in urls)
    assert lines == [f'{name}: {described}, from {addresses}; put it into {folder}' for name, (_, described) in told.items()]
    assert last.startswith('frex: error: 4 of 4 files are not there: ')
    assert str(folder) in last
    assert len(server.asked) == (0 if arguments else 8)


def test_the_other_files_are_fetched_where_one_cannot_be_had(folder, serve, manifest_of, capsys):
    server = serve(content(CONTENT))
    manifest_of(weights(server.url('/lost'), key='lost', file='lost.pth'), weights(server.url('/weights.pth')))
    assert download('--weights', folder, '--for', 'train') == 1
    assert is_whole(folder)
    output, errors = capsys.readouterr()
    assert f'weights: {folder / "weights.pth"} (from ' in output
    assert [line.split(':')[0] for line in errors.splitlines()] == ['lost.pth', 'frex']


def test_offline_what_is_there_is_enough(folder, serve, manifest_of):
    (folder / 'weights.pth').write_bytes(CONTENT)
    manifest_of(weights())
    assert download('--weights', folder, '--offline', 'weights') == 0


def test_the_commands_mirrors_are_asked_in_their_order(folder, serve, manifest_of):
    first, second, server = serve(status(404)), serve(content(CONTENT)), serve(content(CONTENT))
    manifest_of(weights(server.url('/weights.pth')))
    assert download('--weights', folder, 'weights', '--mirror', first.url('/'), '--mirror', second.url('')) == 0
    assert [len(one.asked) for one in (first, second, server)] == [1, 1, 0]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'say which: --for train, restore or evaluate, or some of: weights'),
        (['weight'], "no weights are called 'weight'; did you mean 'weights'?"),
        (['--weights', '/dev/null', 'weights'], '/dev/null/weights.pth: cannot be written (File exists)'),
    ],
)
def test_what_the_command_cannot_do_is_one_line(manifest_of, capsys, arguments, message):
    manifest_of(weights())
    assert download(*arguments) == 1
    assert capsys.readouterr().err == f'frex: error: {message}\n'
