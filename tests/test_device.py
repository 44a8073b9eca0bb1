"""The choice of a device: CUDA, else the GPU of a Mac, else the CPU, and what the latter lacks."""

import os
import subprocess
import sys

import pytest
import torch

from frex import device as devices
from frex.device import choose_device
from frex.environment import MPS_FALLBACK, allow_mps_fallback
from frex.errors import FRExError


@pytest.fixture
def machine(monkeypatch):
    """A function that makes a machine with the given GPUs, whose tensors are on the CPU all the same."""
    zeros = torch.zeros

    def make(cuda, has_mps):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: has_mps)
        monkeypatch.setattr(torch, 'zeros', lambda size, device: zeros(size))
        devices._note_mps.cache_clear()

    return make


@pytest.mark.parametrize(
    ('cuda', 'has_mps', 'chosen', 'with_float64'),
    [(True, True, 'cuda', 'cuda'), (False, True, 'mps', 'cpu'), (False, False, 'cpu', 'cpu'), (True, False, 'cuda', 'cuda')],
)
def test_auto_takes_the_fastest_device_that_can_do_it(machine, cuda, has_mps, chosen, with_float64):
    machine(cuda, has_mps)
    assert choose_device('auto').type == chosen
    assert choose_device('auto', needs_float64=True).type == with_float64


def test_mps_is_told_once(machine, capsys):
    machine(False, True)
    for name in ('auto', 'mps', 'auto'):
        choose_device(name)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('device mps: what it lacks is computed on the CPU')
    choose_device('cpu')
    assert capsys.readouterr().err == ''


def test_mps_is_refused_where_float64_is_needed(machine):
    machine(False, True)
    with pytest.raises(FRExError, match='--device mps: it lacks float64, which is needed here; give --device cpu'):
        choose_device('mps', needs_float64=True)


def test_a_device_that_is_not_there_is_one_line():
    if torch.backends.mps.is_available():
        pytest.skip('this machine has MPS')
    with pytest.raises(FRExError, match=r'--device mps: not usable here \(.*\)$'):
        choose_device('mps')


@pytest.mark.parametrize(
    ('platform', 'set_by_user', 'expected'), [('darwin', None, '1'), ('darwin', '0', '0'), ('linux', None, None), ('win32', None, None)]
)
def test_on_a_mac_the_fallback_is_allowed_unless_the_user_decides(monkeypatch, platform, set_by_user, expected):
    monkeypatch.delenv(MPS_FALLBACK, raising=False)
    if set_by_user is not None:
        monkeypatch.setenv(MPS_FALLBACK, set_by_user)
    monkeypatch.setattr(sys, 'platform', platform)
    allow_mps_fallback()
    assert os.environ.get(MPS_FALLBACK) == expected
    os.environ.pop(MPS_FALLBACK, None)


def test_commands_allow_it_before_they_load_torch():
    code = (
        'import os, sys\nfrom types import SimpleNamespace\nfrom frex.cli import run\nfrom frex.cli.main import main\n'
        "sys.platform = 'darwin'\n"
        "show = lambda args: print('torch' in sys.modules, os.environ.get('PYTORCH_ENABLE_MPS_FALLBACK'))\n"
        'run.parse = lambda parser, argv: SimpleNamespace(run=show)\nmain([])'
    )
    environment = {name: value for name, value in os.environ.items() if name != MPS_FALLBACK}
    done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['False', '1']
