"""How long OpenMP's threads wait: decided by the commands before torch is loaded, unless the user has decided."""

import os
import subprocess
import sys

import pytest

from frex.environment import SPINS, WAITS_DECIDED_BY, shorten_waits


@pytest.fixture
def environment(monkeypatch):
    """Nothing is decided."""
    for name in WAITS_DECIDED_BY:
        monkeypatch.delenv(name, raising=False)
    return os.environ


def test_threads_sleep_soon(environment):
    shorten_waits()
    assert environment['GOMP_SPINCOUNT'] == str(SPINS)


@pytest.mark.parametrize('variable', [('OMP_WAIT_POLICY', 'active'), ('GOMP_SPINCOUNT', '7')])
def test_what_the_user_has_set_stays(environment, monkeypatch, variable):
    monkeypatch.setenv(*variable)
    shorten_waits()
    assert environment.get('GOMP_SPINCOUNT') == (variable[1] if variable[0] == 'GOMP_SPINCOUNT' else None)


def test_openmp_hears_of_it(tmp_path):
    """It reads the environment when torch loads it; it can be asked to say what it has read."""
    code = 'from frex.environment import shorten_waits; shorten_waits(); import torch'
    settings = {name: value for name, value in os.environ.items() if name not in WAITS_DECIDED_BY}
    done = subprocess.run(
        [sys.executable, '-c', code], env=settings | {'OMP_DISPLAY_ENV': 'verbose'}, capture_output=True, text=True, check=True
    )
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in done.stderr


ENTRIES = {
    'frex': 'frex.cli.main import main',
    'basicsr': 'frex.cli.main import basicsr as main',
    'inference': 'frex.cli.restore import main',
}

# A command that shows what it finds.
COMMAND = """
import os, sys
from types import SimpleNamespace
from frex.cli import run as commands
from {entry}

commands.parse = lambda parser, argv: SimpleNamespace(run=lambda args: print('torch' in sys.modules, os.environ.get('GOMP_SPINCOUNT')))
main([])
"""


@pytest.mark.parametrize('entry', ENTRIES)
def test_every_command_decides_before_it_loads_torch(entry):
    settings = {name: value for name, value in os.environ.items() if name not in WAITS_DECIDED_BY}
    code = COMMAND.format(entry=ENTRIES[entry])
    done = subprocess.run([sys.executable, '-c', code], env=settings, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['False', str(SPINS)]
