"""Memory that is freed stays with the process, where its user wants that and the C library can."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from frex.cli.main import main
from frex.utils import allocator

PROGRAM = """
import ctypes, sys
from frex.utils.allocator import keep_freed_memory
print(keep_freed_memory())
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
block = libc.malloc(100 << 20)
ctypes.memset(block, 1, 100 << 20)
libc.free(block)
print(int(open('/proc/self/statm').read().split()[1]) * 4096 >> 20)
"""


def kept_megabytes(**environment):
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM], env=os.environ | environment, capture_output=True, text=True, check=True, timeout=60
    )
    could, megabytes = done.stdout.split()
    return could, int(megabytes)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'gnu_get_libc_version'), reason='a setting of glibc')
def test_freed_memory_is_kept_unless_it_is_switched_off():
    could, kept = kept_megabytes()
    switched_off, returned = kept_megabytes(FREX_KEEP_MEMORY='0')
    assert (could, switched_off) == ('True', 'False')
    assert kept > 100
    assert returned < 60


def test_a_c_library_that_refuses_so_large_a_threshold_gets_its_largest(monkeypatch):
    asked = {}

    def mallopt(parameter, value):
        taken = parameter != allocator.M_MMAP_THRESHOLD or value <= 32 << 20
        return int(taken and not asked.update({parameter: value}))

    monkeypatch.setattr(ctypes, 'CDLL', lambda name: SimpleNamespace(gnu_get_libc_version=None, mallopt=mallopt))
    assert allocator.keep_freed_memory()
    assert asked == {allocator.M_TRIM_THRESHOLD: 1 << 30, allocator.M_MMAP_THRESHOLD: 32 << 20}


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: SimpleNamespace())
    assert not allocator.keep_freed_memory()


def test_systems_other_than_linux_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, 'platform', 'darwin')
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: pytest.fail('asked the C library'))
    assert not allocator.keep_freed_memory()


def test_every_command_keeps_its_memory(monkeypatch):
    asked = []
    monkeypatch.setattr('frex.cli.run.keep_freed_memory', lambda: asked.append(True))
    assert main(['weights', 'check', 'no_such_file.pth']) == 1
    assert asked == [True]
