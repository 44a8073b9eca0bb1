"""Metrics agree with other implementations, on the same images and with the same random weights."""

import pickle
import re
from unittest import mock

import cv2
import lpips
import numpy as np
import pytest
import torch
from feature_sets import EightMeans, compute_statistics, random_features
from option_files import IN_ONE_PROCESS, face_folders
from pytorch_fid import fid_score
from pytorch_fid import inception as pytorch_inception
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tiny import TINY_OPTIONS, faces
from torchvision.models import alexnet, vgg16

from frex.cli.main import main
from frex.errors import FRExError
from frex.metrics import basicsr_functions, networks
from frex.metrics.catalogue import METRICS
from frex.metrics.feature_statistics import FeatureStatistics, FeatureSums, frechet_distance
from frex.metrics.fid import FID
from frex.metrics.inception import Inception, resize_for_inception
from frex.metrics.pixelwise import niqe, psnr, ssim
from frex.models.scalars import read_scalars
from frex.tensors import to_tensor
from frex.weights.manifest import WeightFile
from frex_arch import ArcFace
from frex_arch.arcface import to_arcface_input

from basicsr.metrics import calculate_niqe, calculate_psnr, calculate_ssim  # isort: skip (frex.metrics makes it importable)
from basicsr.metrics.fid import calculate_fid  # isort: skip

CPU = torch.device('cpu')


def noisy_and_clean(count=3, size=(48, 40), seed=0):
    """Return smooth images and noisy copies of them."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)
    clean = [cv2.resize(one, size[::-1], interpolation=cv2.INTER_CUBIC) for one in coarse]
    noisy = [np.clip(one + rng.normal(0, 4 + 10 * place, one.shape), 0, 255).astype(np.uint8) for place, one in enumerate(clean)]
    return noisy, clean


def batch(images):
    return torch.stack([to_tensor(image) for image in images])


# --- The catalogue


def test_the_catalogue_has_the_papers_metrics_in_its_order():
    assert list(METRICS) == ['psnr', 'ssim', 'lpips', 'fid', 'niqe', 'deg', 'lpips_alex', 'lmd', 'stlpips', 'stlpips_alex']
    assert [key for key, metric in METRICS.items() if metric.better == 'higher'] == ['psnr', 'ssim']
    assert [key for key, metric in METRICS.items() if metric.compares_sets] == ['fid']
    assert [key for key, metric in METRICS.items() if not metric.needs_gt or metric.on_cpu] == ['niqe']


def known_by(manifest_of, *keys):
    manifest_of(*(WeightFile(key, f'{key}.pth', 'tests', ['evaluate'], None, [], 'none', []) for key in keys))


@pytest.mark.usefixtures('bare_machine')
def test_a_metric_tells_which_files_are_missing(tmp_path):
    assert METRICS['psnr'].missing(None) is None
    expected = 'vgg16-397923af.pth is missing; get it with: frex weights download vgg16'
    assert METRICS['lpips'].missing(tmp_path) == expected
    with pytest.raises(FRExError, match='frex weights download vgg16'):
        METRICS['lpips'].load(tmp_path, CPU)


def test_metrics_of_numpy_can_be_sent_to_workers():
    scorer = METRICS['niqe'].load(None, CPU)
    assert pickle.loads(pickle.dumps(scorer)) is scorer  # noqa: S301 (its own)


# --- Of images


def test_psnr_is_basicsrs_and_scikit_images():
    noisy, clean = noisy_and_clean()
    own = psnr(batch(noisy), batch(clean))
    for value, img, img2 in zip(own.tolist(), noisy, clean, strict=True):
        assert value == pytest.approx(calculate_psnr(img, img2, crop_border=0), rel=1e-9)
        assert value == pytest.approx(peak_signal_noise_ratio(img2, img, data_range=255), rel=1e-9)


def test_ssim_is_basicsrs_and_scikit_images():
    noisy, clean = noisy_and_clean()
    own = ssim(batch(noisy), batch(clean))
    for value, img, img2 in zip(own.tolist(), noisy, clean, strict=True):
        assert value == pytest.approx(calculate_ssim(img, img2, crop_border=0), rel=1e-9)
        _, shown = structural_similarity(
            img2, img, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
        )
        # scikit-image leaves out its own border.
        assert value == pytest.approx(shown[5:-5, 5:-5].mean(), rel=1e-6)
    assert 0.1 < own.min() < own.max() < 0.99


def test_an_image_is_like_itself_and_a_tiny_one_has_no_ssim():
    image = faces(2)
    assert psnr(image, image).tolist() == [float('inf')] * 2
    assert ssim(image, image).tolist() == pytest.approx([1, 1])
    assert ssim(faces(1, 8), faces(1, 8)).isnan().all()


def test_values_that_no_file_can_hold_are_rounded_first():
    near = to_tensor(noisy_and_clean()[1][0])[None]
    assert psnr(near + 0.4 / 127.5, near).item() == float('inf')


def test_niqe_is_basicsrs_and_nan_where_there_is_nothing_to_look_at():
    noisy, _ = noisy_and_clean(size=(192, 208))
    assert niqe(batch(noisy), None).tolist() == pytest.approx([calculate_niqe(image, crop_border=0) for image in noisy])
    assert niqe(torch.zeros(1, 3, 200, 200), None).isnan().all()
    assert niqe(faces(1, 128), None).isnan().all()


def test_without_clean_images_only_niqe_answers():
    with pytest.raises(TypeError, match='needs clean images'):
        psnr(faces(), None)


# --- Through networks


@pytest.mark.parametrize(('key', 'net', 'build'), [('lpips', 'vgg', vgg16), ('lpips_alex', 'alex', alexnet)])
@pytest.mark.usefixtures('bare_machine')
def test_lpips_is_the_lpips_packages(tmp_path, manifest_of, monkeypatch, key, net, build):
    # Initialising a classifier that nothing looks at would take seconds.
    monkeypatch.setattr(torch.nn.Linear, 'reset_parameters', lambda self: None)
    monkeypatch.setattr(torch.nn.init, 'normal_', lambda tensor, *_: tensor)
    torch.manual_seed(0)
    trunk = build(weights=None)
    (name,) = METRICS[key].weights
    torch.save({name: value for name, value in trunk.state_dict().items() if name.startswith('features.')}, tmp_path / f'{name}.pth')
    known_by(manifest_of, name)
    noisy, clean = map(batch, noisy_and_clean(2, (64, 72)))
    with mock.patch(f'lpips.pretrained_networks.tv.{build.__name__}', return_value=trunk):
        expected = lpips.LPIPS(net=net, verbose=False)(noisy, clean).flatten()
    scorer = METRICS[key].load(tmp_path, CPU)
    torch.testing.assert_close(scorer(noisy, clean), expected, rtol=1e-5, atol=1e-7)
    assert expected.min() > 0
    assert scorer(noisy, noisy).tolist() == [0, 0]
    assert scorer(faces(1, 16), faces(1, 16)).isnan().all()


def test_deg_is_the_angle_of_the_embeddings_of_a_network_in_evaluation():
    torch.manual_seed(0)
    metric = networks.IdentityAngle(None)
    noisy, clean = map(batch, noisy_and_clean(2, (128, 128)))
    first, second = (metric.arcface(to_arcface_input(images)).double().numpy() for images in (noisy, clean))
    cosines = (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert metric(noisy, clean).tolist() == pytest.approx(np.degrees(np.arccos(cosines)), abs=1e-4)
    assert metric(noisy, noisy).tolist() == pytest.approx([0, 0], abs=1e-4)
    assert not any(module.training for module in metric.arcface.modules())


class Corner(torch.nn.Module):
    """Replaces AWing: each landmark is the brightest of 64 x 64 cells."""

    def forward(self, x):
        fields = torch.nn.functional.max_pool2d(x.mean(dim=1, keepdim=True), 4)
        return [fields.expand(-1, 99, -1, -1)], None


def test_the_landmark_distance_is_in_pixels_of_the_image(monkeypatch):
    monkeypatch.setattr(networks, 'build_fan', lambda device: Corner())
    first, second = np.zeros((2, 512, 512, 3), dtype=np.uint8)
    # Whole fields of 8 x 8 pixels: 8 to the right, 6 down.
    first[80:88, 80:88] = 255
    second[128:136, 144:152] = 255
    metric = networks.LandmarkDistance(None)
    assert metric(batch([first]), batch([second])).item() == pytest.approx(80)
    assert metric(batch([first]), batch([first])).item() == 0


def test_landmarks_are_those_that_the_camera_estimation_finds():
    from frex.restore.detection.dense_landmarks import LandmarkNetwork, build_fan

    torch.manual_seed(0)
    metric = networks.LandmarkDistance(None)
    net = build_fan(CPU).eval()
    net.load_state_dict(metric.net.state_dict())
    noisy, _ = noisy_and_clean(2, (96, 96))
    expected = [LandmarkNetwork(net, 'cpu').landmarks(image) * 96 for image in noisy]
    with torch.inference_mode():
        np.testing.assert_allclose(metric.landmarks(batch(noisy)), expected, atol=1e-4)


# --- FID


@pytest.fixture(scope='module')
def inception_file(tmp_path_factory):
    """Return pytorch-fid's network with random weights, and its file."""
    path = tmp_path_factory.mktemp('inception') / 'inception_fid.pth'
    torch.manual_seed(0)
    net = pytorch_inception.fid_inception_v3
    with mock.patch.object(pytorch_inception, 'load_state_dict_from_url', return_value=None), _no_state():
        network = net()
    # In random layers a signal fades, unless batch norms know its size.
    for module in network.modules():
        module.momentum = None
    with torch.inference_mode():
        network.train()(faces(4, 96))
    torch.save(network.state_dict(), path)
    return path


def _no_state():
    return mock.patch.object(torch.nn.Module, 'load_state_dict')


def test_features_are_pytorch_fids(inception_file):
    state = torch.load(inception_file, weights_only=True)
    with mock.patch.object(pytorch_inception, 'load_state_dict_from_url', return_value=state):
        reference = pytorch_inception.InceptionV3([3], normalize_input=False).eval()
    images = faces(2, 80)
    with torch.inference_mode():
        expected = reference(images)[0].flatten(1)
        own = Inception(inception_file)(images)
    assert expected.std(dim=0).max() > 1e-4
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-6)


def test_what_is_resized_before_is_not_resized_again():
    once = resize_for_inception(faces(1, 80))
    assert torch.equal(resize_for_inception(once), once)


def test_a_file_of_another_network_is_told(tmp_path):
    wrong = tmp_path / 'wrong.pth'
    torch.save({'weight': torch.zeros(2)}, wrong)
    with pytest.raises(FRExError, match=r'wrong\.pth: not the Inception network of pytorch-fid'):
        Inception(wrong)


def test_a_gaussian_has_the_moments_of_its_features():
    values = random_features(50)
    statistics = compute_statistics(values)
    np.testing.assert_allclose(statistics.mean, values.double().mean(dim=0), rtol=1e-9)
    np.testing.assert_allclose(statistics.covariance, np.cov(values.double().numpy(), rowvar=False), rtol=1e-7, atol=1e-7)
    assert statistics.count == 50


def test_the_frechet_distance_is_basicsrs_and_pytorch_fids():
    first, second = compute_statistics(random_features(60)), compute_statistics(random_features(80, seed=1, shift=0.5))
    own = frechet_distance(first, second)
    arguments = (first.mean, first.covariance, second.mean, second.covariance)
    assert own == pytest.approx(calculate_fid(*arguments), rel=1e-6)
    assert own == pytest.approx(fid_score.calculate_frechet_distance(*arguments), rel=1e-6)
    assert own > 1


def test_the_distance_of_a_set_from_itself_is_zero_also_with_fewer_images_than_features():
    few = compute_statistics(random_features(10))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-5)


def test_the_distance_of_sets_on_two_axes_is_that_of_pencil_and_paper():
    # Variances 4 and 0 against 0 and 9: nothing is shared.
    first, second = (FeatureStatistics(np.zeros(2), np.diag(variances)) for variances in ([4.0, 0.0], [0.0, 9.0]))
    assert frechet_distance(first, second) == pytest.approx(13)


def test_of_one_image_there_is_no_distance():
    assert np.isnan(frechet_distance(compute_statistics(random_features(1)), compute_statistics(random_features(9))))


def test_statistics_of_other_features_are_refused():
    with pytest.raises(FRExError, match='24 and of 8 features'):
        frechet_distance(compute_statistics(random_features(9)), compute_statistics(random_features(9, 8)))


# --- With BasicSR


def test_fid_can_be_against_stored_statistics(tmp_path, monkeypatch):
    monkeypatch.setattr('frex.metrics.fid.Inception', lambda path: EightMeans())
    noisy, clean = noisy_and_clean(12)
    against_images = FID(None)
    for img, img2 in zip(noisy, clean, strict=True):
        against_images.add(img, img2)
    with torch.inference_mode():
        sums = FeatureSums(features=8)
        sums.add(EightMeans()(batch(clean)))
    sums.statistics(EightMeans.sha256).save(tmp_path / 'clean.pth')
    against_statistics = FID(None, str(tmp_path / 'clean.pth'))
    for img in noisy:
        against_statistics.add(img)
    assert against_statistics.value() == pytest.approx(against_images.value(), rel=1e-6)
    assert against_images.value() > 0


@pytest.mark.parametrize(
    ('function', 'kind', 'arguments'),
    [
        (basicsr_functions.calculate_lpips, 'LPIPSDistance', {'net': 'alex'}),
        (basicsr_functions.calculate_deg, 'IdentityAngle', {}),
        (basicsr_functions.calculate_landmark_distance, 'LandmarkDistance', {}),
    ],
)
def test_a_registered_metric_loads_its_network_once(monkeypatch, function, kind, arguments):
    built = []

    def build(weights, device, **others):
        built.append((weights, others))
        return lambda restored, gt: (restored - gt).mean(dim=(1, 2, 3)) * 127.5

    monkeypatch.setattr(basicsr_functions, kind, build)
    first, second = np.full((2, 8, 8, 3), [[[[9]]], [[[4]]]], dtype=np.uint8)
    assert [function(first, second, weights='some', **arguments) for _ in range(2)] == pytest.approx([5, 5])
    assert built == [('some', arguments)]


def train(tmp_path, monkeypatch, face_folder, *changes):
    monkeypatch.chdir(tmp_path)
    short = ['train:total_iter=1', 'val:val_freq=1', *IN_ONE_PROCESS]
    return main(['train', '-opt', str(TINY_OPTIONS), *face_folders(face_folder), *short, *changes])


@pytest.mark.usefixtures('bare_machine')
def test_missing_files_of_metrics_are_told_before_training(tmp_path, monkeypatch, face_folder, capsys):
    kinds = {'lpips': 'calculate_lpips', 'alex': 'calculate_lpips, net: alex', 'deg': 'calculate_deg', 'lmd': 'calculate_landmark_distance'}
    changes = [f'val:metrics:{name}={{type: {kind}, better: lower}}' for name, kind in kinds.items()]
    assert train(tmp_path, monkeypatch, face_folder, *changes) == 1
    printed = capsys.readouterr().err
    for name, key in (('lpips', 'vgg16'), ('alex', 'alexnet'), ('deg', 'arcface_resnet18'), ('lmd', 'awing_fan')):
        assert re.search(rf'val\.metrics\.{name}\.weights +{key} .* frex weights download {key}\b', printed)
    assert not (tmp_path / 'experiments').exists()


@pytest.mark.usefixtures('bare_machine')
@pytest.mark.slow
def test_training_validates_with_a_metric_that_looks_through_a_network(tmp_path, monkeypatch, face_folder):
    torch.manual_seed(0)
    torch.save({f'module.{name}': value for name, value in ArcFace().state_dict().items()}, tmp_path / 'arcface.pth')
    change = f'val:metrics={{deg: {{type: calculate_deg, better: lower, weights: {tmp_path}/arcface.pth}}}}'
    assert train(tmp_path, monkeypatch, face_folder, change) == 0
    *_, record = read_scalars(tmp_path / 'experiments/train_frex_tiny/scalars.jsonl')
    assert 0 < record['deg'] < 180


@pytest.mark.usefixtures('bare_machine')
def test_a_file_of_another_network_is_told_before_training(tmp_path, monkeypatch, face_folder, capsys):
    torch.save({'weight': torch.zeros(2)}, tmp_path / 'wrong.pth')
    change = f'val:metrics:lmd={{type: calculate_landmark_distance, better: lower, weights: {tmp_path}/wrong.pth}}'
    assert train(tmp_path, monkeypatch, face_folder, change) == 1
    assert 'the weights do not fit FAN' in capsys.readouterr().err
