"""Downloads from a real server that cuts, stalls, lies and fails: what has its name is right, and what was brought is kept."""

import hashlib
import socket

import pytest
from http_server import compressed, content, endless, status
from served_weights import ALL, BEGINNING, CONTENT, NO_SIZE, NOTHING, OTHER, PAGE, SIZE, SUM, get, is_whole, names, refusal, weights
from watch import largest_file

from frex.weights.download import BLOCK, Unreachable, fetch

pytestmark = pytest.mark.usefixtures('downloads')


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
    ('code', 'requests'),
    [*((code, 1) for code in (400, 401, 403, 404, 410)), *((code, 3) for code in (408, 416, 429, 500, 502, 503, 504))],
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
