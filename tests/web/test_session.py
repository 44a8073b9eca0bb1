"""What a session takes, what it refuses, and that nothing of it is left."""

import threading

import numpy as np
import PIL.Image
import pytest

from frex.errors import FRExError
from frex.images import read_image
from frex.web.options import Limits
from frex.web.uploads import check_pixels


def test_an_upload_is_moved_into_the_session(session, upload):
    file = upload('a.png')
    pixels = read_image(file)
    added = session.add(file)
    assert not file.exists()
    assert np.array_equal(read_image(added.path), pixels)
    assert (added.width, added.height) == (300, 200)
    assert read_image(added.thumbnail).shape == (171, 256, 3)


def test_uploads_of_one_name_stay_apart(session, upload):
    names = [session.add(upload(name, seed=seed)).path.name for seed, name in enumerate(('a.png', 'A.png', 'a.jpg'))]
    assert names == ['a.png', 'A(1).png', 'a(2).jpg']


def refusal(session, file):
    """Return the one line with which a session refuses a file, of which nothing is left."""
    with pytest.raises(FRExError) as caught:
        session.add(file)
    assert not file.exists()
    assert not (session.folder / 'uploads').exists() or len(list((session.folder / 'uploads').iterdir())) == len(session.uploads)
    return str(caught.value)


def test_more_files_than_allowed_are_refused(session, upload):
    for seed in range(3):
        session.add(upload(f'{seed}.png', seed=seed))
    assert refusal(session, upload('d.png', seed=9)) == 'd.png: there are 3 photographs already, the most that this page takes'


def test_a_file_of_too_many_bytes_is_refused(session, tmp_path):
    (tmp_path / 'a.png').write_bytes(bytes(2_000_000))
    assert refusal(session, tmp_path / 'a.png') == 'a.png: 2 MB is more than the 1 MB that this page takes'


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(session, tmp_path, monkeypatch):
    PIL.Image.new('1', (1200, 1000)).save(tmp_path / 'a.png')
    monkeypatch.setattr('frex.web.uploads.read_photo', None)
    assert refusal(session, tmp_path / 'a.png') == 'a.png: 1200 x 1000 is more than the 1 million pixels that this page takes'


def test_a_result_of_too_many_pixels_is_refused(tmp_path):
    check_pixels(tmp_path / 'a.png', 1000, 200, Limits(megapixels=1), 2)
    with pytest.raises(FRExError, match='1000 x 300 scaled by 2 is more than the 1 million pixels that this page makes'):
        check_pixels(tmp_path / 'a.png', 1000, 300, Limits(megapixels=1), 2)


def test_a_broken_image_is_refused_as_the_command_line_words_it(session, upload):
    file = upload('a.png')
    file.write_bytes(file.read_bytes()[:-2000])
    assert refusal(session, file).startswith('a.png: cannot be read, or is damaged (')


def test_a_list_of_paths_is_refused(session, upload, tmp_path):
    """`frex restore` would read the files that it names."""
    (tmp_path / 'list.txt').write_text(str(upload('secret.png')))
    assert refusal(session, tmp_path / 'list.txt').startswith('list.txt: not an image')
    disguised = upload('b.png', seed=2)
    assert refusal(session, disguised.rename(disguised.with_suffix('.txt'))) == 'b.txt: an image, but not by its suffix: rename it'


def test_nothing_is_left_of_a_session_that_ends(sessions, session, upload):
    session.add(upload('a.png'))
    sessions.end('tab')
    assert not session.folder.exists()
    assert sessions.get('tab') is not session


def test_nothing_is_left_of_a_page_that_is_closed(sessions, session, upload):
    session.add(upload('a.png'))
    sessions.close()
    assert not sessions.folder.exists()


def test_a_page_is_closed_when_the_work_on_its_sessions_is_done(sessions, session):
    closing = threading.Thread(target=sessions.close)
    with session.lock:
        closing.start()
        closing.join(0.1)
        (session.folder / 'result').touch()
    closing.join()
    assert not sessions.folder.exists()


def test_a_session_can_be_cleared(session, upload):
    session.add(upload('a.png'))
    session.clear()
    assert session.uploads == []
    assert list(session.folder.iterdir()) == []
