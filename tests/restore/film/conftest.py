"""A detector that finds a face in every frame, and small segments."""

import pytest
from films import FilmDetector


@pytest.fixture
def detector(weights_folder, monkeypatch):
    """Replace the detector by one that finds one face in every frame."""
    known = FilmDetector()
    monkeypatch.setattr('frex.restore.faces.helper_networks.FaceDetector.from_weights', lambda *arguments: known)
    return known


@pytest.fixture
def small_segments(monkeypatch):
    """Let segments have four frames, of which two are restored at a time."""
    monkeypatch.setattr('frex.restore.film.restore_film.SEGMENT_FRAMES', 4)
    monkeypatch.setattr('frex.restore.film.segments.SEGMENT_FRAMES', 4)
    monkeypatch.setattr('frex.restore.film.restore_film.MOST_FRAMES', 2)
