"""A detector that finds a face in every frame, networks for the command that are not loaded each time, and small segments."""

import pytest
from films import FilmDetector, make_segments_small, pattern_network, restorer_of


@pytest.fixture
def detector():
    """A detector that finds one face in every frame."""
    return FilmDetector()


@pytest.fixture
def use(weights_folder, monkeypatch):
    """Return a function that lets the command use a network and a detector, and returns the restorer."""

    def let_command_use(net, detector):
        restorer = restorer_of(net, detector)
        monkeypatch.setattr('frex.restore.folder.restore_folder.load_restorer', lambda options, model: restorer)
        return restorer

    return let_command_use


@pytest.fixture
def film_restorer(use, detector):
    """Let the command use a network that adds a pattern to faces."""
    return use(pattern_network(), detector)


@pytest.fixture
def small_segments(monkeypatch):
    """Let segments have four frames, of which two are restored at a time."""
    make_segments_small(monkeypatch)
