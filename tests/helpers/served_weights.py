"""A file of weights for tests of downloads: its content, its entry in a manifest, and its download."""

import hashlib
import random

import pytest

from frex.weights.download import BLOCK, Unreachable, fetch
from frex.weights.manifest import WeightFile

SIZE = 16 * BLOCK
# Weights begin like a pickle.
CONTENT = b'\x80' + random.Random(0).randbytes(SIZE - 1)
OTHER = b'\x80' + random.Random(1).randbytes(SIZE - 1)
SUM = hashlib.sha256(CONTENT).hexdigest()
PAGE = b'<!DOCTYPE html><title>Please sign in</title>'
# What a manifest may know of a file.
ALL, NO_SIZE, BEGINNING, NOTHING = {}, {'size': None}, {'size': None, 'sha256': [SUM[:8]]}, {'size': None, 'sha256': []}


def weights(*urls, **changes):
    """Return the entry of a manifest for weights.pth, whose bytes are CONTENT; `changes` replace its fields."""
    known = {
        'key': 'weights',
        'file': 'weights.pth',
        'purpose': 'tests',
        'tasks': ['train'],
        'size': SIZE,
        'sha256': [SUM],
        'licence': 'MIT',
    }
    return WeightFile(**(known | changes), urls=list(urls))


def get(server, folder, **changes):
    """Fetch weights.pth from the server into `folder`, without pauses, and return the words for its origin."""
    return fetch(weights(server.url('/weights.pth'), **changes), folder, pause=0)[1]


def refusal(folder, *urls, **changes):
    """Return why each URL did not give the file; check that none did, and that no file has its name."""
    with pytest.raises(Unreachable) as error:
        fetch(weights(*urls, **changes), folder, pause=0)
    assert not (folder / 'weights.pth').exists()
    return list(error.value.answers.values())


def names(folder):
    """Return the names of the files in a folder, without locks."""
    return [path.name for path in folder.iterdir() if path.suffix != '.lock']


def is_whole(folder):
    """Return whether weights.pth has its content, and no other file but locks is left in the folder."""
    return (folder / 'weights.pth').read_bytes() == CONTENT and names(folder) == ['weights.pth']
