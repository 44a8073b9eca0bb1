"""An installation without extras: it has no BasicSR, and restores, degrades images and draws labels all the same."""

import cv2
import numpy as np
import pytest
from interpreter import Interpreter
from processes import ROOT

from frex.data.labels import write_labels
from frex.utils.extras import EXTRAS
from frex_arch.camera import frontal_camera

# What facexlib asks for and does not need, and what only extras bring.
BLOCKED = [*EXTRAS, 'filterpy', 'llvmlite', 'numba', 'pkg_resources', 'setuptools']
PREPARE = f"""
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition('.')[0] in {BLOCKED!r} else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
import torch, frex.restore.folder, frex.testsets.degraded_set
"""
SCRIPT = 'import sys; from frex.cli.main import main; sys.exit(main(sys.argv[1:]))'


@pytest.fixture(scope='module')
def light_python(tmp_path_factory):
    """Python where the packages of extras are not installed."""
    home = str(tmp_path_factory.mktemp('home'))
    python = Interpreter(PREPARE, {'PATH': '/usr/bin:/bin', 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'HOME': home})
    yield python
    python.close()


@pytest.fixture
def frex(light_python, faces, checkpoint, tmp_path):
    """Return a function that runs a command line of `frex`, beside the folder of faces."""
    return lambda command: light_python.run(SCRIPT, *command.format(checkpoint=checkpoint).split(), folder=tmp_path)


@pytest.fixture
def faces(tmp_path):
    (tmp_path / 'faces').mkdir()
    cv2.imwrite(str(tmp_path / 'faces/a.png'), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    write_labels(tmp_path / 'dataset.json', {'a.png': frontal_camera()[0].tolist()}, {})
    return tmp_path / 'faces'


@pytest.mark.parametrize(
    'command',
    [
        'restore -i faces -o out --model_path {checkpoint} --aligned',
        'degrade faces -o lq --num_workers 0',
        'cameras preview faces dataset.json -o drawn',
        'cameras compare dataset.json dataset.json',
        'options list',
        'doctor',
    ],
    ids=lambda command: ' '.join(command.split()[:2]),
)
@pytest.mark.slow
def test_a_command_runs_without_extras(command, frex):
    done = frex(command)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ('command', 'extra'),
    [
        ('train -opt options/train_frex_tiny.yml', 'train'),
        ('evaluate --restored A=faces --gt faces', 'train'),
        ('export --model_path {checkpoint} -o frex.onnx', 'export'),
        ('demo', 'demo'),
        ('web', 'web'),
    ],
    ids=lambda text: text.split()[0],
)
@pytest.mark.slow
def test_a_command_that_needs_an_extra_says_which_in_one_line(command, extra, frex):
    done = frex(command)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith('frex: error: ')
    # basicsr is built with the torch that is there.
    build = "'setuptools>=77,<82' && pip install --no-build-isolation " if 'basicsr' in line else ''
    assert line.endswith(f": pip install {build}'frex[{extra}]'")
