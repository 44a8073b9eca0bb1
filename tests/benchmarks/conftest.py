"""What the tests of the benchmarks share."""

import pytest
from processes import CONTEXT


@pytest.fixture
def forked(monkeypatch):
    """The benchmarks' processes come from a fork server that has torch; spawned ones would import it for seconds."""
    monkeypatch.setattr('multiprocessing.get_context', lambda method: CONTEXT)
