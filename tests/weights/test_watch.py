"""The watch of these tests sees what it is for: a test that nothing happens would pass without it."""

import pickle
import struct
from contextlib import suppress
from mmap import mmap

import pytest
from watch import watched

HARM = {
    'exec': lambda: exec('1'),  # noqa: S102 (what the watch must see)
    'compile': lambda: compile('1', 'x', 'eval'),
    'pickle.find_class': lambda: pickle.loads(pickle.dumps(struct.Struct)),  # noqa: S301
    'import': lambda: __import__('this_module_is_not_there'),
    'os.mkdir': lambda: __import__('os').mkdir('pwned'),
    'open': lambda: open('pwned', 'w'),  # noqa: SIM115
    'subprocess.Popen': lambda: __import__('subprocess').run(['true'], check=True),
    'os.system': lambda: __import__('os').system('true'),
    'socket.connect': lambda: __import__('socket').socket().connect(('127.0.0.1', 9)),
}


@pytest.mark.parametrize('event', HARM)
def test_the_watch_sees_harm(tmp_path, monkeypatch, event):
    monkeypatch.chdir(tmp_path)
    with watched() as found, suppress(ImportError, OSError):
        HARM[event]()
    assert any(seen.startswith(event) for seen in found.events)


def test_the_watch_measures_memory():
    # A mapping of its own: other allocations may reuse memory that the process has freed and kept.
    with watched() as found, mmap(-1, 100 << 20) as memory:
        memory.write(bytes(len(memory)))
    assert found.growth >= 90 << 20
