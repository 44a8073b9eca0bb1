"""Fixtures of downloads, and of files that were made to do harm."""

from contextlib import ExitStack

import pytest
from hostile_files import meet_all_formats
from http_server import serving


@pytest.fixture
def downloads(bare_machine, monkeypatch):
    """A user without weights, who reaches the servers of these tests directly."""
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')


@pytest.fixture
def folder(tmp_path):
    """The first folder in which weights are searched for, empty."""
    (tmp_path / 'weights').mkdir()
    return tmp_path / 'weights'


@pytest.fixture
def serve():
    """Starts servers: the answers to requests for weights.pth, and those for other paths."""
    with ExitStack() as stack:
        yield lambda *answers, **others: stack.enter_context(
            serving({'/weights.pth': list(answers)} | {f'/{path}': answers for path, answers in others.items()})
        )


@pytest.fixture(scope='module')
def formats_met(tmp_path_factory):
    """What reading takes is measured: what is imported and compiled at the first use of a format does not count."""
    meet_all_formats(tmp_path_factory.mktemp('harmless'))
