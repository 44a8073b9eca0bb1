"""Folders of frames: what is taken for a frame, what the result replaces, and what is noted."""

import os

import numpy as np
import PIL.Image
import pytest
from image_files import needs_avif
from PIL.PngImagePlugin import PngInfo
from restore_command import names

from frex.errors import FRExError
from frex.restore.film.frame_folder import FrameFolder, FrameFolderOutput
from frex.restore.film.restore_film import FilmOptions, FilmRestorer, FilmStoppedError
from frex.restore.film.segments import WorkFolder
from frex.restore.image_io.photo_file import from_array, write_photo


def fill(folder, *images, **others):
    """Write images of these names, and other files by their names, and return the folder."""
    folder.mkdir(exist_ok=True)
    for name in images:
        PIL.Image.new('RGB', (32, 24)).save(folder / name)
    for name, content in others.items():
        (folder / name).write_bytes(content)
    return folder


def listed(folder):
    return [path.name for path in folder.paths]


@needs_avif
def test_frames_are_of_all_kinds_that_are_read(tmp_path):
    folder = FrameFolder(fill(tmp_path, 'f1.png', 'f2.avif', 'f10.jpg'))
    assert listed(folder) == ['f1.png', 'f2.avif', 'f10.jpg']
    assert folder.notes == []


def test_hidden_files_and_folders_are_no_frames(tmp_path):
    (tmp_path / 'below.png').mkdir()
    folder = FrameFolder(fill(tmp_path, 'f1.png', 'f2.png', **{'._f1.png': b'\0\5\x16\7', '.DS_Store': b''}))
    assert listed(folder) == ['f1.png', 'f2.png']
    assert folder.notes == []


def test_what_is_passed_over_is_noted(tmp_path):
    others = {os.fsdecode(b'a\xe9.txt'): b'', **{f'c{number}.jxl': b'\xff\x0a' for number in range(5)}}
    folder = FrameFolder(fill(tmp_path, 'f1.png', **others))
    assert listed(folder) == ['f1.png']
    assert folder.notes == [
        '1 passed over (a\\udce9.txt): not an image by its suffix',
        '5 passed over (c0.jxl, c1.jxl, c2.jxl, ...): JPEG XL: export it as png, tiff or jpg',
    ]


def test_a_folder_without_a_frame_says_what_it_holds(tmp_path):
    with pytest.raises(FRExError, match=r'^--frames: no image in .* \(looked for .*\); 1 passed over \(a.jxl\): JPEG XL'):
        FrameFolder(fill(tmp_path, **{'a.jxl': b'\xff\x0a'}))


# --- The result

FRAME = from_array(np.zeros((24, 32, 4), np.uint16))


@pytest.mark.parametrize('kind', ['file', 'folder', 'link to a folder', 'broken link', 'nothing'])
def test_whatever_stands_in_the_place_of_the_result_is_replaced(tmp_path, kind):
    target, other = tmp_path / 'frames', fill(tmp_path / 'other', 'kept.png')
    {
        'file': lambda: target.write_text('a file'),
        'folder': lambda: fill(target, 'earlier.png'),
        'link to a folder': lambda: target.symlink_to(other),
        'broken link': lambda: target.symlink_to(tmp_path / 'nowhere'),
        'nothing': lambda: None,
    }[kind]()
    output = FrameFolderOutput(target, ['a.png'], WorkFolder(target, {}))
    with output.segment(0) as writer:
        writer.write(FRAME, 0)
    output.join(1)
    assert names(target) == ['a.png']
    assert not target.is_symlink()
    assert names(other) == ['kept.png']


@pytest.mark.usefixtures('small_segments')
def test_notes_on_frames_of_a_run_that_was_stopped_are_kept(film_restorer, tmp_path):
    """Frames of the first segment have alpha and 16 bit, which a jpg cannot hold, and one of them has a comment."""
    source = tmp_path / 'in'
    for number in range(8):
        write_photo(source / f'{number}.png', FRAME if number < 4 else from_array(np.zeros((24, 32, 3), np.uint8)))
    commented = PngInfo()
    commented.add_text('Comment', 'of a friend')
    PIL.Image.new('RGB', (32, 24)).save(source / '1.png', pnginfo=commented)

    def restore(stopped):
        frames, work = FrameFolder(source), WorkFolder(tmp_path / 'out', {})
        output = FrameFolderOutput(tmp_path / 'out', frames.result_names('.jpg'), work)
        return FilmRestorer(film_restorer, FilmOptions()).restore(frames, output, work, stopped)

    chunks = iter(range(9))
    with pytest.raises(FilmStoppedError):
        restore(lambda: next(chunks) == 3)
    first, second = restore(lambda: False)
    assert [note.partition(':')[0] for note in sorted(first.notes.values())] == [
        '16 bit written as 8 bit',
        'alpha left out',
        'comments left out',
    ]
    assert second.notes == {}
