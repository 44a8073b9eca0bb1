"""Tests of `inference_frex.py` and `frex restore` from end to end, with a tiny network and a detector that returns given faces."""

import io
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from processes import Command, torchrun
from test_photo import Known, detected, landmarks_at, smooth

from frex.cli.main import main as frex
from frex.cli.restore import main
from frex.images import read_image, resize, write_image
from frex.restore import FaceRestorer
from frex.restore.faces.results import Restoration
from frex.restore.folder import stages
from frex.restore.image_io import photo_file as picture_files

ROOT = Path(__file__).parent.parent
FOLDERS = ('cropped_faces', 'restored_faces', 'cmp')


def run(*arguments):
    return main([str(argument) for argument in arguments])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file() and path.name != '.report.json.lock')


def report(folder):
    return json.loads((folder / 'report.json').read_text())


def statuses(folder):
    return {Path(picture['input']).name: picture['status'] for picture in report(folder)['pictures']}


@pytest.fixture(autouse=True)
def _no_files(request, tmp_path, monkeypatch):
    """Make sure that no weight file is found."""
    monkeypatch.setattr('frex.weights.locate.search_paths', lambda folder=None: [tmp_path / 'no_weights'])


@pytest.fixture
def detector(monkeypatch):
    """Replace the detector by one that finds two faces in images of 200 x 300, and none in others."""
    known = Known(detected(landmarks_at(80, 90, 90), 0.99), detected(landmarks_at(220, 110, 110, 20), 0.95), shape=(200, 300))
    monkeypatch.setattr('frex.restore.faces.helper_networks.FaceDetector.from_weights', lambda *arguments: known)
    return known


@pytest.fixture
def photos(tmp_path):
    """A folder of three photographs: two with two faces, of which one lies in a subfolder, and one without a face."""
    folder = tmp_path / 'photos'
    write_image(folder / 'a.png', smooth(200, 300, seed=1))
    write_image(folder / 'below/b.jpg', smooth(200, 300, seed=2))
    write_image(folder / 'empty.png', smooth(100, 80, seed=3))
    return folder


@pytest.fixture
def whole(checkpoint, photos, tmp_path, detector):
    """Return a function that runs the command on the photographs."""
    return lambda *more: run('-i', photos, '-r', '-o', tmp_path / 'out', '--model_path', checkpoint, '--device', 'cpu', *more)


@pytest.fixture
def aligned(checkpoint, face_folder, tmp_path):
    """Return a function that runs the command on the aligned faces."""
    return lambda *more: run('-i', face_folder, '-o', tmp_path / 'out', '--model_path', checkpoint, '--aligned', '--device', 'cpu', *more)


# --- Aligned faces


def test_a_folder_is_restored_into_gfpgans_folders(aligned, checkpoint, face_folder, tmp_path, capsys):
    assert aligned() == 0
    out = tmp_path / 'out'
    expected = [f'face{number}_00.png' for number in range(5)]
    assert [names(out / folder) for folder in FOLDERS] == [expected] * 3
    original = resize(read_image(face_folder / 'face2.jpg'), 64)
    restored = FaceRestorer.from_pretrained(checkpoint, 'cpu').restore_aligned(original)
    # Faces restored in a batch equal those restored alone, up to rounding.
    assert np.abs(read_image(out / 'restored_faces/face2_00.png').astype(int) - restored).max() <= 1
    assert np.array_equal(read_image(out / 'cropped_faces/face2_00.png'), original)
    assert np.array_equal(read_image(out / 'cmp/face2_00.png')[:, :64], original)
    assert re.search(r'^restored +5 +5 faces$', capsys.readouterr().out, re.MULTILINE)


def test_one_picture_can_be_given(checkpoint, face_folder, tmp_path):
    options = ['--model_path', checkpoint, '--has_aligned', '--suffix', 'frex', '--ext', 'jpg']
    assert run('--input_path', face_folder / 'face1.png', '--output_path', tmp_path / 'out', *options) == 0
    assert names(tmp_path / 'out/restored_faces') == ['face1_00_frex.jpg']


def test_frex_restore_is_the_same_command(checkpoint, face_folder, tmp_path):
    arguments = ['restore', '-i', face_folder / 'face1.png', '-o', tmp_path / 'out', '--model_path', checkpoint, '--aligned']
    assert frex([str(argument) for argument in arguments]) == 0
    assert names(tmp_path / 'out/restored_faces') == ['face1_00.png']


def test_pictures_of_one_name_do_not_overwrite_each_other(checkpoint, face_folder, tmp_path):
    faces = tmp_path / 'faces'
    faces.mkdir()
    for name in ('a.png', 'b.png'):
        shutil.copy(face_folder / 'face0.png', faces / name)
    shutil.copy(face_folder / 'face2.jpg', faces / 'a.jpg')
    assert run('-i', faces, '-o', tmp_path / 'out', '--model_path', checkpoint, '--aligned') == 0
    assert names(tmp_path / 'out/restored_faces') == ['a.jpg_00.png', 'a.png_00.png', 'b_00.png']


def test_details_of_the_3d_prior_are_written_when_asked_for(aligned, tmp_path):
    assert aligned('--save_3d', '--save_weights_map') == 0
    assert {'depth', 'image_3d', 'turntable', 'weights_map'} < set(names(tmp_path / 'out'))
    face = report(tmp_path / 'out')['pictures'][0]['faces'][0]
    assert face['files']['depth'] == 'depth/face0_00.png'
    assert all((tmp_path / 'out' / file).is_file() for file in face['files'].values())


def test_a_face_whose_details_cannot_be_made_is_the_only_one_that_fails(aligned, tmp_path, monkeypatch):
    made, make = [], stages.render_structure

    def render_structure(*given):
        made.append(given)
        # The second attempt at the first face succeeds; both attempts at the second face fail.
        if len(made) in (1, 3, 4):
            raise RuntimeError('CUDA error: out of memory')
        return make(*given)

    monkeypatch.setattr(stages, 'render_structure', render_structure)
    assert aligned('--save_3d', '--batch_size', '2') == 1
    pictures = report(tmp_path / 'out')['pictures']
    assert sorted(picture['status'] for picture in pictures) == ['failed', *['restored'] * 4]
    (failed,) = (picture for picture in pictures if picture['status'] == 'failed')
    assert failed['reason'] == 'its further images could not be made (CUDA error: out of memory)'


def test_a_flag_without_effect_is_told(aligned, capsys):
    assert aligned('-s', '2') == 0
    assert '--upscale does nothing with --aligned' in capsys.readouterr().err


def test_what_an_aligned_face_comes_back_without_is_told(checkpoint, tmp_path):
    deep = np.random.default_rng(0).integers(0, 1 << 16, (64, 64, 4), dtype=np.uint16)
    (tmp_path / 'faces').mkdir()
    cv2.imwrite(str(tmp_path / 'faces/deep.png'), deep)
    arguments = ['-i', tmp_path / 'faces', '-o', tmp_path / 'out', '--model_path', checkpoint, '--aligned', '--device', 'cpu']
    assert run(*arguments) == 0
    (picture,) = report(tmp_path / 'out')['pictures']
    assert {'16 bit became 8: a restored face has 8', 'alpha is left out of the restored face'} <= set(picture['notes'])


def test_an_aligned_face_keeps_what_its_file_says(checkpoint, tmp_path):
    exif = PIL.Image.Exif()
    exif[0x010F] = 'Maker'
    PIL.Image.fromarray(smooth(64, 64)).save(tmp_path / 'a.jpg', exif=exif, dpi=(300, 300), xmp=b'<x:xmpmeta/>')
    assert run('-i', tmp_path / 'a.jpg', '-o', tmp_path / 'out', '--model_path', checkpoint, '--aligned', '--device', 'cpu') == 0
    with PIL.Image.open(tmp_path / 'out' / 'restored_faces' / 'a_00.png') as image:
        assert image.getexif()[0x010F] == 'Maker'
        assert image.info['xmp'] == b'<x:xmpmeta/>'
        assert image.info['dpi'] == pytest.approx((300, 300), abs=0.02)


# --- Photographs


def test_photographs_are_restored_and_the_tree_is_mirrored(whole, photos, tmp_path, capsys):
    assert whole('--batch_size', '4', '-s', '1.5') == 0
    out = tmp_path / 'out'
    assert [path for path in files(out) if path.startswith('restored_')] == [
        'restored_faces/a_00.png',
        'restored_faces/a_01.png',
        'restored_faces/below/b_00.png',
        'restored_faces/below/b_01.png',
        'restored_imgs/a.png',
        'restored_imgs/below/b.jpg',
        'restored_imgs/empty.png',
    ]
    restored, original = read_image(out / 'restored_imgs/a.png'), read_image(photos / 'a.png')
    assert restored.shape == (300, 450, 3)
    # The middle of the first face has changed, the lower right corner has not.
    difference = np.abs(resize(restored[90:180, 75:165], 60).astype(int) - original[60:120, 50:110])
    assert difference.mean() > 20
    assert np.abs(resize(restored[240:300, 390:450], 40).astype(int) - original[160:200, 260:300]).max() <= 3
    table = capsys.readouterr().out
    assert re.search(r'^restored +2 +4 faces\nno face +1\nskipped +0\nfailed +0\n', table)
    assert f'no face: {photos / "empty.png"}\n' in table


def test_the_report_tells_of_each_face(whole, tmp_path):
    assert whole() == 0
    content = report(tmp_path / 'out')
    assert statuses(tmp_path / 'out') == {'a.png': 'restored', 'b.jpg': 'restored', 'empty.png': 'no face'}
    picture = content['pictures'][0]
    assert (picture['width'], picture['height'], picture['output']) == (300, 200, 'restored_imgs/a.png')
    assert set(picture['seconds']) == {'read', 'detect', 'restore', 'write'}
    assert all(seconds >= 0 for seconds in picture['seconds'].values())
    face, other = picture['faces']
    assert face['score'] == 0.99
    assert face['size'] == pytest.approx(90, rel=1e-3)
    assert other['size'] == pytest.approx(110, rel=1e-3)
    np.testing.assert_allclose(face['landmarks'], landmarks_at(80, 90, 90), atol=0.006)
    assert -90 < face['yaw'] < 90
    assert -90 < face['pitch'] < 90
    # ArcFace's file is missing.
    assert face['identity_similarity'] is None
    assert face['files']['restored_faces'] == 'restored_faces/a_00.png'
    (settings,) = (one['settings'] for one in content['runs'].values())
    assert settings['fidelity_weight'] == 1.0
    assert settings['exist'] == 'skip'


def test_faces_of_several_pictures_go_through_the_network_together(whole, monkeypatch):
    sizes = []
    original = FaceRestorer.restore_found
    monkeypatch.setattr(
        FaceRestorer, 'restore_found', lambda self, faces, *more, **named: sizes.append(len(faces)) or original(self, faces, *more, **named)
    )
    assert whole('--batch_size', '4') == 0
    assert sizes == [4]


def test_weights_reach_the_network(whole, monkeypatch):
    asked = []

    def restore(self, faces, fidelity_weight, structure_weight, details):
        asked.append((fidelity_weight, structure_weight, details))
        return [Restoration(image=np.zeros((64, 64, 3), np.uint8)) for _ in faces]

    monkeypatch.setattr(FaceRestorer, 'restore_found', restore)
    assert whole('-w', '0.25', '--structure_weight', '0.75') == 0
    assert set(asked) == {(0.25, 0.75, False)}


def test_only_the_face_in_the_middle(whole, tmp_path):
    assert whole('--only_center_face', '--ext', 'webp') == 0
    assert names(tmp_path / 'out/restored_imgs') == ['a.webp', 'below', 'empty.webp']
    assert [len(picture['faces']) for picture in report(tmp_path / 'out')['pictures']] == [1, 1, 0]


def test_pictures_without_a_face_can_be_left_out(whole, tmp_path, capsys):
    assert whole('--no_face', 'skip') == 0
    assert names(tmp_path / 'out/restored_imgs') == ['a.png', 'below']
    assert re.search(r'no face +1', capsys.readouterr().out)
    assert report(tmp_path / 'out')['pictures'][2]['output'] is None


# --- Faults


def test_one_bad_file_is_named_and_the_rest_goes_on(whole, photos, tmp_path, capsys):
    (photos / 'broken.png').write_bytes((photos / 'a.png').read_bytes()[:3000])
    (photos / 'none.jpg').write_bytes(b'')
    assert whole() == 1
    printed = capsys.readouterr().out
    assert re.search(r'failed +2', printed)
    assert f'failed: {photos / "broken.png"}: ' in printed
    assert f'failed: {photos / "none.jpg"}: the file is empty' in printed
    assert names(tmp_path / 'out/restored_imgs') == ['a.png', 'below', 'empty.png']
    assert statuses(tmp_path / 'out')['broken.png'] == 'failed'


def test_a_face_that_fails_makes_no_picture(whole, photos, tmp_path, monkeypatch, capsys):
    original = FaceRestorer.restore_found

    def restore(self, faces, *more, **named):
        restored = original(self, faces, *more, **named)
        return [Restoration(problem='not finite') if face.score == 0.95 else one for face, one in zip(faces, restored, strict=True)]

    monkeypatch.setattr(FaceRestorer, 'restore_found', restore)
    assert whole() == 1
    assert [path for path in files(tmp_path / 'out') if path.startswith('restored_')] == [
        'restored_faces/a_00.png',
        'restored_faces/below/b_00.png',
        'restored_imgs/empty.png',
    ]
    assert f'failed: {photos / "a.png"}: 1 of 2 faces not restored: not finite' in capsys.readouterr().out
    # It is not skipped in the next run either.
    monkeypatch.setattr(FaceRestorer, 'restore_found', original)
    assert whole() == 0
    assert names(tmp_path / 'out/restored_imgs') == ['a.png', 'below', 'empty.png']


def test_landmarks_that_fit_no_face_leave_the_picture_its_others(whole, detector, photos, tmp_path, capsys):
    first, second = detector.faces
    detector.faces = (first, second._replace(landmarks=np.full((5, 2), 100.0)))
    assert whole() == 0
    assert f'left: {photos / "a.png"}: 1 of 2 faces as they were: the five landmarks lie in one place' in capsys.readouterr().out
    assert not (tmp_path / 'out/restored_faces/a_01.png').exists()
    detector.faces = detector.faces[1:]
    assert whole('--exist', 'overwrite') == 1
    assert statuses(tmp_path / 'out')['a.png'] == 'failed'


def test_a_network_that_breaks_is_told_for_each_picture(whole, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(FaceRestorer, 'restore_found', lambda *arguments, **named: (_ for _ in ()).throw(RuntimeError('no\nluck')))
    assert whole() == 1
    assert re.search(r'a.png: RuntimeError: no\\nluck\n', capsys.readouterr().out)
    assert statuses(tmp_path / 'out') == {'a.png': 'failed', 'b.jpg': 'failed', 'empty.png': 'no face'}


def test_a_full_disk_stops_the_run_and_leaves_no_half_pictures(aligned, tmp_path, monkeypatch, capsys):
    replace, written = os.replace, []

    def fill_up(part, path):
        written.append(path)
        if path.name != 'report.json' and len(written) > 3:
            raise OSError(28, 'No space left on device')
        replace(part, path)

    monkeypatch.setattr('frex.utils.files.os.replace', fill_up)
    assert aligned('--batch_size', '1') == 1
    printed = capsys.readouterr()
    assert 'stopped before the end: nothing more can be written (ENOSPC)' in printed.err
    assert 'No space left on device' in printed.out
    assert len([path for path in files(tmp_path / 'out') if path.endswith('.png')]) == 3
    assert not list((tmp_path / 'out').rglob('*.part'))
    # When there is space again, the same command finishes the work.
    monkeypatch.setattr('frex.utils.files.os.replace', replace)
    assert aligned() == 0
    assert len(names(tmp_path / 'out/restored_faces')) == 5


@pytest.mark.parametrize(('place', 'message'), [('out', 'cannot write to'), ('out/restored_faces', 'is in the way')])
def test_an_output_that_cannot_be_is_told_before_the_network_is_loaded(aligned, tmp_path, place, message, monkeypatch, capsys):
    monkeypatch.setattr(FaceRestorer, 'from_pretrained', lambda *arguments: pytest.fail('the network was loaded'))
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text('a file')
    assert aligned() == 1
    printed = capsys.readouterr().err
    assert re.fullmatch(rf'inference_frex.py: error: --output: .*{message}.*\n', printed)


def test_a_foreign_report_is_not_written_over(aligned, tmp_path, capsys):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/report.json').write_text('{"mine": 1}')
    assert aligned() == 1
    assert 'not a report of this program' in capsys.readouterr().err
    assert files(tmp_path / 'out') == ['report.json']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'-i': '/no/folder'}, '--input: no file, folder or pattern /no/folder'),
        ({'--model_path': '/no/net.pth'}, '/no/net.pth: no such file'),
        ({'--device': 'cuda:99'}, '--device cuda:99: not usable here'),
        ({'--device': 'abacus'}, '--device abacus: not usable here'),
        ({'--ext': 'xyz'}, '.xyz'),
        ({'--suffix': 'a/b'}, '--suffix a/b: not a part of a file name'),
    ],
)
def test_bad_input_is_one_line_and_status_1(checkpoint, face_folder, tmp_path, capsys, changes, message):
    arguments = {'-i': face_folder, '-o': tmp_path / 'out', '--model_path': checkpoint} | changes
    assert run('--aligned', *(item for pair in arguments.items() for item in pair)) == 1
    printed = capsys.readouterr().err.strip()
    assert printed.startswith(f'inference_frex.py: error: {message}')
    assert '\n' not in printed
    assert not (tmp_path / 'out').exists()


def test_photographs_need_a_detector_and_say_how_to_get_it(checkpoint, photos, tmp_path, capsys):
    assert run('-i', photos, '-o', tmp_path / 'out', '--model_path', checkpoint) == 1
    assert 'frex weights download retinaface_resnet50' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


# --- Flags


@pytest.mark.parametrize(
    ('slip', 'hint'),
    [
        (['-only_center_face'], '-only_center_face: write it with two dashes, --only_center_face'),
        (['-only_centre_face'], '-only_centre_face: did you mean --only_center_face?'),
        (['-only_center'], 'ambiguous option: -only_center could match -o, -only_center_face'),
        (['-aligned'], '--aligned'),
        (['-has_aligned'], '--has_aligned'),
        (['-suffix', 'x'], '--suffix'),
        (['-suffix=x'], '--suffix'),
        (['-upscale', '2'], '--upscale'),
        (['-ext', 'png'], '--ext'),
        (['-input_path', 'x'], '--input_path'),
        (['-fidelity_weight', '0.5'], '--fidelity_weight'),
        (['--only_center'], "unrecognized arguments: --only_center (did you mean '--only_center_face'?)"),
        (['--save_3D'], "unrecognized arguments: --save_3D (did you mean '--save_3d'?)"),
        (['--fidelity=0.5'], "unrecognized arguments: --fidelity=0.5 (did you mean '--fidelity_weight'?)"),
        (['--qqq'], 'unrecognized arguments: --qqq\n'),
        (['--face_upsample'], '--face_upsample: FREx runs no other network; enlarge the results with it afterwards'),
        (['--draw_box'], '--draw_box: FREx draws no boxes; report.json has those of all faces'),
        (['--bg_tile', '400'], '--bg_tile: FREx runs no other network over the background'),
        (['-v', '1.3'], '-v: FREx has no versions of networks; give a checkpoint by --model_path'),
        (['--weight', '0.5'], "--weight: GFPGAN's weight is --fidelity_weight here"),
        (['-w', '2'], '2 must be 0 to 1'),
        (['-s', '0'], '0 must be 0.01 to 64'),
        (['-s', 'nan'], 'nan must be'),
        (['--batch_size', '0'], "'0' is not a whole number of at least 1"),
        (['--det_threshold', 'x'], "'x' is not a number"),
        (['--detection_model', 'dlib'], 'invalid choice'),
        (['--bg_upsampler', 'realesrgan'], 'FREx runs no other network'),
    ],
)
def test_a_slip_is_refused_with_a_hint_and_nothing_is_written(checkpoint, face_folder, tmp_path, monkeypatch, capsys, slip, hint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run('-i', face_folder, '-o', 'out', '--model_path', checkpoint, '--aligned', *slip)
    assert stopped.value.code == 2
    assert hint in capsys.readouterr().err
    assert names(tmp_path) == []


def test_frex_restore_hints_at_its_own_flags(checkpoint, face_folder, capsys):
    with pytest.raises(SystemExit):
        frex(['restore', '-i', str(face_folder), '--model_path', str(checkpoint), '--fidelty_weight', '1'])
    assert "unrecognized arguments: --fidelty_weight 1 (did you mean '--fidelity_weight'?)" in capsys.readouterr().err


def test_values_may_stand_next_to_short_flags(checkpoint, face_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        run(
            '-i',
            face_folder / 'face0.png',
            '-oout',
            '-w0.5',
            '-s2',
            '-r',
            '--bg_upsampler',
            'None',
            '--model_path',
            checkpoint,
            '--aligned',
        )
        == 0
    )
    assert names(tmp_path / 'out/restored_faces') == ['face0_00.png']


# --- Results that are there


def test_results_are_not_overwritten_unless_asked(whole, tmp_path, capsys):
    assert whole() == 0
    kept, missing = tmp_path / 'out/restored_imgs/a.png', tmp_path / 'out/restored_imgs/below/b.jpg'
    kept.write_bytes(b'mine')
    missing.unlink()
    capsys.readouterr()
    assert whole() == 0
    assert kept.read_bytes() == b'mine'
    assert missing.exists()
    assert re.search(r'^restored +1 +2 faces\nno face +0\nskipped +2 +results are there', capsys.readouterr().out)
    # The report still has all images.
    assert statuses(tmp_path / 'out') == {'a.png': 'restored', 'b.jpg': 'restored', 'empty.png': 'no face'}
    assert whole('--exist', 'overwrite') == 0
    assert kept.read_bytes() != b'mine'


def test_results_can_be_renamed(whole, tmp_path):
    assert whole() == 0
    before = {file: (tmp_path / 'out' / file).read_bytes() for file in files(tmp_path / 'out') if file != 'report.json'}
    assert whole('--exist', 'rename') == 0
    after = files(tmp_path / 'out')
    assert len(after) == 2 * len(before) + 1
    assert 'restored_faces/below/b(1)_01.png' in after
    assert all((tmp_path / 'out' / file).read_bytes() == content for file, content in before.items())


def test_a_result_of_the_same_name_is_never_taken_for_ones_own(checkpoint, face_folder, tmp_path, capsys):
    out = tmp_path / 'out'
    for folder, face in (('d1', 'face0.png'), ('d2', 'face1.png')):
        (tmp_path / folder).mkdir()
        shutil.copy(face_folder / face, tmp_path / folder / 'a.png')
    assert main(command(checkpoint, tmp_path / 'd1', out)) == 0
    before = (out / 'restored_faces/a_00.png').read_bytes()
    assert main(command(checkpoint, tmp_path / 'd2', out)) == 1
    assert f'is the result of {tmp_path / "d1/a.png"}; give another --output' in capsys.readouterr().out
    assert (out / 'restored_faces/a_00.png').read_bytes() == before
    assert main(command(checkpoint, tmp_path / 'd2', out, '--exist', 'rename')) == 0
    assert names(out / 'restored_faces') == ['a(1)_00.png', 'a_00.png']


def test_skipped_results_of_other_settings_are_told(aligned, capsys):
    assert [aligned('-w', '0.5'), aligned(), aligned('-w', '0.5')] == [0, 0, 0]
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith('skipped: ')]
    assert told == ['skipped: 5 were made with other settings (fidelity_weight 0.5)']


def test_overwriting_leaves_no_faces_of_an_earlier_run(whole, detector, tmp_path):
    assert whole('--save_3d') == 0
    detector.faces = detector.faces[:1]
    assert whole('--exist', 'overwrite') == 0
    assert [path for path in files(tmp_path / 'out') if path.startswith(('cmp', 'depth'))] == ['cmp/a_00.png', 'cmp/below/b_00.png']


def test_a_name_that_is_no_text_goes_through(checkpoint, face_folder, tmp_path):
    picture = tmp_path / os.fsdecode(b'f\xe9.png')
    shutil.copy(face_folder / 'face0.png', picture)
    out = tmp_path / os.fsdecode(b'o\xe9')
    # The streams raise on characters that they cannot encode, as those of a pipe may.
    done = Command(main, *command(checkpoint, picture, out, '--suffix', os.fsdecode(b'\xe8')), folder=tmp_path, PYTHONIOENCODING='utf-8')
    assert done.wait() == 0, done.stderr
    assert 'results in ' in done.stdout
    assert '\\udce9' in done.stdout
    (one,) = report(out)['runs'].values()
    assert one['settings']['input'] == [f'{tmp_path}/f\\udce9.png']
    assert one['settings']['suffix'] == '\\udce8'


def test_a_folder_that_cannot_be_listed_is_a_failure_beside_the_rest(whole, photos, tmp_path, monkeypatch, capsys):
    listed = os.scandir

    def scandir(path):
        if str(path).endswith('below'):
            raise PermissionError(13, 'Permission denied', str(path))
        return listed(path)

    monkeypatch.setattr(os, 'scandir', scandir)
    assert whole() == 1
    assert f'failed: {photos / "below"}: the folder cannot be listed (Permission denied)' in capsys.readouterr().out
    assert statuses(tmp_path / 'out') == {'a.png': 'restored', 'below': 'failed', 'empty.png': 'no face'}


def test_results_inside_of_the_input_folder_are_no_input(checkpoint, photos, detector, capsys):
    arguments = ('-i', photos, '-r', '-o', photos, '--model_path', checkpoint, '--exist', 'overwrite')
    assert [run(*arguments), run(*arguments)] == [0, 0]
    assert len(report(photos)['pictures']) == 3


# --- Other processes


def command(checkpoint, faces, out, *more):
    return ['-i', str(faces), '-o', str(out), '--model_path', str(checkpoint), '--aligned', '--device', 'cpu', *more]


@pytest.fixture
def many(face_folder, tmp_path):
    """A folder of forty aligned faces."""
    folder = tmp_path / 'many'
    folder.mkdir()
    for number in range(40):
        shutil.copy(face_folder / 'face0.png', folder / f'{number:02d}.png')
    return folder


def slowly(arguments):
    """Run the command so that it writes half of each file, and the other half a while later."""

    def encode(file, *arguments):
        whole = io.BytesIO()
        original(whole, *arguments)
        content = whole.getvalue()
        file.write(content[: len(content) // 2])
        file.flush()
        time.sleep(0.05)
        file.write(content[len(content) // 2 :])

    original, picture_files.encode = picture_files.encode, encode
    return main(arguments)


def started(checkpoint, many, out):
    """Start a slow run, and return it when it has restored its first face."""
    process = Command(slowly, *command(checkpoint, many, out, '--batch_size', '2'), folder=out.parent)
    deadline = time.monotonic() + 60
    while process.running and not list((out / 'restored_faces').glob('*_00.png')):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def is_whole(path):
    return path.read_bytes().endswith(b'IEND\xaeB`\x82')


def test_a_killed_run_leaves_whole_pictures_and_goes_on(checkpoint, many, tmp_path):
    out = tmp_path / 'out'
    process = started(checkpoint, many, out)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = list(out.rglob('*.png'))
    assert list(out.glob('.run-*.jsonl'))
    assert 0 < len(list((out / 'restored_faces').glob('*.png'))) < 40
    assert all(map(is_whole, done))
    before = {path: path.stat().st_mtime_ns for path in (out / 'restored_faces').glob('*.png')}
    assert main(command(checkpoint, many, out)) == 0
    assert len(list((out / 'restored_faces').glob('*.png'))) == 40
    assert all(path.stat().st_mtime_ns == moment for path, moment in before.items())
    # The report has what the killed run had done, and none of its files are left.
    assert len(report(out)['pictures']) == 40
    assert set(names(out)) == {*FOLDERS, 'report.json', '.report.json.lock'}
    assert not list(out.rglob('*.part'))


def test_a_stopped_run_ends_in_good_order_and_goes_on(checkpoint, many, tmp_path):
    out = tmp_path / 'out'
    process = started(checkpoint, many, out)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert 'stopping: what is being written is finished' in process.stderr
    assert 'stopped before the end' in process.stderr
    assert 'Traceback' not in process.stderr
    done = names(out / 'restored_faces')
    assert 0 < len(done) < 40
    assert all(map(is_whole, out.rglob('*.png')))
    assert not list(out.rglob('*.part'))
    assert [f'{Path(picture["input"]).stem}_00.png' for picture in report(out)['pictures']] == done
    assert re.search(rf'^restored +{len(done)} ', process.stdout)
    assert main(command(checkpoint, many, out)) == 0
    assert set(statuses(out).values()) == {'restored'}
    assert len(report(out)['pictures']) == 40


def test_two_runs_into_one_folder_do_no_harm(checkpoint, many, tmp_path):
    out = tmp_path / 'out'
    process = started(checkpoint, many, out)
    assert main(command(checkpoint, many, out)) == 0
    assert process.wait() == 0, process.stderr
    assert len(names(out / 'restored_faces')) == 40
    assert all(map(is_whole, out.rglob('*.png')))
    assert not list(out.rglob('*.part'))
    assert set(statuses(out).values()) == {'restored'}


def test_torchrun_shares_the_pictures_and_tells_once(checkpoint, many, tmp_path):
    (many / 'broken.png').write_bytes(b'no image')
    out = tmp_path / 'out'
    done = torchrun(ROOT / 'inference_frex.py', *command(checkpoint, many, out), folder=tmp_path)
    assert done.wait() != 0
    assert len(re.findall(r'^restored +40 +40 faces$', done.stdout, re.MULTILINE)) == 1
    assert len(re.findall('^failed: .*broken.png', done.stdout, re.MULTILINE)) == 1
    assert len(names(out / 'restored_faces')) == 40
    content = report(out)
    (one,) = content['runs'].values()
    assert (one['processes'], one['finished']) == (2, [0, 1])
    assert one['pictures'] == {'restored': 40, 'no face': 0, 'skipped': 0, 'failed': 1}
    assert [Path(picture['input']).name for picture in content['pictures']] == [
        *(f'{number:02d}.png' for number in range(40)),
        'broken.png',
    ]
