"""ST-LPIPS as a loss and as a metric, against the package whose weights it takes."""

import sys
import types
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from tiny import faces

import frex.registry  # noqa: F401 (makes basicsr importable)
from frex.errors import FRExError
from frex.evaluation.scoring import _runs_in_workers
from frex.losses import stlpips_loss
from frex.losses.stlpips_loss import STLPIPSLoss, find_stlpips_weights
from frex.metrics.basicsr_functions import calculate_stlpips
from frex.metrics.catalogue import METRICS
from frex.metrics.networks import STLPIPSDistance
from frex.options.convert import ComponentOptions, MetricOptions
from frex.tensors import to_tensor
from frex.training.check_options import check_loss, check_metric
from frex.weights.torch_file import read_torch_file

NETS = ('alex', 'vgg')


class NoLinear(torch.nn.Module):
    """In place of the dense layers of the package's VGG16, which have 500 MB and are not used."""

    def __init__(self, *_):
        super().__init__()
        self.weight, self.bias = torch.zeros(1), torch.zeros(1)


@pytest.fixture(scope='module', params=NETS)
def net(request):
    return request.param


@pytest.fixture(scope='module')
def theirs(net):
    """The package's own network; it imports two packages that it does not use."""
    with pytest.MonkeyPatch.context() as patch:
        for name, used in (('IPython', 'embed'), ('torchsummary', 'summary')):
            stand_in = types.ModuleType(name)
            setattr(stand_in, used, None)
            patch.setitem(sys.modules, name, stand_in)
        from stlpips_pytorch.stlpips import LPIPS

        patch.setattr(torch.nn, 'Linear', NoLinear)
        network = LPIPS(net=net, variant='shift_tolerant', pretrained=False, verbose=False)
    missing, unexpected = network.load_state_dict(read_torch_file(find_stlpips_weights(net)), strict=False)
    # A second name of the same layers.
    assert not unexpected
    assert all(name.startswith('lins.') for name in missing)
    return network


@pytest.fixture(scope='module')
def loss(net):
    return STLPIPSLoss(net=net)


# The first layer of AlexNet treats even and odd heights and widths each in its own way.
@pytest.mark.parametrize(('height', 'width'), [(48, 64), (49, 64), (48, 51), (37, 51)])
def test_values_and_gradients_are_the_packages(loss, theirs, height, width):
    rng = torch.Generator().manual_seed(height * width)
    image, gt = (torch.rand(2, 3, height, width, generator=rng) * 2 - 1 for _ in range(2))
    expected_image = image.clone().requires_grad_()
    expected = theirs(expected_image, gt)[:, 0, 0, 0]
    expected.mean().backward()
    image.requires_grad_()
    torch.testing.assert_close(loss.stlpips(image, gt), expected, rtol=1e-5, atol=0)
    loss(image, gt).backward()
    # Where two values of a window are nearly equal, rounding decides through which of them a little of the gradient flows.
    difference = (image.grad - expected_image.grad).norm() / expected_image.grad.norm()
    assert difference < 2e-3


def test_a_loss_weight_scales_the_mean_over_the_batch(net, loss):
    image, gt = faces(seed=1), faces(seed=2)
    weighted = STLPIPSLoss(loss_weight=3.0, net=net)
    torch.testing.assert_close(weighted(image, gt), 3 * loss.stlpips(image, gt).mean())


def test_the_gradient_reaches_the_image_and_nothing_else(loss):
    image, gt = faces(seed=1).requires_grad_(), faces(seed=2).requires_grad_()
    loss(image, gt).backward()
    assert image.grad.abs().max() > 0
    assert gt.grad is None
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in loss.parameters())
    assert not loss.stlpips.training


def test_identical_images_cost_nothing_and_have_no_gradient_that_is_not_a_number(loss):
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    value = loss(image, torch.zeros(1, 3, 64, 64))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-9)
    assert image.grad.abs().max() < 1e-6


def test_it_runs_under_autocast(loss):
    image, gt = faces(seed=1), faces(seed=2)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(image, gt)
    torch.testing.assert_close(value, loss(image, gt), rtol=0.05, atol=0)


def test_the_metric_is_the_distance_of_two_images(net, loss):
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(2))
    expected = loss.stlpips(to_tensor(first)[None], to_tensor(second)[None]).item()
    assert calculate_stlpips(first, second, net=net, better='lower') == pytest.approx(expected, rel=1e-5)
    key = {'vgg': 'stlpips', 'alex': 'stlpips_alex'}[net]
    scorer = METRICS[key].load(None, torch.device('cpu'))
    assert scorer(to_tensor(first)[None], to_tensor(second)[None]).item() == pytest.approx(expected, rel=1e-5)
    assert METRICS[key].missing(None) is None
    assert not _runs_in_workers(METRICS[key], torch.device('cpu'))


def test_tiny_images_have_no_distance():
    assert STLPIPSDistance('alex')(faces(2, 16), faces(2, 16)).isnan().all()


def test_options_are_checked_before_a_run():
    check_loss(ComponentOptions({'type': 'STLPIPSLoss', 'loss_weight': 0.5, 'net': 'alex'}), 'train.perceptual_opt')
    check_metric(MetricOptions({'type': 'calculate_stlpips', 'net': 'alex', 'better': 'lower'}), 'val.metrics.stlpips')
    with pytest.raises(FRExError, match=r"train.perceptual_opt: net 'squeeze' is not one of \['alex', 'vgg'\]"):
        check_loss(ComponentOptions({'type': 'STLPIPSLoss', 'net': 'squeeze'}), 'train.perceptual_opt')
    with pytest.raises(FRExError, match=r"val.metrics.stlpips: net 'squeeze' is not one of"):
        check_metric(MetricOptions({'type': 'calculate_stlpips', 'net': 'squeeze'}), 'val.metrics.stlpips')


def test_a_missing_package_is_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(stlpips_loss, 'find_spec', lambda name: None if name == 'stlpips_pytorch' else find_spec(name))
    message = r"ST-LPIPS needs the package stlpips_pytorch, which is not installed: pip install 'frex\[perceptual\]'$"
    for build in (STLPIPSLoss, STLPIPSDistance):
        with pytest.raises(FRExError, match=message):
            build()
    with pytest.raises(FRExError, match=message):
        check_loss(ComponentOptions({'type': 'STLPIPSLoss'}), 'train.perceptual_opt')
    missing = METRICS['stlpips'].missing(None)
    assert missing is not None
    assert 'frex[perceptual]' in missing
