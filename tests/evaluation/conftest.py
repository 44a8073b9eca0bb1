"""Folders to evaluate, on a machine without weights."""

import pytest
from scored_folders import clean, off_by, write


@pytest.fixture
def folders(tmp_path):
    """Write clean images of several formats and folders, and two methods: errors of A are 2, 4, 6, 8, of B 3, 4, 5, 6."""
    names = ('a/one.png', 'a/two.bmp', 'b/one.png', 'three.png')
    for number, name in enumerate(names):
        write(tmp_path / 'gt' / name, clean(number))
        for method, first, step in (('A', 2, 2), ('B', 3, 1)):
            write((tmp_path / method / name).with_suffix('.png'), off_by(clean(number), first + step * number))
    return tmp_path


@pytest.fixture(autouse=True)
def _no_weights(weights_folder):
    """None of these tests depends on what lies on the machine."""
