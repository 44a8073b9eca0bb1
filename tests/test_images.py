"""Images are listed, and written in the format of their suffix."""

import numpy as np
import pytest

from frex.errors import FRExError
from frex.images import list_images, read_image, write_image


@pytest.mark.parametrize('name', ['face.xyz', 'face'])
def test_a_suffix_that_opencv_does_not_know_is_refused_in_one_line(tmp_path, name):
    with pytest.raises(FRExError, match=rf'{name}: OpenCV cannot write .* files; choose one of \.png, \.jpg'):
        write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['face.jfif', 'face.PNG'])
def test_other_names_of_a_format_are_written(tmp_path, name):
    write_image(tmp_path / 'new' / name, np.zeros((4, 4, 3), np.uint8))
    assert not read_image(tmp_path / 'new' / name).any()


def test_hidden_files_are_not_listed(tmp_path):
    for name in ('b.png', 'a.JPG', '._a.JPG', 'notes.txt'):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path, '--faces')] == ['a.JPG', 'b.png']
