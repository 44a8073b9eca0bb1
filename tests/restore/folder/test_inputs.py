"""Tests of which images `--input` names, and of the names of their results."""

import os
import socket
from pathlib import Path, PurePosixPath

import pytest

from frex.errors import FRExError
from frex.restore.folder.inputs import find_frame_folders, find_inputs


@pytest.fixture
def tree(tmp_path):
    """Return a function that makes empty files: their contents do not matter here."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def names(*inputs, recursive=False, **options):
    return [str(item.name) for item in find_inputs([str(given) for given in inputs], recursive, **options)]


def test_a_folder_gives_its_own_images_by_name(tree):
    folder = tree('b.png', 'a.JPG', 'sub/c.png', '.hidden.png', 'notes.md', 'Thumbs.db')
    found = find_inputs([str(folder)], recursive=False)
    assert [(item.path, item.name) for item in found] == [
        (folder / 'a.JPG', PurePosixPath('a')),
        (folder / 'b.png', PurePosixPath('b')),
    ]
    assert found.passed_over == [(folder / name, 'not an image by its suffix') for name in ('Thumbs.db', 'notes.md')]


def test_recursion_mirrors_the_tree_without_hidden_folders(tree):
    folder = tree('b.png', 'sub/c.png', 'sub/deep/d.webp', '.git/e.png', 'sub/x.png/f.bmp')
    assert names(folder, recursive=True) == ['b', 'sub/c', 'sub/deep/d', 'sub/x.png/f']


def test_images_of_one_stem_keep_their_suffixes(tree):
    assert names(tree('a.jpg', 'a.png', 'b.png', 'sub/a.png'), recursive=True) == ['a.jpg', 'a.png', 'b', 'sub/a']
    assert names(tree('a.jpg.png')) == ['a.jpg', 'a.jpg.png', 'a.png', 'b']


def test_equal_names_of_several_folders_are_told_apart_by_their_folders(tree):
    folder = tree('x/a.png', 'y/a.png', 'y/b.png')
    assert names(folder / 'x', folder / 'y') == ['x/a', 'y/a', 'b']
    assert names(folder / 'x/a.png', folder / 'y/a.png') == ['x/a', 'y/a']
    deep = tree('1/s/a.png', '2/s/a.png')
    assert names(deep / '1/s', deep / '2/s') == ['1/s/a', '2/s/a']


def test_an_image_that_is_named_twice_is_taken_once(tree, monkeypatch):
    folder = tree('a.png', 'b.png')
    monkeypatch.chdir(folder)
    assert names(folder / 'b.png', folder, './a.png') == ['b', 'a']


def test_a_file_that_is_named_is_taken_whatever_its_suffix(tree):
    assert names(tree('a.dat') / 'a.dat') == ['a']


def test_loops_of_links_end_and_links_out_of_the_folder_are_followed_once(tree):
    folder = tree('in/a.png', 'in/sub/b.png', 'out/c.png', 'sibling.png')
    (folder / 'in/self').symlink_to(folder / 'in')
    (folder / 'in/sub/up').symlink_to('..')
    (folder / 'in/parent').symlink_to(folder)
    (folder / 'in/to').symlink_to(folder / 'out')
    (folder / 'in/to_again').symlink_to(folder / 'out')
    (folder / 'out/back').symlink_to(folder / 'in')
    (folder / 'in/nowhere').symlink_to('nowhere')
    assert names(folder / 'in', recursive=True) == ['a', 'sub/b', 'to/c']
    assert names(folder / 'in/**/*.png') == ['a', 'sub/b']


def test_links_to_images_count_as_images_and_broken_ones_are_not_passed_over(tree):
    folder = tree('in/a.png')
    (folder / 'in/b.png').symlink_to('a.png')
    (folder / 'in/c.png').symlink_to('missing.png')
    (folder / 'in/d.png').symlink_to('d.png')
    assert names(folder / 'in') == ['a', 'b', 'c', 'd']


def test_a_pipe_is_no_image(tree):
    folder = tree('a.png')
    os.mkfifo(folder / 'b.png')
    assert names(folder) == ['a']
    with pytest.raises(FRExError, match=r'--input: .*b\.png: a named pipe, not a file'):
        names(folder / 'b.png')


def test_results_in_the_input_folder_are_no_inputs(tree):
    folder = tree('a.png', 'restored_imgs/a.png', 'sub/b.png')
    left = [folder / 'restored_imgs']
    assert names(folder, recursive=True, excluded=left) == ['a', 'sub/b']
    assert names(f'{folder}/**/*.png', excluded=left) == ['a', 'sub/b']
    # They are not excluded where the user names them.
    assert names(folder / 'restored_imgs', excluded=left) == ['a']
    assert names(f'{folder}/restored_imgs/*.png', excluded=left) == ['a']


def test_patterns_mirror_the_tree_below_their_fixed_part(tree):
    folder = tree('p/x/a.png', 'p/y/a.png', 'p/y/b.jpg', 'p/y/.c.png', 'p/y/d.txt')
    assert names(folder / 'p/*/a.png') == ['x/a', 'y/a']
    found = find_inputs([str(folder / 'p/y/*')], recursive=False)
    assert [str(item.name) for item in found] == ['a', 'b']
    assert [path.name for path, _ in found.passed_over] == ['d.txt']


def test_brackets_in_real_names_are_no_pattern(tree):
    folder = tree('a[1].png', 'a1.png', 'holiday [2024]/b.png', 'holiday [2024]/c.jpg')
    assert names(folder / 'a[1].png') == ['a[1]']
    assert names(folder / 'a[0-9].png') == ['a1']
    assert names(folder / 'holiday [2024]') == ['b', 'c']
    assert names(folder / 'holiday [2024]/*.png') == ['b']


def test_names_of_any_script_with_dots_and_line_breaks_are_kept(tree):
    folder = tree('фото.1.png', '写 真.jpg', 'two\nlines.png', 'é' * 120 + '.png')
    assert names(folder) == ['two\nlines', 'é' * 120, 'фото.1', '写 真']


def test_names_that_are_no_text_are_found(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b'/\xff.png')).touch()
    (tmp_path / 'list.txt').write_bytes(b'\xff.png\n')
    assert [os.fsencode(name) for name in names(tmp_path)] == [b'\xff']
    assert [os.fsencode(name) for name in names(tmp_path / 'list.txt')] == [b'\xff']


def test_a_list_names_an_image_a_line(tree, monkeypatch):
    folder = tree('lists/one.png', 'x/1.jpg', 'x/2.jpg', 'absolute/1.jpg')
    text = f'\ufeffone.png\r\n\n  x/1.jpg\n\t\nx/2.jpg\n{folder}/absolute/1.jpg\n../lists/one.png\n'
    (folder / 'lists/all.TXT').write_text(text, encoding='utf-8')
    monkeypatch.chdir(folder)
    # A path is relative to the working folder, else to the list's folder; the folders of a relative path are part of the name.
    assert names('lists/all.TXT') == ['one', 'x/1', 'x/2', '1']


def test_an_unknown_line_of_a_list_is_named(tree):
    folder = tree('a.png')
    (folder / 'list.txt').write_text('a.png\n\nmissing.png\n')
    with pytest.raises(FRExError, match=r'list\.txt, line 3: no file missing\.png'):
        names(folder / 'list.txt')
    for line, message in (('x' * 5000, 'no file'), ('a\0b', 'no file'), ('.', r'\.: a folder, not a file')):
        (folder / 'list.txt').write_text(line)
        with pytest.raises(FRExError, match=rf'list\.txt, line 1: {message}'):
            names(folder / 'list.txt')


def test_an_empty_list_is_refused(tree):
    with pytest.raises(FRExError, match=r'empty\.txt: names no image'):
        names(tree('empty.txt') / 'empty.txt')


def test_several_kinds_of_inputs_go_together(tree):
    folder = tree('a.png', 'p/b.png', 'q/c.jpg')
    (folder / 'list.txt').write_text('a.png\n')
    assert names(folder / 'list.txt', folder / 'p', folder / 'q/*.jpg') == ['a', 'b', 'c']


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ('', r'--input: no file, folder or pattern \(an empty name\)'),
        ('missing', '--input: no file, folder or pattern missing'),
        ('*.gif', r'--input: \*\.gif matches no image \(looked for \.png, '),
        ('a**b', r'a\*\*b'),
        ('empty', r'--input: no image in empty \(looked for .*\)$'),
        ('outer', r'--input: no image in outer .*--recursive takes the folders in it too'),
        ('x' * 5000, '--input: no file, folder or pattern x'),
    ],
)
def test_what_is_not_there_is_named(given, message, tree, monkeypatch):
    folder = tree('outer/inner/a.png')
    (folder / 'empty').mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(FRExError, match=message):
        names(given)


def test_nothing_given_is_refused():
    for find in (find_frame_folders, lambda inputs: find_inputs(inputs, recursive=False)):
        with pytest.raises(FRExError, match='--input: nothing given'):
            find([])


def test_a_folder_that_cannot_be_listed_is_told_and_the_others_go_on(tree, monkeypatch):
    folder = tree('a.png', 'locked/b.png', 'other/c.png')
    listed = os.scandir

    def scandir(path):
        if str(path).endswith('locked'):
            raise PermissionError(13, 'Permission denied', str(path))
        return listed(path)

    monkeypatch.setattr(os, 'scandir', scandir)
    found = find_inputs([str(folder)], recursive=True)
    assert [str(item.name) for item in found] == ['a', 'other/c']
    assert found.unreadable == [(folder / 'locked', 'the folder cannot be listed (Permission denied)')]
    with pytest.raises(FRExError, match=r'--input: .*locked cannot be listed \(Permission denied\)'):
        names(folder / 'locked')


def test_a_name_of_dots_alone_keeps_its_suffix(tree):
    folder = tree('..png', '...png')
    assert names(folder / '..png', folder / '...png') == ['..png', '..']


def test_what_is_passed_over_is_named_by_its_content(tree):
    folder = tree('a.jfif', 'b.jpe', 'c.JPEG', 'sub/x.png')
    (folder / 'd.heic').write_bytes(b'\0\0\0\x18ftypheic\0\0\0\0mif1heic')
    (folder / 'e.mp4').write_bytes(b'\0\0\0\x18ftypisom\0\0\0\0isommp41')
    (folder / 'f').write_bytes(b'\xff\xd8\xff\xe0')
    os.mkfifo(folder / 'g.png')
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / 'h.jpg'))
    (folder / 'i.tif').symlink_to('/dev/zero')
    found = find_inputs([str(folder)], recursive=False)
    assert [str(item.name) for item in found][:3] == ['a', 'b', 'c']
    reasons = {path.name: reason for path, reason in found.passed_over}
    assert reasons.pop('e.mp4') == 'a film: to restore it, name it itself as an input, with a suffix such as .mp4'
    assert 'rename it' in reasons.pop('f')
    assert reasons.pop('g.png') == 'a named pipe, not a file'
    assert reasons.pop('h.jpg') == 'a socket, not a file'
    assert reasons.pop('i.tif') == 'a device, not a file'
    # Where pillow-heif is installed it is one of the images.
    assert set(reasons) <= {'d.heic'}
    assert all("pip install 'frex[heic]'" in reason for reason in reasons.values())


def test_a_folder_without_an_image_says_what_is_there_instead(tree):
    folder = tree('notes.md')
    (folder / 'film.mov').write_bytes(b'\0\0\0\x14ftypqt  \0\0\0\0qt  ')
    with pytest.raises(FRExError, match=r'no image in .*film\.mov: a film: to restore it, name it itself'):
        find_inputs([str(folder)], recursive=False)


def test_special_files_that_are_named_are_refused_without_waiting(tree):
    folder = tree('a.png')
    os.mkfifo(folder / 'pipe.png')
    (folder / 'list.txt').write_text('a.png\npipe.png\n')
    os.mkfifo(folder / 'pipe.txt')
    for given, message in (
        ('pipe.png', 'pipe.png: a named pipe, not a file'),
        ('list.txt', r'list\.txt, line 2: pipe\.png: a named pipe'),
        ('pipe.txt', 'pipe.txt: a named pipe, not a file'),
    ):
        with pytest.raises(FRExError, match=message):
            find_inputs([str(folder / given)], recursive=False)
