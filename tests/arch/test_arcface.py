"""The identity network against GFPGAN's ResNetArcFace."""

import pytest
import torch
import torch.nn.functional as F
from golden import Golden, load_official

from frex_arch.arcface import ArcFace, IRBlock, to_arcface_input

LIMIT = 2e-5
HOOKED = ('conv1', 'maxpool', 'bn4', 'fc5')
RECORDS = ('embedding', *HOOKED, 'layer1', 'layer2', 'layer3', 'layer4')


@pytest.fixture(scope='module')
def golden():
    return Golden('arcface')


@pytest.fixture(scope='module')
def net(golden):
    return load_official(ArcFace().eval().requires_grad_(False), golden.keys, equalized=False)


@pytest.fixture(scope='module')
def outputs(net, golden):
    found = {}
    hooks = [
        net.get_submodule(name).register_forward_hook(lambda _module, _inputs, output, name=name: found.update({name: output}))
        for name in HOOKED
    ]
    found['embedding'] = net(golden['gray'])
    for hook in hooks:
        hook.remove()
    features = net.features(golden['gray']).after_activation
    return found | {f'layer{i}': feature for i, feature in enumerate(features, start=1)}


def test_no_official_output_is_forgotten(golden):
    assert set(RECORDS) == {key.partition('@')[0] for key in golden.arrays} - {'seed', 'gray'}


@pytest.mark.parametrize('record', RECORDS)
def test_equals_the_official_network(golden, outputs, record):
    assert golden.difference(record, outputs[record]) <= LIMIT


def test_features_before_the_activation_lack_only_the_prelu(net, golden):
    before, after, embedding = net.features(golden['gray'])
    assert torch.equal(embedding, net(golden['gray']))
    assert [tuple(feature.shape) for feature in before] == [(1, 64, 64, 64), (1, 128, 32, 32), (1, 256, 16, 16), (1, 512, 8, 8)]
    for stage, raw, activated in zip((net.layer1, net.layer2, net.layer3, net.layer4), before, after, strict=True):
        assert torch.equal(torch.where(raw > 0, raw, stage[-1].prelu.weight * raw), activated)
        assert (raw < 0).any()


def test_the_image_is_made_grey_and_128_wide():
    primaries = torch.eye(3)[:, :, None, None].expand(3, 3, 256, 256)
    grey = to_arcface_input(primaries)
    expected = torch.tensor([0.2989, 0.5870, 0.1140])
    torch.testing.assert_close(grey, expected[:, None, None, None].expand(3, 1, 128, 128))


def test_the_image_is_not_antialiased():
    # At a quarter of the size, between the two middle ones of four pixels: the outer two do not count.
    image = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([0.2989, 0.5870, 0.1140])[:, None, None]
    middle = (image * weights).sum(dim=1, keepdim=True).unfold(2, 4, 4).unfold(3, 4, 4)[..., 1:3, 1:3]
    torch.testing.assert_close(to_arcface_input(image), middle.mean(dim=(4, 5)))


def test_one_prelu_acts_inside_and_after_the_block():
    torch.manual_seed(0)
    block = IRBlock(4, 4, stride=1).eval()
    torch.nn.init.constant_(block.prelu.weight, 0.5)
    x = torch.randn(2, 4, 6, 6)
    # Batch norm as it starts only divides by sqrt(1 + 1e-5).
    inner = F.leaky_relu(F.conv2d(x, block.conv1.weight, padding=1), 0.5)
    expected = F.leaky_relu(F.conv2d(inner, block.conv2.weight, padding=1) + x, 0.5)
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-4)


def test_gradients_reach_the_image_through_the_frozen_network(net):
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)).requires_grad_()
    net(to_arcface_input(image)).square().sum().backward()
    assert torch.isfinite(image.grad).all()
    assert image.grad.any()
    assert all(parameter.grad is None for parameter in net.parameters())
