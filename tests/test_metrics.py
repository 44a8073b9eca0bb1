"""Metrics agree with other implementations, on the same images and with the same random weights."""

import pickle
import re
from unittest import mock

import cv2
import lpips
import numpy as np
import pytest
import torch
from pytorch_fid import fid_score
from pytorch_fid import inception as pytorch_inception
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tiny import TINY_OPTIONS, faces
from torchvision.models import alexnet, vgg16

from frex.cli.main import main
from frex.errors import FRExError
from frex.metrics import basicsr_functions, networks, statistics
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


def pictures(count=3, size=(48, 40), seed=0):
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


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ('FREX_HOME', 'XDG_CACHE_HOME', 'TORCH_HOME'):
        monkeypatch.setenv(variable, str(tmp_path / 'empty'))


@pytest.mark.usefixtures('no_weights')
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
    noisy, clean = pictures()
    own = psnr(batch(noisy), batch(clean))
    for value, img, img2 in zip(own.tolist(), noisy, clean, strict=True):
        assert value == pytest.approx(calculate_psnr(img, img2, crop_border=0), rel=1e-9)
        assert value == pytest.approx(peak_signal_noise_ratio(img2, img, data_range=255), rel=1e-9)


def test_ssim_is_basicsrs_and_scikit_images():
    noisy, clean = pictures()
    own = ssim(batch(noisy), batch(clean))
    for value, img, img2 in zip(own.tolist(), noisy, clean, strict=True):
        assert value == pytest.approx(calculate_ssim(img, img2, crop_border=0), rel=1e-9)
        _, shown = structural_similarity(
            img2, img, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
        )
        # scikit-image leaves out its own border.
        assert value == pytest.approx(shown[5:-5, 5:-5].mean(), rel=1e-6)
    assert 0.1 < own.min() < own.max() < 0.99


def test_a_picture_is_like_itself_and_a_tiny_one_has_no_ssim():
    image = faces(2)
    assert psnr(image, image).tolist() == [float('inf')] * 2
    assert ssim(image, image).tolist() == pytest.approx([1, 1])
    assert ssim(faces(1, 8), faces(1, 8)).isnan().all()


def test_values_that_no_file_can_hold_are_rounded_first():
    near = to_tensor(pictures()[1][0])[None]
    assert psnr(near + 0.4 / 127.5, near).item() == float('inf')


def test_niqe_is_basicsrs_and_nan_where_there_is_nothing_to_look_at():
    noisy, _ = pictures(size=(192, 208))
    assert niqe(batch(noisy), None).tolist() == pytest.approx([calculate_niqe(image, crop_border=0) for image in noisy])
    assert niqe(torch.zeros(1, 3, 200, 200), None).isnan().all()
    assert niqe(faces(1, 128), None).isnan().all()


def test_without_clean_pictures_only_niqe_answers():
    with pytest.raises(TypeError, match='needs clean images'):
        psnr(faces(), None)


# --- Through networks


@pytest.mark.parametrize(('key', 'net', 'build'), [('lpips', 'vgg', vgg16), ('lpips_alex', 'alex', alexnet)])
@pytest.mark.usefixtures('no_weights')
def test_lpips_is_the_lpips_packages(tmp_path, manifest_of, monkeypatch, key, net, build):
    # Initialising a classifier that nothing looks at would take seconds.
    monkeypatch.setattr(torch.nn.Linear, 'reset_parameters', lambda self: None)
    monkeypatch.setattr(torch.nn.init, 'normal_', lambda tensor, *_: tensor)
    torch.manual_seed(0)
    trunk = build(weights=None)
    (name,) = METRICS[key].weights
    torch.save({name: value for name, value in trunk.state_dict().items() if name.startswith('features.')}, tmp_path / f'{name}.pth')
    known_by(manifest_of, name)
    noisy, clean = map(batch, pictures(2, (64, 72)))
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
    noisy, clean = map(batch, pictures(2, (128, 128)))
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


def test_the_landmark_distance_is_in_pixels_of_the_picture(monkeypatch):
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
    noisy, _ = pictures(2, (96, 96))
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


def features(count, width=24, seed=0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator) @ torch.randn(width, width, generator=generator) + 3 + shift


def compute_statistics(values):
    sums = FeatureSums(features=values.shape[1])
    for part in values.split(7):
        sums.add(part)
    return sums.statistics('ab' * 32)


def test_a_gaussian_has_the_moments_of_its_features():
    values = features(50)
    statistics = compute_statistics(values)
    np.testing.assert_allclose(statistics.mean, values.double().mean(dim=0), rtol=1e-9)
    np.testing.assert_allclose(statistics.covariance, np.cov(values.double().numpy(), rowvar=False), rtol=1e-7, atol=1e-7)
    assert statistics.count == 50


def test_the_frechet_distance_is_basicsrs_and_pytorch_fids():
    first, second = compute_statistics(features(60)), compute_statistics(features(80, seed=1, shift=0.5))
    own = frechet_distance(first, second)
    arguments = (first.mean, first.covariance, second.mean, second.covariance)
    assert own == pytest.approx(calculate_fid(*arguments), rel=1e-6)
    assert own == pytest.approx(fid_score.calculate_frechet_distance(*arguments), rel=1e-6)
    assert own > 1


def test_the_distance_of_a_set_from_itself_is_zero_also_with_fewer_pictures_than_features():
    few = compute_statistics(features(10))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-5)


def test_the_distance_of_sets_on_two_axes_is_that_of_pencil_and_paper():
    # Variances 4 and 0 against 0 and 9: nothing is shared.
    first, second = (FeatureStatistics(np.zeros(2), np.diag(variances)) for variances in ([4.0, 0.0], [0.0, 9.0]))
    assert frechet_distance(first, second) == pytest.approx(13)


def test_of_one_picture_there_is_no_distance():
    assert np.isnan(frechet_distance(compute_statistics(features(1)), compute_statistics(features(9))))


def test_statistics_of_other_features_are_refused():
    with pytest.raises(FRExError, match='24 and of 8 features'):
        frechet_distance(compute_statistics(features(9)), compute_statistics(features(9, 8)))


# --- Files of statistics


@pytest.mark.parametrize('name', ['statistics.pth', 'statistics.npz'])
def test_saved_statistics_come_back(tmp_path, name):
    statistics = compute_statistics(features(9))
    statistics.save(tmp_path / name)
    loaded = FeatureStatistics.load(tmp_path / name, 'ab' * 32)
    np.testing.assert_array_equal(loaded.mean, statistics.mean)
    np.testing.assert_array_equal(loaded.covariance, statistics.covariance)
    assert (loaded.count, loaded.network) == (9, 'ab' * 32)
    with pytest.raises(FRExError, match='a network whose sha256 begins with abababab, not cdcdcdcd'):
        FeatureStatistics.load(tmp_path / name, 'cd' * 32)


def test_saved_statistics_are_what_basicsr_and_pytorch_fid_read(tmp_path):
    statistics = compute_statistics(features(9))
    statistics.save(tmp_path / 'own.pth')
    statistics.save(tmp_path / 'own.npz')
    stored = torch.load(tmp_path / 'own.pth', weights_only=False)
    mean, covariance = fid_score.compute_statistics_of_path(str(tmp_path / 'own.npz'), None, 1, 2048, 'cpu')
    for own, values in ((statistics.mean, (stored['mean'], mean)), (statistics.covariance, (stored['cov'], covariance))):
        for value in values:
            np.testing.assert_array_equal(value, own)


@pytest.mark.parametrize('new', [False, True])
@pytest.mark.parametrize('order', ['C', 'F'])
def test_statistics_as_basicsrs_script_saves_them_are_read(tmp_path, new, order):
    statistics, path = compute_statistics(features(9)), tmp_path / 'inception_FFHQ_512.pth'
    content = {'name': 'FFHQ', 'size': 512, 'mean': statistics.mean.astype('f4'), 'cov': np.asarray(statistics.covariance, order=order)}
    torch.save(content, path, _use_new_zipfile_serialization=new)
    loaded = FeatureStatistics.load(path, 'any network')
    np.testing.assert_allclose(loaded.mean, statistics.mean, rtol=1e-6)
    np.testing.assert_array_equal(loaded.covariance, statistics.covariance)
    assert loaded.count is loaded.network is None


class Trap:
    def __reduce__(self):
        return (print, ('run',))


@pytest.mark.parametrize('new', [False, True])
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'mean': Trap(), 'cov': np.eye(2)}, 'which is not part of the format'),
        ({'mean': np.zeros(2)}, 'it has no mean and cov'),
        ({'mean': np.zeros(3), 'cov': np.eye(2)}, 'do not go together'),
        ({'mean': np.zeros(2), 'cov': np.eye(2, dtype=np.int64)}, 'something else than real numbers'),
        ({'mean': np.full(2, np.nan), 'cov': np.eye(2)}, 'what is not a number'),
        ([1], 'it has no mean and cov'),
    ],
)
def test_other_files_are_refused_and_nothing_in_them_is_run(tmp_path, capsys, new, content, message):
    path = tmp_path / 'bad.pth'
    torch.save(content, path, _use_new_zipfile_serialization=new)
    with pytest.raises(FRExError, match=rf'bad\.pth: not a file of FID statistics, or a damaged one \(.*{message}'):
        FeatureStatistics.load(path)
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('name', ['bad.pth', 'bad.npz'])
@pytest.mark.parametrize('cut', [0, 10, 400])
def test_half_a_file_is_refused(tmp_path, name, cut):
    compute_statistics(features(9)).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:cut])
    with pytest.raises(FRExError, match='not a file of FID statistics'):
        FeatureStatistics.load(tmp_path / name)


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('frex.metrics.statistics_file.MAX_BYTES', 10_000)
    np.savez_compressed(tmp_path / 'large.npz', mu=np.zeros(2), sigma=np.zeros((200, 200)))
    with pytest.raises(FRExError, match='would unpack to more than statistics have'):
        FeatureStatistics.load(tmp_path / 'large.npz')


# --- frex statistics


class Means(Inception):
    """Replaces Inception: eight features per image."""

    features, sha256 = 8, 'ab' * 32

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images):
        return self.scale * images.mean(dim=(1, 2))[:, :8]


@pytest.fixture
def small_inception(monkeypatch):
    monkeypatch.setattr(statistics, 'Inception', mock.Mock(from_weights=lambda weights, device: Means()))


@pytest.mark.usefixtures('small_inception')
def test_the_statistics_of_a_folder_are_those_of_its_pictures(tmp_path, face_folder, capsys):
    for place, options in enumerate((['--batch_size', '2', '--num_workers', '0'], ['--num_workers', '2'])):
        assert main(['statistics', str(face_folder), '-o', str(tmp_path / f'{place}.pth'), '--device', 'cpu', *options]) == 0
    assert '5 images, network of sha256 abab' in capsys.readouterr().out
    images = [resize_for_inception(to_tensor(cv2.imread(str(path)))[None]) for path in sorted(face_folder.iterdir())]
    expected = np.concatenate([Means()(image).detach().numpy() for image in images]).astype(np.float64)
    for place in '01':
        loaded = FeatureStatistics.load(tmp_path / f'{place}.pth')
        np.testing.assert_allclose(loaded.mean, expected.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(loaded.covariance, np.cov(expected, rowvar=False), atol=1e-6)


@pytest.mark.usefixtures('small_inception')
def test_statistics_are_not_replaced_unasked(tmp_path, face_folder, capsys):
    command = ['statistics', str(face_folder), '-o', str(tmp_path / 'there.npz'), '--num_workers', '0', '--device', 'cpu']
    (tmp_path / 'there.npz').write_text('kept')
    assert main(command) == 1
    assert 'there.npz: is there already; --overwrite replaces it' in capsys.readouterr().err
    assert (tmp_path / 'there.npz').read_text() == 'kept'
    assert main([*command, '--overwrite']) == 0
    assert FeatureStatistics.load(tmp_path / 'there.npz').count == 5


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['{faces}', '-o', 'x.txt'], 'the name must end in .pth'),
        (['{faces}', '-o', 'none/x.pth'], 'no folder none'),
        (['{faces}', '-o', 'x.pth', '--batch_size', '0'], '--batch_size 0: at least 1'),
        (['none', '-o', 'x.pth'], 'FOLDER: no folder none'),
        (['{single}', '-o', 'x.pth'], 'at least 2 are needed'),
        (['{faces}', '-o', 'x.pth', '--device', 'cpu'], 'pt_inception-2015-12-05-6726825d.pth is missing; get it with'),
    ],
)
@pytest.mark.usefixtures('no_weights')
def test_bad_input_of_statistics_is_one_line(tmp_path, face_folder, capsys, arguments, message):
    (tmp_path / 'single').mkdir()
    cv2.imwrite(str(tmp_path / 'single/a.png'), np.zeros((8, 8, 3), np.uint8))
    assert main(['statistics', *(argument.format(faces=face_folder, single=tmp_path / 'single') for argument in arguments)]) == 1
    printed = capsys.readouterr().err.strip()
    assert message in printed
    assert '\n' not in printed
    assert not list(tmp_path.glob('x.*'))


def test_a_damaged_picture_ends_statistics_in_a_workers_one_line(tmp_path, face_folder, capsys, small_inception):
    (tmp_path / 'faces').mkdir()
    for path in face_folder.iterdir():
        (tmp_path / 'faces' / path.name).write_bytes(path.read_bytes())
    (tmp_path / 'faces/bad.png').write_bytes(b'no image')
    assert main(['statistics', str(tmp_path / 'faces'), '-o', str(tmp_path / 'x.pth'), '--num_workers', '1', '--device', 'cpu']) == 1
    assert capsys.readouterr().err.strip().endswith('bad.png: not an image, or a damaged one')
    assert not (tmp_path / 'x.pth').exists()


# --- With BasicSR


def test_fid_can_be_against_stored_statistics(tmp_path, monkeypatch):
    monkeypatch.setattr('frex.metrics.fid.Inception', lambda path: Means())
    noisy, clean = pictures(12)
    against_pictures = FID(None)
    for img, img2 in zip(noisy, clean, strict=True):
        against_pictures.add(img, img2)
    with torch.inference_mode():
        sums = FeatureSums(features=8)
        sums.add(Means()(batch(clean)))
    sums.statistics(Means.sha256).save(tmp_path / 'clean.pth')
    against_statistics = FID(None, str(tmp_path / 'clean.pth'))
    for img in noisy:
        against_statistics.add(img)
    assert against_statistics.value() == pytest.approx(against_pictures.value(), rel=1e-6)
    assert against_pictures.value() > 0


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
    folders = [f'datasets:{phase}:dataroot_gt={face_folder}' for phase in ('train', 'val')]
    short = ['train:total_iter=1', 'val:val_freq=1', 'datasets:train:num_worker_per_gpu=0', 'logger:use_tb_logger=false']
    return main(['train', '-opt', str(TINY_OPTIONS), '--force_yml', *folders, *short, *changes])


@pytest.mark.usefixtures('no_weights')
def test_missing_files_of_metrics_are_told_before_training(tmp_path, monkeypatch, face_folder, capsys):
    kinds = {'lpips': 'calculate_lpips', 'alex': 'calculate_lpips, net: alex', 'deg': 'calculate_deg', 'lmd': 'calculate_landmark_distance'}
    changes = [f'val:metrics:{name}={{type: {kind}, better: lower}}' for name, kind in kinds.items()]
    assert train(tmp_path, monkeypatch, face_folder, *changes) == 1
    printed = capsys.readouterr().err
    for name, key in (('lpips', 'vgg16'), ('alex', 'alexnet'), ('deg', 'arcface_resnet18'), ('lmd', 'awing_fan')):
        assert re.search(rf'val\.metrics\.{name}\.weights +{key} .* frex weights download {key}\b', printed)
    assert not (tmp_path / 'experiments').exists()


@pytest.mark.usefixtures('no_weights')
def test_training_validates_with_a_metric_that_looks_through_a_network(tmp_path, monkeypatch, face_folder):
    torch.manual_seed(0)
    torch.save({f'module.{name}': value for name, value in ArcFace().state_dict().items()}, tmp_path / 'arcface.pth')
    change = f'val:metrics={{deg: {{type: calculate_deg, better: lower, weights: {tmp_path}/arcface.pth}}}}'
    assert train(tmp_path, monkeypatch, face_folder, change) == 0
    *_, record = read_scalars(tmp_path / 'experiments/train_frex_tiny/scalars.jsonl')
    assert 0 < record['deg'] < 180


@pytest.mark.usefixtures('no_weights')
def test_a_file_of_another_network_is_told_before_training(tmp_path, monkeypatch, face_folder, capsys):
    torch.save({'weight': torch.zeros(2)}, tmp_path / 'wrong.pth')
    change = f'val:metrics:lmd={{type: calculate_landmark_distance, better: lower, weights: {tmp_path}/wrong.pth}}'
    assert train(tmp_path, monkeypatch, face_folder, change) == 1
    assert 'the weights do not fit FAN' in capsys.readouterr().err
