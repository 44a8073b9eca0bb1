"""FID of the images of each bin of yaw, and against stored statistics."""

import math

import numpy as np
import pytest
import torch
from feature_sets import frechet
from scored_folders import mean, write, write_yaw_labels

from frex.evaluation import Settings, evaluate
from frex.evaluation import fid as evaluation_fid
from frex.metrics.feature_statistics import FeatureStatistics


class MeanColour:
    """Replaces Inception: four features per image."""

    features = 4
    sha256 = None

    @classmethod
    def from_weights(cls, weights, device):
        return cls()

    def __call__(self, faces):
        return torch.cat([faces.mean(dim=(2, 3)), faces.std(dim=(1, 2, 3))[:, None]], dim=1)


@pytest.fixture
def fid_set(tmp_path, monkeypatch):
    """Write twelve pairs, the first seven frontal; return their features by folder."""
    monkeypatch.setattr(evaluation_fid, 'Inception', MeanColour)
    monkeypatch.setattr('frex.metrics.metric.Metric.missing', lambda metric, weights: None)
    monkeypatch.setattr('frex.evaluation.evaluator.describe_metrics', lambda *_: {})
    rng = np.random.default_rng(0)
    features = {'gt': [], 'A': []}
    for number in range(12):
        for folder in features:
            image = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            write(tmp_path / folder / f'{number:02d}.png', image)
            values = image[:, :, ::-1].astype(float) / 127.5 - 1
            features[folder].append([*values.mean(axis=(0, 1)), values.std(ddof=1)])
    return tmp_path, {folder: np.array(rows) for folder, rows in features.items()}


def test_fid_is_that_of_the_images_of_each_bin(fid_set):
    folder, features = fid_set
    cameras = write_yaw_labels(folder, {f'{number:02d}.png': 0.0 if number < 7 else 20.0 for number in range(12)})
    found = evaluate({'A': [folder / 'A']}, folder / 'gt', cameras=cameras, settings=Settings(('fid',), num_workers=0, device='cpu'))
    for number, part in enumerate((slice(None), slice(7), slice(7, None))):
        assert mean(found, 'A', 'fid', number) == pytest.approx(frechet(features['A'][part], features['gt'][part]), rel=1e-4)
        assert mean(found, 'GT', 'fid', number) == pytest.approx(0, abs=1e-6)


def test_fid_of_fewer_images_than_features_is_the_same_in_its_quick_form():
    features = np.random.default_rng(0).normal(size=(2, 9, 30)).astype(np.float32)
    quick, other = (evaluation_fid.SampleStatistics(each) for each in features)
    slow = FeatureStatistics(np.mean(features[0], axis=0, dtype=float), np.cov(features[0].astype(float), rowvar=False))
    assert quick.factor.shape == (30, 9)
    assert evaluation_fid.frechet_distance(quick, other) == pytest.approx(evaluation_fid.frechet_distance(slow, other), rel=1e-6)


def test_fid_against_stored_statistics_is_of_all_images(fid_set):
    folder, features = fid_set
    stored = np.random.default_rng(5).normal(size=(50, 4))
    FeatureStatistics(stored.mean(axis=0), np.cov(stored, rowvar=False), 50).save(folder / 'stored.npz')
    cameras = write_yaw_labels(folder, {f'{number:02d}.png': 0.0 for number in range(12)})
    settings = Settings(('fid',), fid_statistics=folder / 'stored.npz', num_workers=0, device='cpu')
    found = evaluate({'A': [folder / 'A']}, folder / 'gt', cameras=cameras, settings=settings)
    assert mean(found, 'A', 'fid') == pytest.approx(frechet(features['A'], stored), rel=1e-4)
    assert mean(found, 'GT', 'fid') == pytest.approx(frechet(features['gt'], stored), rel=1e-4)
    assert math.isnan(mean(found, 'A', 'fid', 1))
    assert found.protocol['FID against'].startswith('stored.npz, 50 images, sha256 ')
