"""Sessions of `frex web` with a tiny network, and photographs in which a stand-in for the detector finds two faces."""

from pathlib import Path

import pytest
from fake_detector import FakeDetector, detected, landmarks_at, smooth

from frex.images import write_image
from frex.web.options import Limits, WebOptions
from frex.web.session import Sessions
from frex.web.work import WebRestorer


@pytest.fixture
def detector(weights_folder, monkeypatch):
    """Replace the detector by one that finds two faces in images of 200 x 300, and none in others."""
    known = FakeDetector(detected(landmarks_at(80, 90, 90), 0.99), detected(landmarks_at(220, 110, 110, 20), 0.95), shape=(200, 300))
    monkeypatch.setattr('frex.restore.faces.helper_networks.FaceDetector.from_weights', lambda *arguments: known)
    return known


@pytest.fixture
def limits():
    return Limits(files=3, megabytes=1, megapixels=1)


@pytest.fixture
def sessions(limits):
    """The sessions of a page, and nothing of them afterwards."""
    opened = Sessions(limits)
    yield opened
    opened.close()


@pytest.fixture
def session(sessions):
    return sessions.get('tab')


@pytest.fixture
def work(small_model, detector):
    """The work of a page that offers the tiny network as the small FREx."""
    return WebRestorer(WebOptions(device='cpu'))


@pytest.fixture
def upload(tmp_path):
    """Writes an image as a browser's upload lies on the disk, in a folder of its own; returns its path."""

    def write(name, height=200, width=300, seed=1) -> Path:
        path = tmp_path / f'upload{seed}' / name
        write_image(path, smooth(height, width, seed))
        return path

    return write
