"""Films are read frame by frame with their times, upright, with their depth and their tags; bad ones are refused in one line."""

from fractions import Fraction

import av
import numpy as np
import pytest
from fake_detector import smooth
from films import add_sound, make_film, moving, read_times

from frex.errors import FRExError
from frex.restore.film.reader import FilmReader
from frex.restore.image_io.headers import MOST_PIXELS


def read(path, start=0):
    with FilmReader(path) as film:
        return film, list(film.frames(start))


def test_frames_come_with_their_times(tmp_path):
    frames = moving(10)
    film, found = read(make_film(tmp_path / 'a.mp4', frames))
    assert film.stated_frames == 10
    assert film.notes == []
    assert (film.format.width, film.format.height, film.format.rate, film.format.deep) == (160, 120, 25, False)
    assert [frame.time for frame in found] == pytest.approx([number / 25 for number in range(10)])
    for frame, image in zip(found, frames, strict=True):
        assert np.abs(frame.photo.image.astype(int) - image).mean() < 4


@pytest.mark.parametrize('suffix', ['mp4', 'mov', 'mkv', 'avi', 'webm'])
def test_containers(tmp_path, suffix):
    path = make_film(tmp_path / f'a.{suffix}', moving(5), codec='libvpx-vp9' if suffix == 'webm' else 'libx264')
    film, found = read(path)
    assert len(found) == 5
    assert [frame.pts * film.format.time_base for frame in found] == read_times(path)


def test_a_variable_rate_is_kept(tmp_path):
    pts = [0, 40, 55, 200, 1000, 1001]
    film, found = read(make_film(tmp_path / 'a.mkv', moving(6), pts=pts, time_base=Fraction(1, 1000)))
    assert [round(1000 * frame.time) for frame in found] == pts
    assert film.retimed == 0


def test_reading_goes_on_at_a_frame(tmp_path):
    path = make_film(tmp_path / 'a.mp4', moving(10))
    _, whole = read(path)
    _, rest = read(path, start=6)
    assert [frame.pts for frame in rest] == [frame.pts for frame in whole[6:]]
    assert np.array_equal(rest[0].photo.image, whole[6].photo.image)


@pytest.mark.parametrize('turns', [1, 2, 3])
def test_films_are_turned_upright(tmp_path, turns):
    """A phone writes frames as its sensor sees them, and by how much players turn them."""
    upright = smooth(120, 160)
    film, found = read(make_film(tmp_path / 'a.mp4', [np.ascontiguousarray(np.rot90(upright, -turns))] * 2, rotation=90 * turns))
    assert found[0].photo.image.shape == (120, 160, 3)
    assert (film.format.width, film.format.height) == (160, 120)
    assert np.abs(found[0].photo.image.astype(int) - upright).mean() < 4
    assert film.notes == [f'turned upright by {90 * turns} degrees to the left: the result needs no display matrix']


def test_ten_bits_and_hdr_are_noticed(tmp_path):
    hdr = {'color_primaries': 9, 'color_trc': 16, 'colorspace': 9}
    film, found = read(make_film(tmp_path / 'a.mkv', moving(2), codec='libx265', pixels='yuv420p10le', colours=hdr))
    assert film.format.deep
    assert found[0].photo.image.dtype == np.uint16
    assert film.format.colours == (1, 9, 16, 9)
    (note,) = film.notes
    assert note.startswith('HDR (PQ)')


def test_a_film_without_colour_is_grey(tmp_path):
    image = np.repeat(smooth(120, 160)[:, :, :1], 3, axis=2)
    _, found = read(make_film(tmp_path / 'a.mkv', [image] * 2, codec='libx264', pixels='gray'))
    assert found[0].photo.grey


def test_full_colour_resolution_is_told(tmp_path):
    film, _ = read(make_film(tmp_path / 'a.mkv', moving(2), pixels='yuv444p'))
    assert film.notes == ['colours of full resolution (yuv444p) became 4:2:0']


# --- Bad films


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def make_sound(path):
    with av.open(str(path), 'w') as container:
        container.mux(add_sound(container, 'aac', Fraction(1)))
    return path


def make_empty(path):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=25)
        stream.width, stream.height = 64, 64
        container.start_encoding()
    return path


def encrypt(path):
    key = '00112233445566778899aabbccddeeff'
    return make_film(path, moving(2), encryption_scheme='cenc-aes-ctr', encryption_key=key, encryption_kid=key)


def write_text(path):
    path.write_bytes(b'this is no film' * 50)
    return path


BAD = {
    'a text': (write_text, 'cannot be read as a film'),
    'the head of a film': (lambda path: cut(make_film(path, moving(5)), 0.3), 'cannot be read as a film'),
    'sound only': (make_sound, 'no film: it holds sound only'),
    'no frame': (make_empty, 'no f'),
    'an encrypted film': (encrypt, 'the film is encrypted'),
}


@pytest.mark.parametrize(('make', 'message'), BAD.values(), ids=list(BAD))
def test_what_is_no_film_is_refused_in_one_line(tmp_path, make, message):
    path = make(tmp_path / 'a.mp4')
    with pytest.raises(FRExError, match=f'a.mp4: {message}') as error:
        FilmReader(path)
    assert '\n' not in str(error.value)


def test_a_huge_film_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = make_film(tmp_path / 'a.mp4', moving(2))
    monkeypatch.setattr('frex.restore.image_io.headers.MOST_PIXELS', 160 * 120 - 1)
    with pytest.raises(FRExError, match='160 x 120 is more than'):
        FilmReader(path)
    assert MOST_PIXELS > 8192 * 4320


def test_a_film_that_breaks_off_is_read_as_far_as_it_goes(tmp_path):
    _, found = read(cut(make_film(tmp_path / 'a.mkv', [smooth(120, 160, seed) for seed in range(40)]), 0.6))
    assert 5 < len(found) < 40


def test_a_film_that_ends_before_its_header_says_is_told(tmp_path):
    path = make_film(tmp_path / 'a.avi', [smooth(120, 160, seed) for seed in range(40)])
    film, found = read(cut(path, 0.6))
    assert 5 < len(found) < 40
    assert any('the film ends early' in note for note in film.late_notes(len(found)))


def test_damaged_packets_are_left_out_and_told(tmp_path):
    path = make_film(tmp_path / 'a.avi', [smooth(120, 160, seed) for seed in range(20)], codec='mjpeg', pixels='yuvj420p')
    content = bytearray(path.read_bytes())
    starts = [at for at in range(len(content) - 2) if content[at : at + 3] == b'\xff\xd8\xff']
    content[starts[7] : starts[7] + 600] = bytes(600)
    path.write_bytes(content)
    film, found = read(path)
    assert len(found) == 19
    assert next(film.late_notes(19)) == '1 damaged packet left out'
