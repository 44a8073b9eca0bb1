"""The networks of other methods: adapters give the results of their own projects."""

import importlib
import sys
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from golden import FOLDER, fill
from torch import nn

from frex.errors import FRExError
from frex.peers.networks import GFPGAN_ARGUMENTS, load_codeformer, load_gfpgan, load_restoreformer

CPU = torch.device('cpu')
# Arguments with which the networks are small.
SMALL_GFPGAN = {'narrow': 1 / 16, 'num_style_feat': 32}
SMALL_RESTOREFORMER = {'n_embed': 8, 'ch': 32, 'ch_mult': (1,) * 6, 'num_res_blocks': 1}
# Every so many pixels of the recorded results, which GFPGANer of gfpgan 1.3.8 gave for `face()` and the seed 7.
STEP = 16
LOADERS = {'clean': load_gfpgan, 'RestoreFormer': load_restoreformer}


def face():
    """A smooth face of 300 x 300 pixels."""
    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (300, 300), interpolation=cv2.INTER_CUBIC)


def make_small(monkeypatch, network, **small):
    """Override arguments of `network` by the small ones given here."""
    build = network.__init__
    monkeypatch.setattr(network, '__init__', lambda self, **given: build(self, **given | small))


def weights_of(net):
    """Weights that are drawn from their names, and so are the same wherever they are made."""
    keys = {name: {'shape': value.shape, 'dtype': 'float32'} for name, value in net.state_dict().items()}
    state = fill(keys, equalized=False)
    # Normalisations as they are before training; else deep networks make numbers without bounds. Noise has a weight.
    return {name: torch.ones_like(value) if 'norm' in name and name.endswith('weight') else value for name, value in state.items()} | {
        name: torch.full_like(value, 0.5) for name, value in state.items() if value.shape == (1,)
    }


@pytest.fixture
def files(monkeypatch, tmp_path):
    """Make spandrel's networks small, and write weights of both."""
    clean = importlib.import_module('spandrel.architectures.GFPGAN').GFPGAN
    former = importlib.import_module('spandrel.architectures.RestoreFormer').RestoreFormer
    make_small(monkeypatch, clean, **SMALL_GFPGAN)
    make_small(monkeypatch, former, **SMALL_RESTOREFORMER)
    torch.save({'params_ema': weights_of(clean(**GFPGAN_ARGUMENTS))}, tmp_path / 'clean.pth')
    torch.save({'params': weights_of(former())}, tmp_path / 'RestoreFormer.pth')
    return tmp_path


@pytest.mark.parametrize('arch', LOADERS)
def test_an_adapter_gives_what_gfpganer_gave(arch, files):
    expected = np.load(FOLDER / 'gfpganer.npz')[arch].astype(int)
    restored = LOADERS[arch](files / f'{arch}.pth', CPU)(face(), 7)
    assert restored.shape == (512, 512, 3)
    assert expected.std() > 20
    difference = np.abs(restored[::STEP, ::STEP] - expected)
    # Processors round differently.
    assert difference.max() <= 1
    assert difference.mean() < 0.01


class Helper:
    """Replaces facexlib's FaceRestoreHelper, which downloads a detector, as far as GFPGANer uses it for an aligned face."""

    def __init__(self, *args, **kwargs):
        self.clean_all()

    def clean_all(self):
        self.cropped_faces, self.restored_faces = [], []

    def add_restored_face(self, restored):
        self.restored_faces.append(restored)


@pytest.mark.parametrize('arch', LOADERS)
def test_an_adapter_gives_the_bytes_that_gfpganer_gives(arch, files, monkeypatch):
    importlib.import_module('frex.compat').install()
    utils = pytest.importorskip('gfpgan.utils', reason='gfpgan is no package of FREx; the records of its results are')
    make_small(monkeypatch, importlib.import_module('gfpgan.archs.gfpganv1_clean_arch').GFPGANv1Clean, **SMALL_GFPGAN)
    make_small(monkeypatch, importlib.import_module('gfpgan.archs.restoreformer_arch').RestoreFormer, **SMALL_RESTOREFORMER)
    monkeypatch.setattr(utils, 'FaceRestoreHelper', Helper)
    theirs = utils.GFPGANer(str(files / f'{arch}.pth'), arch=arch, device=CPU)
    torch.manual_seed(7)
    _, (expected,), _ = theirs.enhance(face(), has_aligned=True)
    np.testing.assert_array_equal(LOADERS[arch](files / f'{arch}.pth', CPU)(face(), 7), expected)


def test_gfpgans_noise_is_that_of_the_seed(files):
    restore = load_gfpgan(files / 'clean.pth', CPU)
    grey = np.full((512, 512, 3), 128, np.uint8)
    first = restore(grey, 1)
    assert (first != restore(grey, 2)).any()
    np.testing.assert_array_equal(first, restore(grey, 1))


class FakeCodeFormer(nn.Module):
    """Replaces CodeFormer by a sum of its input and of the weight that it is called with."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x, weight=1.0, **kwargs):
        assert x.shape == (1, 3, 512, 512)
        return x / 4 + weight / 2 + self.bias, 'logits'


def test_codeformer_runs_with_the_weight_of_its_script(monkeypatch, tmp_path):
    module = ModuleType('spandrel_extra_arches.architectures.CodeFormer')
    module.CodeFormer = FakeCodeFormer
    for name in ('spandrel_extra_arches', 'spandrel_extra_arches.architectures', module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    torch.save({'params_ema': FakeCodeFormer().state_dict()}, tmp_path / 'codeformer.pth')
    restored = load_codeformer(tmp_path / 'codeformer.pth', CPU)(np.full((100, 100, 3), 255, np.uint8), 0)
    # (1 / 4 + 0.5 / 2 + 1) / 2 of 255
    assert (restored == 191).all()


def test_weights_of_another_network_are_refused(files):
    with pytest.raises(FRExError, match=r'clean\.pth: the weights do not fit RestoreFormer: .* missing'):
        load_restoreformer(files / 'clean.pth', CPU)


@pytest.mark.parametrize(
    ('package', 'load', 'message'),
    [
        ('spandrel', load_gfpgan, r"GFPGAN needs the package spandrel, .*: pip install 'frex\[upsample\]'$"),
        (
            'spandrel_extra_arches',
            load_codeformer,
            'CodeFormer needs the package spandrel_extra_arches, .*: pip install spandrel_extra_arches$',
        ),
    ],
    ids=['spandrel', 'spandrel_extra_arches'],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(package, load, message, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(FRExError, match=message):
        load(tmp_path / 'file.pth', CPU)
