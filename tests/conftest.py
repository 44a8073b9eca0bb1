"""Checks every annotated shape and type of the project while the tests run; fixtures that several files share."""

import logging
import os
import shutil

import typechecker

typechecker.install('frex_arch', 'frex')
# A test that is about downloads serves them itself.
os.environ['FREX_OFFLINE'] = '1'

import cv2  # noqa: E402 (the hook comes first)
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from interpreter import Interpreter  # noqa: E402
from processes import HELPERS, ROOT  # noqa: E402
from tiny import tiny_frex, tiny_network_options, trained  # noqa: E402

from frex.weights.network_file import read_network, save_checkpoint, save_safetensors  # noqa: E402


@pytest.fixture(autouse=True)
def _basicsr_is_heard(caplog):
    """From its first use on BasicSR's logger passes nothing on, so `caplog` listens to it directly, in whatever order tests run."""
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)
    yield
    logger.removeHandler(caplog.handler)


@pytest.fixture(autouse=True)
def _freed_memory_is_given_back(monkeypatch):
    """Commands that are run in this process would keep it for the rest of the tests, some of which measure memory."""
    monkeypatch.setattr('frex.cli.run.keep_freed_memory', lambda: True)
    monkeypatch.setattr('frex.cli.run.shorten_waits', lambda: None)


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    """A checkpoint of a tiny network, as training writes it."""
    path = tmp_path_factory.mktemp('weights') / 'net_g_latest.pth'
    states = {'params': tiny_frex(seed=1).state_dict(), 'params_ema': trained(tiny_frex()).state_dict()}
    save_checkpoint(path, states, {'network_g': {'type': 'FREx', **tiny_network_options()}})
    return path


@pytest.fixture(scope='session')
def half_checkpoint(checkpoint):
    """The averaged weights of `checkpoint` in half precision, as `frex weights convert --half` writes them."""
    path = checkpoint.with_name('half.safetensors')
    save_safetensors(path, read_network(checkpoint), half=True)
    return path


@pytest.fixture
def small_model(half_checkpoint, monkeypatch):
    """An installation whose small FREx is a tiny one."""
    monkeypatch.setattr('frex.weights.small_model.PATH', half_checkpoint)
    return half_checkpoint


@pytest.fixture
def no_small_model(tmp_path, monkeypatch):
    """An installation without its small FREx."""
    monkeypatch.setattr('frex.weights.small_model.PATH', tmp_path / 'frex-small.safetensors')


@pytest.fixture(scope='session')
def portraits():
    """The two portraits that other packages ship, by name."""
    from frex.demo.portraits import read_portraits

    return {portrait.name: portrait for portrait in read_portraits()}


@pytest.fixture(scope='session')
def face_folder(tmp_path_factory):
    """Five smooth, different images of different sizes and formats; the folder `two` beside it has the first two."""
    folder = tmp_path_factory.mktemp('faces') / 'five'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, (size, suffix) in enumerate([(64, 'png'), (80, 'png'), (128, 'jpg'), (64, 'webp'), (96, 'bmp')]):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'face{number}.{suffix}'), cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))
    folder.with_name('two').mkdir()
    for number in range(2):
        shutil.copy(folder / f'face{number}.png', folder.with_name('two'))
    return folder


@pytest.fixture(scope='session')
def interpreter():
    """Interpreters that have imported torch and nothing of the project, and do not check types."""
    paths = os.pathsep.join(map(str, (ROOT, HELPERS)))
    python = Interpreter('import scipy.stats, torch, torchvision', os.environ | {'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'})
    yield python
    python.close()


@pytest.fixture
def manifest_of(monkeypatch):
    """Puts files in the place of the manifest's."""

    def replace(*files):
        known = {file.key: file for file in files}
        for module in ('manifest', 'locate', 'download', 'commands'):
            monkeypatch.setattr(f'frex.weights.{module}.manifest', lambda: known)

    return replace


@pytest.fixture
def weights_folder(tmp_path_factory, monkeypatch):
    """An empty folder, the only one in which weights are searched for."""
    folder = tmp_path_factory.mktemp('weights')
    monkeypatch.setattr('frex.weights.locate.search_paths', lambda given=None: [given or folder])
    return folder


@pytest.fixture
def bare_machine(tmp_path, monkeypatch):
    """A user who works in `tmp_path` and has no weights anywhere."""
    monkeypatch.chdir(tmp_path)
    for variable in ('FREX_HOME', 'XDG_CACHE_HOME', 'TORCH_HOME'):
        monkeypatch.setenv(variable, str(tmp_path / 'empty'))
