"""A detector that finds a face in every frame, a network that is loaded once, and small segments."""

import pytest
from films import FilmDetector

from frex.restore.faces.helper_networks import HelperNetworks
from frex.restore.faces.restorer import FaceRestorer


@pytest.fixture(scope='session')
def loaded(checkpoint):
    """The restorer of the tiny network."""
    return FaceRestorer.from_pretrained(checkpoint, 'cpu', face_batch=2)


@pytest.fixture
def detector():
    """A detector that finds one face in every frame."""
    return FilmDetector()


@pytest.fixture
def film_restorer(loaded, detector, weights_folder, monkeypatch):
    """Let the command use the restorer that is loaded, with the detector."""
    loaded.parts = HelperNetworks(detector=detector)
    monkeypatch.setattr('frex.restore.folder.restore_folder.load_restorer', lambda options, model: loaded)
    return loaded


@pytest.fixture
def small_segments(monkeypatch):
    """Let segments have four frames, of which two are restored at a time."""
    monkeypatch.setattr('frex.restore.film.restore_film.SEGMENT_FRAMES', 4)
    monkeypatch.setattr('frex.restore.film.segments.SEGMENT_FRAMES', 4)
    monkeypatch.setattr('frex.restore.film.restore_film.MOST_FRAMES', 2)
