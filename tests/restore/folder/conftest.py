"""Folders to restore, and the command on them, with a tiny network and a detector that returns given faces."""

import shutil

import pytest
from fake_detector import FakeDetector, detected, landmarks_at, smooth
from restore_command import run

from frex.images import write_image


@pytest.fixture
def detector(weights_folder, monkeypatch):
    """Replace the detector by one that finds two faces in images of 200 x 300, and none in others."""
    known = FakeDetector(detected(landmarks_at(80, 90, 90), 0.99), detected(landmarks_at(220, 110, 110, 20), 0.95), shape=(200, 300))
    monkeypatch.setattr('frex.restore.faces.helper_networks.FaceDetector.from_weights', lambda *arguments: known)
    return known


@pytest.fixture
def photos(tmp_path):
    """A folder of three photographs: two with two faces, of which one lies in a subfolder, and one without a face."""
    folder = tmp_path / 'photos'
    write_image(folder / 'a.png', smooth(200, 300, seed=1))
    write_image(folder / 'below/b.jpg', smooth(200, 300, seed=2))
    write_image(folder / 'empty.png', smooth(100, 80, seed=3))
    return folder


@pytest.fixture
def whole(checkpoint, photos, tmp_path, detector):
    """Return a function that runs the command on the photographs."""
    return lambda *more: run('-i', photos, '-r', '-o', tmp_path / 'out', '--model_path', checkpoint, '--device', 'cpu', *more)


@pytest.fixture
def aligned(weights_folder, checkpoint, face_folder, tmp_path):
    """Return a function that runs the command on the aligned faces."""
    return lambda *more: run('-i', face_folder, '-o', tmp_path / 'out', '--model_path', checkpoint, '--aligned', '--device', 'cpu', *more)


@pytest.fixture
def many(face_folder, tmp_path):
    """A folder of forty aligned faces."""
    folder = tmp_path / 'many'
    folder.mkdir()
    for number in range(40):
        shutil.copy(face_folder / 'face0.png', folder / f'{number:02d}.png')
    return folder
