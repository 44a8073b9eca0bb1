"""What is no image that FREx reads is told by its content, with the way out; HEIC is read where pillow-heif is installed."""

import threading
import warnings

import numpy as np
import PIL.Image
import pytest
import tifffile
from image_files import exif, noise, saved, soft

from frex.errors import FRExError
from frex.restore.image_io.content import BY_NAME, HEIC_WAY_OUT, RAW, VIDEO, describe_content, is_heic, reads_heic
from frex.restore.image_io.photo_file import read_photo, write_photo
from frex.restore.image_io.pillow_warnings import collect_warnings


def media(*brands):
    """Return the first box of a media file with these brands."""
    return (16 + 4 * (len(brands) - 1)).to_bytes(4, 'big') + b'ftyp' + brands[0] + bytes(4) + b''.join(brands[1:]) + bytes(99)


HEIC = [media(b'heic', b'mif1', b'heic'), media(b'mif1', b'mif1', b'heic', b'miaf'), media(b'heix'), media(b'msf1', b'hevc')]
VIDEOS = [
    media(b'isom', b'isom', b'mp41'),
    media(b'qt  ', b'qt  '),
    media(b'M4V ', b'mp42'),
    media(b'3gp4', b'isom'),
    b'\x1aE\xdf\xa3' + bytes(50),
    b'RIFF\0\0\0\0AVI LIST',
    b'\0\0\x01\xba' + bytes(50),
    b'0&\xb2u\x8ef\xcf\x11' + bytes(50),
    b'FLV\x01' + bytes(50),
]
RAWS = [
    b'II*\0\x10\0\0\0CR\x02\0' + bytes(50),
    media(b'crx ', b'crx ', b'isom'),
    b'FUJIFILMCCD-RAW 0201',
    b'IIRO\x08\0\0\0' + bytes(50),
    b'IIU\0\x18\0\0\0' + bytes(50),
    b'FOVb' + bytes(50),
    b'II\x1a\0\0\0HEAPCCDR' + bytes(50),
]


@pytest.mark.parametrize(('starts', 'words'), [(VIDEOS, VIDEO), (RAWS, RAW)])
@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'a'])
def test_videos_and_raw_files_are_recognised_whatever_their_name(starts, words, name, tmp_path):
    for start in starts:
        assert describe_content(start, '.jpg') == words
        (tmp_path / name).write_bytes(start)
        with pytest.raises(FRExError, match=f'{name}: ') as error:
            read_photo(tmp_path / name)
        assert words in str(error.value)


@pytest.mark.parametrize('start', HEIC)
def test_heic_is_recognised_whatever_its_name(start, tmp_path, monkeypatch):
    assert is_heic(start)
    monkeypatch.setattr('frex.restore.image_io.content.find_spec', lambda name: None)
    monkeypatch.setattr('frex.restore.image_io.decoding.reads_heic', lambda: False)
    (tmp_path / 'a.jpg').write_bytes(start)
    with pytest.raises(FRExError, match=r'a\.jpg: HEIC') as error:
        read_photo(tmp_path / 'a.jpg')
    assert HEIC_WAY_OUT in str(error.value)


def test_avif_is_not_taken_for_heic():
    assert not is_heic(media(b'avif', b'mif1', b'miaf'))
    assert not is_heic(media(b'mif1', b'avif', b'mif1'))


@pytest.mark.parametrize('suffix', ['.dng', '.NEF', '.arw'])
def test_raw_files_that_start_as_tiff_do_are_not_taken_for_one(suffix, tmp_path):
    """Their first image is a preview, or what the sensor saw."""
    path = tmp_path / f'a{suffix}'
    tifffile.imwrite(path, noise(8, 8, 3), photometric='rgb', metadata=None)
    assert describe_content(path.read_bytes()[:64], suffix) == RAW
    with pytest.raises(FRExError, match='raw file'):
        read_photo(path)


DNG_VERSION = {'extratags': [(50706, 1, 4, b'\1\4\0\0', True)]}


@pytest.mark.parametrize('options', [DNG_VERSION, {'photometric': 34892}, {'photometric': 32803}, {'subifds': 1, 'subfiletype': 1}])
def test_raw_files_under_the_name_of_a_tiff_are_recognised_by_their_tags(options, tmp_path):
    with tifffile.TiffWriter(tmp_path / 'a.tif') as writer:
        options.setdefault('photometric', 'rgb')
        channels = () if options['photometric'] == 32803 else (3,)
        writer.write(noise(8, 8, *channels), metadata=None, **options)
        if 'subifds' in options:
            writer.write(noise(8, 8), photometric=32803, metadata=None)
    with pytest.raises(FRExError, match=r'a\.tif: .*raw file'):
        read_photo(tmp_path / 'a.tif')


@pytest.mark.parametrize('kind', ['png', 'jpg', 'webp', 'gif', 'tif'])
def test_images_under_other_names_are_called_images(kind, tmp_path):
    saved(tmp_path / f'a.{kind}', soft(8, 8))
    assert describe_content((tmp_path / f'a.{kind}').read_bytes()[:64], '') == BY_NAME
    (tmp_path / f'a.{kind}').rename(tmp_path / 'a.dat')
    assert read_photo(tmp_path / 'a.dat').image.shape == (8, 8, 3)


def test_other_content_is_not_known():
    for start in (b'', b'text', b'\0' * 64, b'\x7fELF'):
        assert describe_content(start, '.txt') is None


@pytest.mark.parametrize('suffix', ['jfif', 'jpe', 'JFIF'])
def test_the_other_suffixes_of_jpeg_are_read_and_written(suffix, tmp_path):
    pixels = soft(16, 24)
    PIL.Image.fromarray(pixels).save(tmp_path / f'a.{suffix}', 'JPEG', quality=95)
    write_photo(tmp_path / f'b.{suffix}', read_photo(tmp_path / f'a.{suffix}'))
    with PIL.Image.open(tmp_path / f'b.{suffix}') as image:
        assert image.format == 'JPEG'


def test_heic_is_read_upright_with_its_metadata(tmp_path):
    pytest.importorskip('pillow_heif').register_heif_opener()
    assert reads_heic()
    pixels = soft(24, 40)
    for name, orientation in (('a.heic', 1), ('b.jpg', 6)):
        PIL.Image.fromarray(pixels).save(tmp_path / name, 'HEIF', quality=-1, chroma=444, exif=exif(orientation).tobytes())
        read = read_photo(tmp_path / name)
        expected = pixels if orientation == 1 else np.rot90(pixels, -1)
        assert np.abs(read.image[..., ::-1].astype(int) - expected).max() <= 3
        write_photo(tmp_path / 'c.png', read)
        with PIL.Image.open(tmp_path / 'c.png') as image:
            assert (image.getexif().get(0x112, 1), image.getexif()[0x10F]) == (1, 'Maker')


# --- Pillow's warnings


def test_what_pillow_warns_of_becomes_a_note_each_time(tmp_path, recwarn):
    path = saved(tmp_path / 'a.jpg', soft(8, 8))
    data = path.read_bytes()
    # A list of several images that is none.
    path.write_bytes(data[:2] + b'\xff\xe2\0\x10MPF\0' + bytes(10) + data[2:])
    for _ in range(2):
        assert any(note.startswith('Pillow: Image appears to be a malformed MPO file') for note in read_photo(path).notes)
    assert list(recwarn) == []


def test_warnings_of_other_threads_and_other_packages_are_shown_as_before():
    shown = []

    def other():
        warnings.warn_explicit('theirs', UserWarning, '/x/PIL/y.py', 1, module='PIL.y')

    with warnings.catch_warnings(record=True) as before:
        warnings.simplefilter('always')
        with collect_warnings() as texts:
            warnings.warn_explicit('mine\nof two lines', UserWarning, '/x/PIL/y.py', 1, module='PIL.y')
            warnings.warn_explicit('for programmers', DeprecationWarning, '/x/PIL/y.py', 1, module='PIL.y')
            warnings.warn('not of Pillow', stacklevel=1)
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        shown += [str(one.message) for one in before]
    assert texts == ['mine of two lines']
    assert shown == ['not of Pillow', 'theirs']


def test_filters_and_the_function_that_shows_are_as_they_were():
    function, filters = warnings.showwarning, list(warnings.filters)

    def collect():
        for _ in range(50):
            with collect_warnings():
                pass

    threads = [threading.Thread(target=collect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.showwarning is function
    assert list(warnings.filters) == filters
