"""Losses in the features of frozen networks, against other implementations of them and against numbers worked out by hand."""

from unittest import mock

import pytest
import torch
from golden import Golden, fill
from tiny import faces
from torchvision.models import alexnet, vgg16, vgg19

from frex import compat
from frex.errors import FRExError
from frex.losses.arcface_losses import IdentityLoss, StructureLoss
from frex.losses.encoder_3d_losses import OffsetNormLoss
from frex.losses.frozen_network import feature_cache, share_networks
from frex.losses.lpips_loss import LPIPSLoss
from frex.losses.vgg_losses import LAYER_WEIGHTS, StyleLoss, VGGPerceptualLoss, gram_matrix
from frex.weights.manifest import WeightFile

compat.install()

from basicsr.losses.basic_loss import PerceptualLoss  # noqa: E402 (compat comes first)


def features_only(build):
    """A network of torchvision with random features: a classifier of 480 MB, which no loss reads, takes no memory."""
    with torch.device('meta'):
        net = build(weights=None)
    net.features.to_empty(device='cpu')
    for layer in net.features:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, mode='fan_out', nonlinearity='relu')
            torch.nn.init.zeros_(layer.bias)
    return net


def features_of(build):
    """What is read of a file of torchvision."""
    return {f'features.{name}': value for name, value in features_only(build).features.state_dict().items()}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Files of random networks under torchvision's and GFPGAN's parameter names."""
    folder = tmp_path_factory.mktemp('networks')
    torch.manual_seed(0)
    torch.save(features_of(vgg19), folder / 'vgg19.pth')
    torch.save(features_of(vgg16), folder / 'vgg16.pth')
    torch.save(features_of(alexnet), folder / 'alexnet.pth')
    state = fill(Golden('arcface').keys, equalized=False)
    torch.save({f'module.{name}': value for name, value in state.items()}, folder / 'arcface.pth')
    return folder


@pytest.fixture(scope='module')
def losses(files):
    """Each loss at weight 1."""
    return {
        'perceptual': VGGPerceptualLoss(weights=str(files / 'vgg19.pth')),
        'style': StyleLoss(weights=str(files / 'vgg19.pth')),
        'lpips': LPIPSLoss(weights=str(files / 'vgg16.pth')),
        'identity': IdentityLoss(weights=str(files / 'arcface.pth')),
        'cosine': IdentityLoss(distance='cosine', weights=str(files / 'arcface.pth')),
        'structure': StructureLoss(weights=str(files / 'arcface.pth')),
        'structure_after': StructureLoss(before_activation=False, weights=str(files / 'arcface.pth')),
    }


NAMES = ['perceptual', 'style', 'lpips', 'identity', 'cosine', 'structure', 'structure_after']


@pytest.mark.parametrize('name', NAMES)
def test_identical_images_cost_nothing_and_others_do(losses, name):
    image, gt = faces(seed=1), faces(seed=2)
    assert losses[name](image, image).item() == pytest.approx(0, abs=1e-6)
    assert losses[name](image, gt).item() > 1e-5


@pytest.mark.parametrize('name', NAMES)
def test_the_gradient_reaches_the_image_and_nothing_else(losses, name):
    image, gt = faces(seed=1).requires_grad_(), faces(seed=2).requires_grad_()
    losses[name](image, gt).backward()
    assert image.grad.abs().max() > 0
    assert gt.grad is None
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in losses[name].parameters())
    assert not any(module.training for part in losses[name].children() for module in part.modules())


@pytest.mark.parametrize('name', ['perceptual', 'style'])
def test_perceptual_and_style_losses_are_basicsrs(losses, files, name):
    net = features_only(vgg19)
    net.load_state_dict(torch.load(files / 'vgg19.pth', weights_only=True), strict=False)
    with mock.patch('basicsr.archs.vgg_arch.vgg.vgg19', return_value=net):
        weights = {'perceptual_weight': float(name == 'perceptual'), 'style_weight': float(name == 'style')}
        theirs = PerceptualLoss(LAYER_WEIGHTS, range_norm=True, **weights)
    image, gt = faces(seed=1), faces(seed=2)
    expected = sum(value for value in theirs(image, gt) if value is not None)
    torch.testing.assert_close(losses[name](image, gt), expected, rtol=1e-5, atol=0)


# Losses that share a network, another of the same kind that does not, a layer and how often a pair of images passes it.
SHARING = {
    'VGG19': (
        lambda files: [VGGPerceptualLoss(weights=str(files / 'vgg19.pth')), StyleLoss(weights=str(files / 'vgg19.pth'))],
        lambda files: VGGPerceptualLoss(layer_weights={'conv1_2': 1.0}, weights=str(files / 'vgg19.pth')),
        'features.0',
        2,
    ),
    'ArcFace': (
        lambda files: [IdentityLoss(weights=str(files / 'arcface.pth')), StructureLoss(weights=str(files / 'arcface.pth'))],
        lambda files: StructureLoss(weights=None),
        'arcface.conv1',
        # Both images in one pass.
        1,
    ),
}


@pytest.mark.parametrize('kind', SHARING)
@pytest.mark.slow
def test_losses_that_share_a_network_compute_each_image_once_and_give_the_same(files, kind):
    build, build_other, first_layer, passes = SHARING[kind]
    image, gt = faces(seed=1).requires_grad_(), faces(seed=2)
    alone = [loss(image, gt) for loss in build(files)]
    sum(alone).backward()
    expected, image.grad = image.grad, None
    pair, other = build(files), build_other(files)
    share_networks([*pair, other, torch.nn.L1Loss()])
    assert pair[0].network is pair[1].network is not other.network
    calls = []
    pair[0].network.get_submodule(first_layer).register_forward_hook(lambda *_: calls.append(1))
    for round_ in (1, 2):
        with feature_cache(pair):
            terms = [loss(image, gt) for loss in pair]
        assert len(calls) == passes * round_
    sum(terms).backward()
    torch.testing.assert_close(torch.stack(terms), torch.stack(alone))
    torch.testing.assert_close(image.grad, expected)
    assert pair[0].network.cache is None


def test_gram_of_two_channels():
    feature = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])
    # Products of the channels over both pixels, divided by four values.
    torch.testing.assert_close(gram_matrix(feature), torch.tensor([[[5.0, 1.0], [1.0, 10.0]]]) / 4)


def test_lpips_is_the_lpips_packages(losses, files):
    import lpips

    net = features_only(vgg16)
    net.load_state_dict(torch.load(files / 'vgg16.pth', weights_only=True), strict=False)
    with mock.patch('lpips.pretrained_networks.tv.vgg16', return_value=net):
        theirs = lpips.LPIPS(net='vgg', verbose=False)
    image, gt = faces(seed=1), faces(seed=2)
    torch.testing.assert_close(losses['lpips'](image, gt), theirs(image, gt).mean(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(('net', 'key', 'build'), [('vgg', 'vgg16', vgg16), ('alex', 'alexnet', alexnet)])
def test_without_a_word_lpips_takes_the_trunk_of_its_net(files, monkeypatch, manifest_of, net, key, build):
    import lpips

    monkeypatch.setenv('FREX_HOME', str(files))
    manifest_of(*(WeightFile(name, f'{name}.pth', 'tests', ['train'], None, [], 'none', []) for name in ('vgg16', 'vgg19', 'alexnet')))
    trunk = features_only(build)
    trunk.load_state_dict(torch.load(files / f'{key}.pth', weights_only=True), strict=False)
    with mock.patch(f'lpips.pretrained_networks.tv.{key}', return_value=trunk):
        theirs = lpips.LPIPS(net=net, verbose=False)
    image, gt = faces(seed=1), faces(seed=2)
    torch.testing.assert_close(LPIPSLoss(net=net)(image, gt), theirs(image, gt).mean(), rtol=1e-6, atol=0)


def test_identity_is_gfpgans_distance_of_grey_embeddings(losses):
    image, gt = faces(seed=1), faces(seed=2)
    arcface = losses['identity'].network.arcface

    def embed(x):
        grey = 0.2989 * x[:, 0] + 0.5870 * x[:, 1] + 0.1140 * x[:, 2]
        return arcface(torch.nn.functional.interpolate(grey[:, None], (128, 128), mode='bilinear', align_corners=False))

    a, b = embed(image), embed(gt)
    torch.testing.assert_close(losses['identity'](image, gt), (a - b).abs().mean(), rtol=1e-5, atol=0)
    cosine = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))
    torch.testing.assert_close(losses['cosine'](image, gt), (1 - cosine).mean(), rtol=1e-4, atol=0)


def test_structure_is_a_sum_of_distances(losses):
    image, gt = faces(seed=1), faces(seed=2)
    stages = zip(*(features.before_activation for features in losses['structure'].network(image, gt)), strict=True)
    distances = [(feature - target).abs().mean() for feature, target in stages]
    torch.testing.assert_close(losses['structure'](image, gt), 0.1 * distances[0] + 0.1 * distances[1] + distances[2] + distances[3])


def test_structure_weighs_the_four_stages(files):
    image, gt = faces(seed=1), faces(seed=2)
    alone = [StructureLoss(2.0, [float(k == stage) for k in range(4)], weights=str(files / 'arcface.pth'))(image, gt) for stage in range(4)]
    together = StructureLoss(1.0, [0.1, 0.1, 1, 1], weights=str(files / 'arcface.pth'))(image, gt)
    torch.testing.assert_close(together, (0.1 * alone[0] + 0.1 * alone[1] + alone[2] + alone[3]) / 2)


def test_structure_before_the_activation_sees_what_the_activation_damps(losses):
    """A PReLU with a slope of about a quarter for negative values brings features closer."""
    image, gt = faces(seed=1), faces(seed=2)
    assert losses['structure'](image, gt) > 1.05 * losses['structure_after'](image, gt)


def test_offset_norms_are_summed_over_codes():
    offsets = torch.zeros(2, 3, 4, requires_grad=True)
    assert OffsetNormLoss()(offsets) == 0
    OffsetNormLoss()(offsets).backward()
    assert torch.equal(offsets.grad, torch.zeros(2, 3, 4))
    offsets = torch.zeros(2, 3, 4)
    offsets[0, 1] = torch.tensor([3.0, 0, 4, 0])
    offsets[1, 2] = torch.tensor([0, -2.0, 0, 0])
    # (5 + 2) / 2 samples x weight 3.
    assert OffsetNormLoss(loss_weight=3.0)(offsets).item() == pytest.approx(10.5)


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda files: IdentityLoss(weights='arcface_resnet81'), "did you mean 'arcface_resnet18'"),
        (lambda files: StructureLoss(weights=str(files / 'vgg19.pth')), r'vgg19\.pth: not a network that FREx knows'),
        (lambda files: VGGPerceptualLoss(weights=str(files / 'vgg16.pth')), r'vgg16\.pth: the weights do not fit VGG: 12 missing'),
        (lambda files: LPIPSLoss(net='alex', weights=str(files / 'vgg16.pth')), r'vgg16\.pth: the weights do not fit alexnet'),
    ],
)
def test_a_wrong_file_is_told(files, build, message):
    with pytest.raises(FRExError, match=message):
        build(files)


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: VGGPerceptualLoss(layer_weights={'conv9_9': 1.0}, weights=None), 'conv9_9'),
        (lambda: LPIPSLoss(net='squeeze', weights=None), 'squeeze'),
        (lambda: IdentityLoss(distance='l2', weights=None), "not 'l2'"),
        (lambda: StructureLoss(layer_weights=[1.0], weights=None), 'four numbers'),
    ],
)
def test_wrong_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
