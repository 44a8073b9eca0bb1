"""TIFF files of all layouts are read right, or refused with their reason; tifffile, OpenCV and Pillow write them."""

import itertools

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile
from image_files import GRAY, SRGB, XMP, cmyk_profile, noise, saved, soft, tiff

from frex.errors import FRExError
from frex.restore.image_io.decoding import TURNS
from frex.restore.image_io.photo_file import read_photo

COLOURS = {'minisblack': 1, 'miniswhite': 1, 'rgb': 3}
ASSOCIATED, UNASSOCIATED = 1, 2


def write(path, samples, photometric, planes=False, **options):
    """Write samples (height, width, channels) by tifffile, in one plane or in as many as there are channels."""
    data = np.moveaxis(samples, 2, 0) if planes else samples if samples.shape[2] > 1 else samples[..., 0]
    layout = ('separate' if planes else 'contig') if samples.shape[2] > 1 else None
    extras = {'extrasamples': options.pop('extras')} if options.get('extras') else {}
    options.pop('extras', None)
    tifffile.imwrite(path, data, photometric=photometric, planarconfig=layout, metadata=None, **extras, **options)
    return path


STORED = [
    {'rowsperstrip': 7},
    {'compression': 'zlib', 'rowsperstrip': 7, 'predictor': True},
    {'tile': (16, 32)},
    {'compression': 'zlib', 'tile': (16, 16), 'predictor': True},
]


@pytest.mark.parametrize('stored', STORED, ids=str)
@pytest.mark.parametrize('planes', [False, True])
@pytest.mark.parametrize('bits', [8, 16])
def test_every_layout_gives_the_samples_that_were_written(stored, planes, bits, tmp_path):
    for photometric, extras, order in itertools.product(COLOURS, ((), (UNASSOCIATED,), (0,), (0, UNASSOCIATED)), '<>'):
        channels = COLOURS[photometric]
        samples = noise(37, 43, channels + len(extras), bits=bits)
        big = order == '>' and 'compression' in stored
        path = write(
            tmp_path / 'a.tif', samples, photometric, planes and samples.shape[2] > 1, extras=extras, byteorder=order, bigtiff=big, **stored
        )
        read = read_photo(path)
        expected = samples[..., :channels]
        expected = np.iinfo(samples.dtype).max - expected if photometric == 'miniswhite' else expected
        assert read.image.dtype == samples.dtype
        assert np.array_equal(read.image[..., ::-1], np.broadcast_to(expected, (37, 43, 3)))
        if UNASSOCIATED in extras:
            assert np.array_equal(read.alpha, samples[..., channels + extras.index(UNASSOCIATED)])
        else:
            assert read.alpha is None
        assert ('1 extra channel left out' in read.notes) == (0 in extras)


@pytest.mark.parametrize('planes', [False, True])
@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('photometric', ['rgb', 'minisblack'])
def test_colours_that_are_multiplied_by_alpha_are_divided_by_it(planes, bits, photometric, tmp_path):
    most, channels = 2**bits - 1, COLOURS[photometric]
    colours, alpha = noise(20, 30, channels, bits=bits), noise(20, 30, 1, bits=bits)
    alpha[0], alpha[1] = 0, most
    multiplied = np.rint(colours * (alpha / most)).astype(alpha.dtype)
    read = read_photo(write(tmp_path / 'a.tif', np.dstack([multiplied, alpha]), photometric, planes, extras=(ASSOCIATED,)))
    assert np.array_equal(read.alpha, alpha[..., 0])
    # Rounding loses half a level, and the more the smaller alpha is.
    wrong = np.abs(read.image[..., ::-1].astype(float) - colours)[1:] * (alpha / most)[1:]
    assert wrong.max() <= 1
    assert (read.image[0] == 0).all()
    assert np.array_equal(read.image[1, :, ::-1], np.broadcast_to(colours[1], (30, 3)))


def test_both_depths_of_one_image_show_the_same_colours(tmp_path):
    alpha, colours = np.full((8, 8, 1), 128, np.uint8), np.full((8, 8, 3), (100, 60, 20), np.uint8)
    eight = read_photo(write(tmp_path / 'a.tif', np.dstack([colours, alpha]), 'rgb', extras=(ASSOCIATED,)))
    sixteen = read_photo(write(tmp_path / 'b.tif', np.dstack([colours, alpha]).astype(np.uint16) * 257, 'rgb', extras=(ASSOCIATED,)))
    assert eight.image[0, 0].tolist() == [40, 120, 199]
    assert np.abs(sixteen.image / 257 - eight.image).max() < 1


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_lzw_as_opencv_writes_it_is_read(bits, channels, tmp_path):
    pixels = noise(37, 43, channels, bits=bits)
    for predictor in (1, 2):
        cv2.imwrite(str(tmp_path / 'a.tif'), pixels, [cv2.IMWRITE_TIFF_COMPRESSION, 5, cv2.IMWRITE_TIFF_PREDICTOR, predictor])
        read = read_photo(tmp_path / 'a.tif')
        assert np.array_equal(read.image, np.broadcast_to(pixels[..., :3], (37, 43, 3)))
        assert channels != 4 or np.array_equal(read.alpha, pixels[..., 3])


def test_an_alpha_that_is_not_declared_is_one(tmp_path):
    pixels = noise(5, 7, 4, bits=16)
    read = read_photo(tiff(tmp_path / 'a.tif', pixels, t262=2))
    assert np.array_equal(read.alpha, pixels[..., 3])


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('turn', TURNS)
def test_the_orientation_is_followed_at_both_depths_and_in_both_layouts(bits, turn, tmp_path):
    upright = noise(11, 13, 3, bits=bits)
    # Pillow's names for the rotations and reflections that undo each orientation; their inverses make it.
    undo = dict(zip(range(2, 9), (0, 3, 1, 5, 4, 6, 2), strict=True))
    views = [PIL.Image.fromarray(upright[..., channel].astype(np.int32)) for channel in range(3)]
    inverse = {2: 4, 4: 2}
    if turn > 1:
        views = [view.transpose(inverse.get(undo[turn], undo[turn])) for view in views]
    stored = np.dstack([np.asarray(view) for view in views]).astype(upright.dtype)
    for planes in (False, True):
        path = write(tmp_path / 'a.tif', stored, 'rgb', planes, extratags=[(274, 3, 1, turn, True)])
        read = read_photo(path)
        assert np.array_equal(read.image[..., ::-1], upright)


@pytest.mark.parametrize('planes', [False, True])
@pytest.mark.parametrize('bits', [8, 16])
def test_cmyk_of_every_layout_becomes_the_srgb_that_its_profile_means(planes, bits, tmp_path):
    magenta = (0, 1, 0, 0)
    icc = cmyk_profile(lambda inks: {(0, 0, 0, 0): (100, 0, 0), magenta: (60, 20, -15)}.get(inks, (0, 0, 0)))
    inks = np.zeros((6, 5, 4), np.uint8 if bits == 8 else np.uint16)
    inks[..., 1] = 2**bits - 1
    for extras in ((), (UNASSOCIATED,)):
        alpha = noise(6, 5, len(extras), bits=bits)
        path = write(tmp_path / 'a.tif', np.dstack([inks, alpha]), 'separated', planes, extras=extras, iccprofile=icc)
        read = read_photo(path)
        assert np.abs(read.image[..., ::-1].astype(int) - (169, 132, 171)).max() <= 4
        assert read.metadata.icc is None
        assert 'CMYK converted to sRGB by its profile' in read.notes
        assert ('16 bit read as 8 bit' in read.notes) == (bits == 16)
        assert not extras or np.abs(read.alpha - alpha[..., 0] / (1 if bits == 8 else 257)).max() <= 0.51


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        ({'photometric': 8}, 'TIFF of CIE Lab colours'),
        ({'photometric': 9}, 'TIFF of ICC Lab colours'),
        ({'photometric': 'miniswhite', 'channels': 2, 'extras': (ASSOCIATED,)}, 'TIFF whose inks are multiplied by alpha'),
        ({'photometric': 'separated', 'channels': 5, 'extras': (ASSOCIATED,)}, 'TIFF whose inks are multiplied by alpha'),
        ({'photometric': 'rgb', 'dtype': np.float32}, r'TIFF of 32 bit \(floating-point numbers\)'),
        ({'photometric': 'rgb', 'dtype': np.float16}, r'TIFF of 16 bit \(floating-point numbers\)'),
        ({'photometric': 'rgb', 'dtype': np.int16}, r'TIFF of 16 bit \(signed integers\)'),
        ({'photometric': 'rgb', 'dtype': np.uint32}, 'TIFF of 32 bit'),
    ],
)
def test_what_is_not_read_is_refused_with_its_reason(options, reason, tmp_path):
    samples = noise(8, 8, options.pop('channels', 3)).astype(options.pop('dtype', np.uint16))
    with pytest.raises(FRExError, match=rf'a\.tif: {reason}.* is not read here'):
        read_photo(write(tmp_path / 'a.tif', samples, **options))


def test_what_pillow_reads_alone_is_still_read(tmp_path):
    """A palette, one bit, and YCbCr compressed by JPEG; PackBits is written by Pillow alone, and read here."""
    pixels = soft(32, 48)
    assert np.array_equal(read_photo(saved(tmp_path / 'packed.tif', pixels, compression='packbits')).image[..., ::-1], pixels)
    saved(tmp_path / 'jpeg.tif', pixels, compression='jpeg', quality=95)
    assert np.abs(read_photo(tmp_path / 'jpeg.tif').image[..., ::-1].astype(int) - pixels).mean() < 4
    palette = PIL.Image.fromarray(pixels).quantize(16)
    palette.save(tmp_path / 'palette.tif')
    assert np.array_equal(read_photo(tmp_path / 'palette.tif').image[..., ::-1], np.asarray(palette.convert('RGB')))
    black = PIL.Image.fromarray(pixels[..., 0] > 128)
    for compression in ('group4', None):
        black.save(tmp_path / 'bits.tif', compression=compression)
        assert np.array_equal(read_photo(tmp_path / 'bits.tif').image[..., 0], np.asarray(black).astype(np.uint8) * 255)


@pytest.mark.parametrize('planes', [False, True])
@pytest.mark.parametrize('stored', [{}, {'compression': 'zlib'}, {'tile': (16, 16)}])
@pytest.mark.parametrize('part', [0.3, 0.6, 0.95])
def test_a_tiff_that_was_cut_is_damaged(planes, stored, part, tmp_path):
    path = write(tmp_path / 'a.tif', noise(60, 64, 3, bits=16), 'rgb', planes, **stored)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(FRExError, match=r'a\.tif: .*damaged'):
        read_photo(path)


@pytest.mark.parametrize('compression', ['zlib', 'lzw'])
def test_compressed_pixels_that_are_garbage_are_damaged(compression, tmp_path):
    path = tmp_path / 'a.tif'
    if compression == 'zlib':
        write(path, noise(60, 64, 3, bits=16), 'rgb', compression='zlib')
    else:
        cv2.imwrite(str(path), noise(60, 64, 3, bits=16), [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    page = tifffile.TiffFile(path).pages[0]
    data = bytearray(path.read_bytes())
    start = page.dataoffsets[0] + page.databytecounts[0] // 2
    data[start : start + 40] = b'\xff' * 40
    path.write_bytes(data)
    with pytest.raises(FRExError, match=r'a\.tif: .*damaged'):
        read_photo(path)


def test_metadata_are_kept_also_where_pillow_does_not_open_the_file(tmp_path):
    tags = [(271, 's', 0, 'Maker', True), (700, 'B', len(XMP), XMP, True)]
    for order, big in (('<', False), ('>', True)):
        read = read_photo(
            write(tmp_path / 'a.tif', noise(8, 8, 1), 'minisblack', iccprofile=GRAY, extratags=tags, byteorder=order, bigtiff=big)
        )
        assert (read.metadata.icc, read.metadata.xmp) == (GRAY, XMP)
        assert (read.metadata.exif is None) == ('EXIF left out: it cannot be read' in read.notes) == big
    with tifffile.TiffWriter(tmp_path / 'b.tif') as writer:
        for _ in range(3):
            writer.write(noise(8, 8, 3, bits=16), photometric='rgb', planarconfig='contig', iccprofile=SRGB)
    assert read_photo(tmp_path / 'b.tif').notes[0] == 'the first of 3 frames'


DECODE = """
import resource, sys, warnings
from pathlib import Path
from frex.restore.image_io.decoding import decode

warnings.simplefilter('error')
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pixels = decode(Path(sys.argv[1])).pixels
assert pixels.shape == (2500, 5000, 3) and (pixels == 7).all()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_tiff_of_many_megapixels_takes_its_pixels_and_little_more(tmp_path, interpreter):
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, np.full((3, 2500, 5000), 7, np.uint16), photometric='rgb', planarconfig='separate', metadata=None)
    grown = int(interpreter.check_output(DECODE, path))
    # The pixels take 72 MiB, twice where their channels change places.
    assert grown < 2.6 * 72
