"""Folders of frames: what is taken for a frame."""

import os

import PIL.Image
import pytest
from image_files import needs_avif

from frex.errors import FRExError
from frex.restore.film.frame_folder import FrameFolder


def fill(folder, *images, **others):
    """Write images of these names, and other files by their names, and return the folder."""
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
