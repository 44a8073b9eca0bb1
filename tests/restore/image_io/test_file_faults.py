"""Image files that are damaged, too large or of no known kind, and disks that are full: one line, and no half file."""

import os
import struct
import threading
import zlib

import cv2
import numpy as np
import PIL.Image
import pytest
from image_files import KINDS, noise, photo_of, png_16, saved, soft
from watch import largest_file

from frex.errors import FRExError
from frex.restore.image_io.photo_file import read_photo, write_photo


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('part', [0.02, 0.5, 0.9])
def test_half_a_file_is_no_image(kind, part, tmp_path):
    path = saved(tmp_path / f'a.{kind}', noise(64, 96, 3))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(FRExError, match=rf'a\.{kind}: '):
        read_photo(path)


@pytest.mark.parametrize('kind', ['png', 'tif'])
def test_half_a_file_of_sixteen_bits_is_no_image(kind, tmp_path):
    path = tmp_path / f'a.{kind}'
    write_photo(path, photo_of(noise(64, 96, 3, bits=16)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FRExError, match=r'damaged'):
        read_photo(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'the file is empty'),
        (b'no image, but text', 'not an image of a kind that is read here, or a damaged one'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'PostScript: export it as png'),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(content, message, tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(content)
    with pytest.raises(FRExError, match=message) as error:
        read_photo(path)
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)


def test_folders_missing_files_and_links_to_themselves_are_refused(tmp_path):
    (tmp_path / 'loop.png').symlink_to(tmp_path / 'loop.png')
    for path in (tmp_path, tmp_path / 'missing.png', tmp_path / 'loop.png'):
        with pytest.raises(FRExError, match=f'{path}: cannot be read'):
            read_photo(path)


@pytest.mark.parametrize(('kind', 'reason'), [(np.float32, 'floating-point numbers'), (np.int32, 'signed integers')])
def test_depths_that_are_none_of_an_image_are_refused(kind, reason, tmp_path):
    saved(tmp_path / 'a.tif', noise(4, 4).astype(kind))
    with pytest.raises(FRExError, match=rf'TIFF of 32 bit \({reason}\) is not read here: save it as grey or RGB of 8 or 16 bit'):
        read_photo(tmp_path / 'a.tif')


def test_too_many_pixels_are_refused_by_the_header_alone(tmp_path):
    path = png_16(tmp_path / 'a.png', noise(1, 1, 3, bits=16))
    head = struct.pack('>IIBBBBB', 20000, 20000, 8, 2, 0, 0, 0)
    data = path.read_bytes()
    path.write_bytes(data[:16] + head + struct.pack('>I', zlib.crc32(b'IHDR' + head)) + data[33:])
    with pytest.raises(FRExError, match='20000 x 20000 is more than 250 million pixels'):
        read_photo(path)


READ = """
import resource, sys, warnings
from pathlib import Path
from frex.restore.image_io.photo_file import read_photo

warnings.simplefilter('error')
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = read_photo(Path(sys.argv[1])).image
assert image.shape == (5000, 5000, 3) and image[-1, -1].tolist() == [10, 20, 30]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_many_megapixels_are_read_in_bounded_memory(tmp_path, interpreter):
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), np.full((5000, 5000, 3), (10, 20, 30), np.uint8))
    grown = int(interpreter.check_output(READ, path))
    # The pixels take 72 MiB, and Pillow's own copy of them 95 MiB.
    assert grown < 250


def test_pillows_own_limit_is_left_as_it_was(tmp_path):
    before = PIL.Image.MAX_IMAGE_PIXELS
    path = saved(tmp_path / 'a.png', soft(8, 8))
    threads = [threading.Thread(target=read_photo, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before == PIL.Image.MAX_IMAGE_PIXELS


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / 'a.jpg'
    write_photo(path, photo_of(soft(8, 8)))
    before = path.read_bytes()

    def full(*_args, **_options):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(PIL.Image.Image, 'save', full)
    with pytest.raises(FRExError, match=r'a\.jpg: cannot be written .*No space left') as error:
        write_photo(path, photo_of(noise(8, 8, 3)))
    assert error.value.__cause__.errno == 28
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('kind', KINDS)
def test_a_truly_full_disk_leaves_no_half_image(kind, tmp_path):
    with largest_file(1000), pytest.raises(FRExError, match=rf'a\.{kind}: cannot be written .*File too large'):
        write_photo(tmp_path / f'a.{kind}', photo_of(noise(64, 64, 3)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('kind', 'shape'), [('webp', (1, 16384, 3)), ('jpg', (65501, 1, 3))])
def test_sides_that_are_too_long_for_a_format_are_refused(kind, shape, tmp_path):
    with pytest.raises(FRExError, match=rf'a\.{kind}: .* pixels that .* has for a side: write png'):
        write_photo(tmp_path / f'a.{kind}', photo_of(np.zeros(shape, np.uint8)))


def test_a_kind_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(FRExError, match=r'a\.gif: \.gif is not a kind of image that can be written'):
        write_photo(tmp_path / 'a.gif', photo_of(soft(8, 8)))


def test_a_file_is_on_its_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, synced, sync = tmp_path / 'a.png', [], os.fsync

    def fsync(file):
        synced.append((os.fstat(file).st_size, path.exists()))
        sync(file)

    monkeypatch.setattr(os, 'fsync', fsync)
    write_photo(path, photo_of(soft(8, 8)))
    assert synced == [(path.stat().st_size, False)]
