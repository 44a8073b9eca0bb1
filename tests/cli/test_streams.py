"""Standard output that is full, closed, or a pipe that nobody reads: one line at most, and the work is done."""

import os
import subprocess
import sys

import pytest

from frex.cli.streams import SafeStream, safe_streams

FREX = [sys.executable, '-m', 'frex']
LIST = ['options', 'list']


def run(redirection, *arguments):
    """Run `frex` by a shell, with a redirection of its output, and return its status and what it wrote to standard error."""
    command = f'{" ".join(map(str, [*FREX, *arguments]))} {redirection}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(['bash', '-c', command], capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize('arguments', [LIST, ['--help'], ['--version']], ids=str)
def test_a_full_device_is_one_line(arguments):
    status, errors = run('> /dev/full', *arguments)
    assert status == 1
    assert errors == 'frex: error: standard output cannot be written (No space left on device)\n'


@pytest.mark.parametrize('redirection', ['| true', '| head -c 1 > /dev/null', '>&-', '>&- 2>&-', '>&- 2>&- <&-'])
def test_a_reader_that_has_gone_and_closed_streams_are_no_error(redirection):
    status, errors = run(redirection, *LIST)
    assert (status, errors) == (0, '')


def test_errors_keep_their_status_without_standard_error():
    assert run('2> /dev/full', 'options', 'copy', 'nothing')[0] == 1
    assert run('2>&-', 'options', 'copy', 'nothing')[0] == 1
    assert run('2>&-', 'no_such_command')[0] == 2


def check_results(out):
    """Check that a run is finished, and that nothing it printed has gone into a file that took the place of a closed stream."""
    assert len(list((out / 'restored_faces').iterdir())) == 5
    for path in (out / 'report.json', *out.glob('.*')):
        assert b'results in' not in path.read_bytes()


@pytest.fixture
def restore(checkpoint, face_folder, tmp_path):
    """The arguments of a run into the folder `out`."""
    arguments = (
        'restore',
        '-i',
        face_folder,
        '-o',
        tmp_path / 'out',
        '--model_path',
        checkpoint,
        '--aligned',
        '--device',
        'cpu',
        '--offline',
    )
    return list(map(str, arguments))


@pytest.mark.slow
def test_a_run_is_finished_without_standard_streams(restore, tmp_path):
    status, errors = run('>&- 2>&-', *restore)
    assert (status, errors) == (0, '')
    check_results(tmp_path / 'out')


# What a shell does for `> /dev/full` and `| true`.
REDIRECTED = """
import os, sys
from frex.cli.main import main

if sys.argv[1] == 'full':
    os.dup2(os.open('/dev/full', os.O_WRONLY), 1)
else:
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 1)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize('kind', ['full', 'pipe'])
@pytest.mark.slow
def test_a_run_is_finished_whatever_becomes_of_its_summary(interpreter, restore, tmp_path, kind):
    done = interpreter.run(REDIRECTED, kind, *restore)
    assert 'Traceback' not in done.stderr
    assert done.returncode == (kind == 'full')
    check_results(tmp_path / 'out')


class Broken:
    """A stream that fails with an error."""

    def __init__(self, error):
        self.error, self.written = error, []

    def write(self, text):
        self.written.append(text)
        raise self.error

    def flush(self):
        raise self.error

    def fileno(self):
        raise OSError('none')


def test_after_its_first_error_a_stream_is_silent():
    broken = Broken(OSError(28, 'No space left on device'))
    stream = SafeStream(broken)
    print('a', 'b', file=stream)
    stream.flush()
    assert broken.written == ['a']
    assert stream.problem == 'No space left on device'
    assert SafeStream(Broken(BrokenPipeError(32, 'Broken pipe'))).problem is None
    closed = SafeStream(Broken(ValueError('I/O operation on closed file')))
    assert closed.write('abc') == 3
    assert 'closed' in closed.problem


def test_the_streams_are_given_back():
    before = sys.stdout, sys.stderr
    with safe_streams() as output:
        assert sys.stdout is output
        assert os.fstat(1)
    assert (sys.stdout, sys.stderr) == before
