"""A JPEG whose end is missing is noticed whatever takes its place, and whatever OpenCV and Pillow make of it."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest

from frex.errors import FRExError
from frex.images import decode_image
from frex.restore.image_io.photo_file import read_photo
from frex.utils.jpeg import is_cut_jpeg

NOISE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def encode(thumbnail=b'', **options):
    """A JPEG of noise; `thumbnail` is put into its metadata."""
    file = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x010E] = thumbnail
    PIL.Image.fromarray(NOISE).save(file, 'jpeg', exif=exif.tobytes() if thumbnail else b'', **options)
    return file.getvalue()


KINDS = {
    'baseline': encode(),
    # So many bits a block that decoders find enough of them in the zeros.
    'best quality': encode(quality=100, subsampling=0),
    'progressive': encode(progressive=True),
    'with restart markers': encode(restart_marker_blocks=3),
    'with a thumbnail': encode(encode()),
}


@pytest.mark.parametrize('data', KINDS.values(), ids=KINDS)
def test_a_whole_one_is_whole_whatever_follows_it(data):
    assert not any(is_cut_jpeg(data + after) for after in (b'', b'\0' * 100, data, b'\xff', b'text'))
    assert decode_image(data, 'a').shape == NOISE.shape


@pytest.mark.parametrize('kept', [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize('data', KINDS.values(), ids=KINDS)
def test_one_that_is_cut_or_ends_in_zeros_is_named(data, kept, tmp_path):
    start = data[: int(len(data) * kept)]
    for cut in (start, start + bytes(len(data) - len(start))):
        assert is_cut_jpeg(cut)
        with pytest.raises(FRExError, match=r'^a: damaged \(the end of the JPEG is missing\)$'):
            decode_image(cut, 'a')
        (tmp_path / 'a.jpg').write_bytes(cut)
        with pytest.raises(FRExError, match=r'a\.jpg: '):
            read_photo(tmp_path / 'a.jpg')


@pytest.mark.parametrize('suffix', ['.png', '.webp', '.bmp', '.tif'])
def test_half_a_file_of_another_kind_is_left_to_opencv(suffix):
    data = cv2.imencode(suffix, NOISE)[1].tobytes()
    assert not is_cut_jpeg(data)
    assert not is_cut_jpeg(data[: len(data) // 2])
    with pytest.raises(FRExError, match=r'^a: not an image, or a damaged one$'):
        decode_image(data[: len(data) // 2], 'a')
