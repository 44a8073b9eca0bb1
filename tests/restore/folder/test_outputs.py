"""Tests of the names of result files, and of what happens where they exist already."""

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from frex.errors import FRExError
from frex.restore.folder.inputs import Input
from frex.restore.folder.outputs import Outputs, remove_stale_faces
from frex.restore.folder.report import FaceRecord, ImageRecord
from frex.utils.files import write_atomically


def given(name, suffix='.jpg'):
    return Input(Path(f'{name}{suffix}'), PurePosixPath(name))


def files_of(results, folder):
    faces = [results.face(kind, number) for number, kind in enumerate(('cropped_faces', 'restored_faces', 'cmp'))]
    return [path.relative_to(folder).as_posix() for path in (results.image, *faces)]


def make(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize(
    ('options', 'files'),
    [
        ({}, ['restored_imgs/sub/a.jpg', 'cropped_faces/sub/a_00.png', 'restored_faces/sub/a_01.png', 'cmp/sub/a_02.png']),
        (
            {'suffix': 'frex', 'ext': 'webp'},
            [
                'restored_imgs/sub/a_frex.webp',
                'cropped_faces/sub/a_00_frex.webp',
                'restored_faces/sub/a_01_frex.webp',
                'cmp/sub/a_02_frex.webp',
            ],
        ),
        (
            {'suffix': '_x', 'ext': '.TIF'},
            ['restored_imgs/sub/a_x.tif', 'cropped_faces/sub/a_00_x.tif', 'restored_faces/sub/a_01_x.tif', 'cmp/sub/a_02_x.tif'],
        ),
    ],
)
def test_results_lie_in_gfpgans_folders_in_the_inputs_tree(options, files, tmp_path):
    assert files_of(Outputs(tmp_path, **options).plan(given('sub/a')), tmp_path) == files


@pytest.mark.parametrize(
    ('suffix', 'ext'), [('.JPG', '.jpg'), ('.jpeg', '.jpeg'), ('.tif', '.tif'), ('.bmp', '.bmp'), ('.dat', '.png'), ('', '.png')]
)
def test_auto_keeps_the_inputs_kind_where_it_can_be_written(suffix, ext, tmp_path):
    assert Outputs(tmp_path).plan(given('a', suffix)).image.name == f'a{ext}'


def test_names_that_keep_their_suffix_get_another(tmp_path):
    # So the results of a.jpg, beside a.png, and of a.jpg.jpg never get the same name.
    for name, suffix, expected in [('a.jpg', '.jpg', 'a.jpg.jpg'), ('a.png', '.png', 'a.png.png'), ('a.jpg.jpg', '.jpg', 'a.jpg.jpg.jpg')]:
        assert Outputs(tmp_path).plan(Input(Path(f'a{suffix}'), PurePosixPath(name))).image.name == expected


def test_overwriting_goes_to_the_same_files(tmp_path):
    outputs = Outputs(tmp_path, exist='overwrite')
    results = outputs.plan(given('a'))
    make(results.image)
    assert outputs.plan(given('a')) == results


def test_renaming_counts_all_results_of_an_image_together(tmp_path):
    for suffix, expected in [('', 'a'), ('', 'a(1)'), ('', 'a(2)'), ('s', 'a')]:
        outputs = Outputs(tmp_path, suffix=suffix, exist='rename')
        results = outputs.plan(given('sub/a'))
        end = f'_{suffix}' if suffix else ''
        assert files_of(results, tmp_path)[:2] == [f'restored_imgs/sub/{expected}{end}.jpg', f'cropped_faces/sub/{expected}_00{end}.png']
        # A single face file is enough to block the name.
        make(results.face('restored_faces', 0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['restored_faces']


@pytest.mark.parametrize('there', ['cropped_faces/a_03.png', 'depth/a_00.png', 'restored_faces/a_117.png'])
def test_a_name_is_taken_by_any_face_of_any_folder(there, tmp_path):
    make(tmp_path / there)
    assert Outputs(tmp_path, exist='rename').plan(given('a')).name.name == 'a(1)'


@pytest.mark.parametrize('there', ['cropped_faces/a_0.png', 'cropped_faces/a_00_s.png', 'cropped_faces/ab_00.png', 'cmp/sub/a_00.png'])
def test_a_name_is_not_taken_by_other_images_faces(there, tmp_path):
    make(tmp_path / there)
    assert Outputs(tmp_path, exist='rename').plan(given('a')).name.name == 'a'


def test_overwriting_knows_the_faces_that_were_there(tmp_path):
    files = [tmp_path / file for file in ('cmp/sub/a_00_s.png', 'depth/sub/a_12_s.png', 'restored_faces/sub/a_01_s.png')]
    for path in (*files, tmp_path / 'cmp/sub/a_00.png', tmp_path / 'cmp/sub/a_01_s.jpg', tmp_path / 'cmp/a_00_s.png'):
        make(path)
    results = Outputs(tmp_path, suffix='s', exist='overwrite').plan(given('sub/a'))
    assert sorted(results.existing_faces) == files


def test_former_faces_go_and_those_of_now_stay(tmp_path):
    name = os.fsdecode(b'\xff')
    files = [tmp_path / f'cmp/{name}_{number:02d}.png' for number in range(3)]
    for path in files:
        make(path)
    record = ImageRecord(input='a', status='restored', faces=[FaceRecord(files={'cmp': 'cmp/\\udcff_01.png'})])
    results = replace(Outputs(tmp_path).results(given('a')), existing_faces=tuple(files))
    remove_stale_faces(results, record)
    assert [path.exists() for path in files] == [False, True, False]


def test_a_name_that_is_claimed_is_not_taken(tmp_path):
    claimed = {'a', 'a(1)'}
    results = Outputs(tmp_path, exist='rename').plan(given('a'), lambda results: results.name.name in claimed)
    assert results.name.name == 'a(2)'


@pytest.mark.parametrize('name', ['x' * 255, 'é' * 127, '写' * 85, 'x' * 251, os.fsdecode(b'\xff' * 255)])
def test_long_names_are_shortened_to_what_can_be_written(name, tmp_path):
    for exist in ('skip', 'rename'):
        results = Outputs(tmp_path, suffix='restored', exist=exist).plan(given(name, '.jpeg'))
        for path in (results.image, results.face('restored_faces', 123), results.face('turntable', 0)):
            path.parent.mkdir(exist_ok=True)
            with write_atomically(path) as part:
                part.write_bytes(b'whole')
            assert path.read_bytes() == b'whole'


def test_shortened_names_are_stable_and_stay_apart(tmp_path):
    one, other = 'x' * 250 + '1', 'x' * 250 + '2'
    first = Outputs(tmp_path).plan(given(one))
    assert first == Outputs(tmp_path).plan(given(one))
    assert first.image != Outputs(tmp_path).plan(given(other)).image
    assert first.name.name.startswith('x' * 150)


def test_names_of_usual_length_are_not_touched(tmp_path):
    assert Outputs(tmp_path).plan(given('x' * 200)).name.name == 'x' * 200


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'ext': 'gif'}, r'\.gif is not a kind of image that can be written \(known: \.png'),
        ({'suffix': 'a/b'}, '--suffix a/b: not a part of a file name'),
        ({'suffix': 'x' * 200}, '--suffix x+: not a part of a file name'),
        ({'suffix': 'a\0b'}, '--suffix .*: not a part of a file name'),
        ({'exist': 'ask'}, '--exist ask: skip, overwrite or rename'),
    ],
)
def test_what_makes_no_name_is_refused(options, message, tmp_path):
    with pytest.raises(FRExError, match=message):
        Outputs(tmp_path, **options)
