"""Images are written in the format of their suffix."""

import numpy as np
import pytest

from frex.errors import FRExError
from frex.images import read_image, write_image


@pytest.mark.parametrize('name', ['face.xyz', 'face'])
def test_a_suffix_that_opencv_does_not_know_is_refused_in_one_line(tmp_path, name):
    with pytest.raises(FRExError, match=rf'{name}: OpenCV cannot write .* files; choose one of \.png, \.jpg'):
        write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['face.jfif', 'face.PNG'])
def test_other_names_of_a_format_are_written(tmp_path, name):
    write_image(tmp_path / 'new' / name, np.zeros((4, 4, 3), np.uint8))
    assert not read_image(tmp_path / 'new' / name).any()
