"""Statistics of features: their files, and `frex statistics`, which makes them of a folder."""

from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from feature_sets import EightMeans, compute_statistics, random_features
from pytorch_fid import fid_score

from frex.cli.main import main
from frex.errors import FRExError
from frex.metrics import statistics
from frex.metrics.feature_statistics import FeatureStatistics
from frex.metrics.inception import resize_for_inception
from frex.tensors import to_tensor


@pytest.mark.parametrize('name', ['statistics.pth', 'statistics.npz'])
def test_saved_statistics_come_back(tmp_path, name):
    statistics = compute_statistics(random_features(9))
    statistics.save(tmp_path / name)
    loaded = FeatureStatistics.load(tmp_path / name, 'ab' * 32)
    np.testing.assert_array_equal(loaded.mean, statistics.mean)
    np.testing.assert_array_equal(loaded.covariance, statistics.covariance)
    assert (loaded.count, loaded.network) == (9, 'ab' * 32)
    with pytest.raises(FRExError, match='a network whose sha256 begins with abababab, not cdcdcdcd'):
        FeatureStatistics.load(tmp_path / name, 'cd' * 32)


def test_saved_statistics_are_what_basicsr_and_pytorch_fid_read(tmp_path):
    statistics = compute_statistics(random_features(9))
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
    statistics, path = compute_statistics(random_features(9)), tmp_path / 'inception_FFHQ_512.pth'
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
        ({'mean': np.zeros(2), 'cov': np.eye(2, dtype=np.int64)}, 'its mean or covariance does not consist of real numbers'),
        ({'mean': np.full(2, np.nan), 'cov': np.eye(2)}, 'it has values that are not finite numbers'),
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
    compute_statistics(random_features(9)).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:cut])
    with pytest.raises(FRExError, match='not a file of FID statistics'):
        FeatureStatistics.load(tmp_path / name)


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('frex.metrics.statistics_file.MAX_BYTES', 10_000)
    np.savez_compressed(tmp_path / 'large.npz', mu=np.zeros(2), sigma=np.zeros((200, 200)))
    with pytest.raises(FRExError, match='its content is larger than FID statistics can be'):
        FeatureStatistics.load(tmp_path / 'large.npz')


@pytest.fixture
def small_inception(monkeypatch):
    monkeypatch.setattr(statistics, 'Inception', mock.Mock(from_weights=lambda weights, device: EightMeans()))


@pytest.mark.usefixtures('small_inception')
def test_the_statistics_of_a_folder_are_those_of_its_images(tmp_path, face_folder, capsys):
    for place, options in enumerate((['--batch_size', '2', '--num_workers', '0'], ['--num_workers', '2'])):
        assert main(['statistics', str(face_folder), '-o', str(tmp_path / f'{place}.pth'), '--device', 'cpu', *options]) == 0
    assert '5 images, network of sha256 abab' in capsys.readouterr().out
    images = [resize_for_inception(to_tensor(cv2.imread(str(path)))[None]) for path in sorted(face_folder.iterdir())]
    expected = np.concatenate([EightMeans()(image).detach().numpy() for image in images]).astype(np.float64)
    for place in '01':
        loaded = FeatureStatistics.load(tmp_path / f'{place}.pth')
        np.testing.assert_allclose(loaded.mean, expected.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(loaded.covariance, np.cov(expected, rowvar=False), atol=1e-6)


@pytest.mark.usefixtures('small_inception')
def test_statistics_are_not_replaced_unasked(tmp_path, face_folder, capsys):
    command = ['statistics', str(face_folder), '-o', str(tmp_path / 'there.npz'), '--num_workers', '0', '--device', 'cpu']
    (tmp_path / 'there.npz').write_text('kept')
    assert main(command) == 1
    assert 'there.npz: exists already; --overwrite replaces it' in capsys.readouterr().err
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
@pytest.mark.usefixtures('bare_machine')
def test_bad_input_of_statistics_is_one_line(tmp_path, face_folder, capsys, arguments, message):
    (tmp_path / 'single').mkdir()
    cv2.imwrite(str(tmp_path / 'single/a.png'), np.zeros((8, 8, 3), np.uint8))
    assert main(['statistics', *(argument.format(faces=face_folder, single=tmp_path / 'single') for argument in arguments)]) == 1
    printed = capsys.readouterr().err.strip()
    assert message in printed
    assert '\n' not in printed
    assert not list(tmp_path.glob('x.*'))


def test_a_damaged_image_ends_statistics_in_a_workers_one_line(tmp_path, face_folder, capsys, small_inception):
    (tmp_path / 'faces').mkdir()
    for path in face_folder.iterdir():
        (tmp_path / 'faces' / path.name).write_bytes(path.read_bytes())
    (tmp_path / 'faces/bad.png').write_bytes(b'no image')
    assert main(['statistics', str(tmp_path / 'faces'), '-o', str(tmp_path / 'x.pth'), '--num_workers', '1', '--device', 'cpu']) == 1
    assert capsys.readouterr().err.strip().endswith('bad.png: not an image, or a damaged one')
    assert not (tmp_path / 'x.pth').exists()
