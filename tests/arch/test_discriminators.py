"""The critics against BasicSR's StyleGAN2Discriminator, and what they say of each other."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden import Golden, fill, load_official
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from frex_arch.blocks import ConvLayer, ResBlock
from frex_arch.discriminators import (
    DualDiscriminator,
    LatentDiscriminator,
    MultiScaleDiscriminator,
    StyleGAN2Discriminator,
    append_minibatch_stddev,
)

FILES = {'stylegan2_disc_64': 64, 'stylegan2_disc_256': 256}
LIMIT = 3e-6
STAGES = ('logits', 'conv_body', 'with_stddev', 'final_conv')
RECORDS = [
    *((name, f'{stage}{batch}') for name in FILES for stage in STAGES for batch in (1, 4)),
    *(('stylegan2_disc_64', f'image{batch}') for batch in (1, 4)),
]


def drawn_image(batch: int, size: int) -> Tensor:
    """The image that the official critic was shown: drawn as weights are, by name."""
    name = f'input:image{batch}'
    return (0.5 * fill({name: {'shape': [batch, 3, size, size], 'dtype': 'float32'}})[name]).clamp(-1, 1)


@torch.no_grad()
def differences_of(name: str) -> dict[str, float]:
    """Largest difference to each record of one file."""
    golden, net = Golden(name), StyleGAN2Discriminator(out_size=FILES[name], narrow=0.25)
    load_official(net, golden.keys)
    found = {}
    for batch in (1, 4):
        image = drawn_image(batch, FILES[name])
        body = net.conv_body(image)
        joined = append_minibatch_stddev(body)
        outputs = {'image': image, 'conv_body': body, 'with_stddev': joined, 'final_conv': net.final_conv(joined), 'logits': net(image)}
        found |= {f'{stage}{batch}': value for stage, value in outputs.items()}
    return {record: golden.difference(record, found[record]) for file, record in RECORDS if file == name}


@pytest.fixture(scope='module')
def differences():
    return {name: differences_of(name) for name in FILES}


@pytest.mark.parametrize('name', FILES)
def test_no_official_output_is_forgotten(name):
    assert {record for file, record in RECORDS if file == name} == {key.partition('@')[0] for key in Golden(name).arrays} - {'seed'}


@pytest.mark.parametrize(('name', 'record'), RECORDS)
def test_equals_the_official_critic(differences, name, record):
    assert differences[name][record] <= LIMIT


@pytest.mark.parametrize(
    ('batch', 'groups'), [(1, [[0]]), (4, [[0, 1, 2, 3]]), (6, [[0, 2, 4], [1, 3, 5]]), (8, [[0, 2, 4, 6], [1, 3, 5, 7]])]
)
def test_deviation_within_each_group_equals_numpys(batch, groups):
    x = np.random.default_rng(0).normal(size=(batch, 3, 4, 5))
    joined = append_minibatch_stddev(torch.from_numpy(x)).numpy()
    assert joined.shape == (batch, 4, 4, 5)
    assert np.array_equal(joined[:, :3], x)
    for group in groups:
        deviation = np.sqrt(np.var(x[group], axis=0) + 1e-8).mean()
        np.testing.assert_allclose(joined[group, 3], np.full((len(group), 4, 5), deviation))


@torch.no_grad()
def test_joined_batches_have_the_logits_of_each():
    torch.manual_seed(0)
    one, other = torch.randn(2, 4, 3, 16, 16)
    critic = MultiScaleDiscriminator(sizes=[16, 8], narrow=0.05)
    small = [F.avg_pool2d(images, 2) for images in (one, other)]
    expected = torch.cat([critic(one, small[0]), critic(other, small[1])])
    torch.testing.assert_close(critic(torch.cat([one, other]), torch.cat(small), joined=2), expected)
    assert not torch.allclose(critic(torch.cat([one, other]), torch.cat(small)), expected)


class Operations(TorchDispatchMode):
    """Counts the operations that are no views."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def test_r1_takes_no_more_operations_of_wider_critics():
    """The double backward of a grouped convolution would loop over its channels."""
    counts = []
    for narrow in (0.05, 0.25):
        critic, image = StyleGAN2Discriminator(out_size=16, narrow=narrow), torch.randn(2, 3, 16, 16, requires_grad=True)
        with Operations() as operations:
            (slope,) = torch.autograd.grad(critic(image).sum(), image, create_graph=True)
            slope.square().sum().backward()
        counts.append(operations.count)
    assert counts[0] == counts[1] < 400


@pytest.mark.parametrize(('resample', 'size'), [('down', 4), ('up', 16)])
def test_a_residual_block_halves_or_doubles(resample, size):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    block = ResBlock(3, 5, resample)
    assert block(x).shape == (2, 5, size, size)
    torch.testing.assert_close(block(x), (block.conv2(block.conv1(x)) + block.skip(x)) / math.sqrt(2))


def test_an_enlarging_layer_interpolates_and_convolves():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 4)
    layer = ConvLayer(3, 5, 3, resample='up')
    weight = layer.state_dict()['1.weight'] / math.sqrt(3 * 9)
    enlarged = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
    torch.testing.assert_close(layer(x), F.leaky_relu(F.conv2d(enlarged, weight, padding=1), 0.2) * math.sqrt(2))


def test_critics_take_powers_of_two_only():
    with pytest.raises(ValueError, match='100'):
        StyleGAN2Discriminator(out_size=100)


def test_the_dual_critic_sees_both_images():
    torch.manual_seed(0)
    critic = DualDiscriminator(out_size=16, narrow=1 / 64)
    restored, degraded = torch.randn(2, 2, 3, 16, 16)
    logits = critic(torch.cat([restored, degraded], dim=1))
    assert logits.shape == (2, 1)
    assert not torch.allclose(critic(torch.cat([restored, restored], dim=1)), logits)
    assert not torch.allclose(critic(torch.cat([degraded, degraded], dim=1)), logits)


def test_the_multi_scale_critic_is_one_critic_per_size():
    torch.manual_seed(0)
    critic = MultiScaleDiscriminator(sizes=(8, 16), narrow=1 / 64)
    images = [torch.randn(2, 3, size, size) for size in (8, 16)]
    logits = critic(*images)
    assert logits.shape == (2, 2)
    assert torch.equal(logits[:, :1], critic['8'](images[0]))
    assert torch.equal(logits[:, 1:], critic['16'](images[1]))
    with pytest.raises(ValueError, match='shorter'):
        critic(images[0])


def test_the_latent_critic_by_hand():
    with pytest.raises(ValueError, match='w_dim 0 must'):
        LatentDiscriminator(w_dim=0)
    critic = LatentDiscriminator(w_dim=2, num_layers=2)
    state = {
        'layers.0.weight': torch.tensor([[1.0, 1.0], [1.0, -1.0]]),
        'layers.0.bias': torch.tensor([0.0, 1.0]),
        'layers.1.weight': torch.tensor([[1.0, 2.0]]),
        'layers.1.bias': torch.tensor([0.5]),
    }
    critic.load_state_dict(state)
    # Hidden, for w = sqrt(2) (1, 3) and weights over sqrt(2): 4 and -2 + 1; activated sqrt(2) 4 and -sqrt(2) 0.2; then (4 - 0.4) + 0.5.
    torch.testing.assert_close(critic(math.sqrt(2) * torch.tensor([[1.0, 3.0]])), torch.tensor([[4.1]]))


def test_the_gradient_penalty_trains_every_weight():
    torch.manual_seed(0)
    critic = StyleGAN2Discriminator(out_size=16, narrow=1 / 64)
    image = torch.randn(4, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(critic(image).sum(), image, create_graph=True)
    gradient.square().sum().backward()
    weights = {name: parameter.grad for name, parameter in critic.named_parameters() if name.endswith('weight')}
    assert all(torch.isfinite(gradient).all() and gradient.any() for gradient in weights.values())
