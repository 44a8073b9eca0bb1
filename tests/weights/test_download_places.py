"""Downloads from several addresses and mirrors, into folders that cannot be written, and by several processes."""

import hashlib
import subprocess
import sys
import time

import pytest
from http_server import content, status
from served_weights import ALL, CONTENT, NO_SIZE, OTHER, PAGE, SIZE, SUM, get, is_whole, weights
from watch import largest_file

from frex.errors import FRExError
from frex.weights.download import BLOCK, Unreachable, fetch

pytestmark = pytest.mark.usefixtures('downloads')


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
