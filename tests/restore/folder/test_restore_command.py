"""Tests of `inference_frex.py` and `frex restore` from end to end, with a tiny network and a detector that returns given faces."""

import re
import shutil

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from fake_detector import landmarks_at, smooth
from restore_command import FOLDERS, files, names, report, run, statuses
from tiny import tiny_frex, tiny_network_options, trained

from frex.cli.main import main as frex
from frex.heads import files as head_files
from frex.images import read_image, resize
from frex.restore import FaceRestorer
from frex.restore.faces.results import Restoration
from frex.restore.folder import stages
from frex.weights.network_file import save_checkpoint

pytestmark = pytest.mark.usefixtures('weights_folder')


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


def test_one_image_can_be_given(checkpoint, face_folder, tmp_path):
    options = ['--model_path', checkpoint, '--has_aligned', '--suffix', 'frex', '--ext', 'jpg']
    assert run('--input_path', face_folder / 'face1.png', '--output_path', tmp_path / 'out', *options) == 0
    assert names(tmp_path / 'out/restored_faces') == ['face1_00_frex.jpg']


def test_frex_restore_is_the_same_command(checkpoint, face_folder, tmp_path):
    arguments = ['restore', '-i', face_folder / 'face1.png', '-o', tmp_path / 'out', '--model_path', checkpoint, '--aligned']
    assert frex([str(argument) for argument in arguments]) == 0
    assert names(tmp_path / 'out/restored_faces') == ['face1_00.png']


def test_images_of_one_name_do_not_overwrite_each_other(checkpoint, face_folder, tmp_path):
    faces = tmp_path / 'faces'
    faces.mkdir()
    for name in ('a.png', 'b.png'):
        shutil.copy(face_folder / 'face0.png', faces / name)
    shutil.copy(face_folder / 'face2.jpg', faces / 'a.jpg')
    assert run('-i', faces, '-o', tmp_path / 'out', '--model_path', checkpoint, '--aligned') == 0
    assert names(tmp_path / 'out/restored_faces') == ['a.jpg_00.png', 'a.png_00.png', 'b_00.png']


def test_details_of_the_3d_prior_are_written_when_asked_for(aligned, tmp_path):
    assert aligned('--save_3d', '--save_weights_map') == 0
    assert {'depth', 'image_3d', 'turntable', 'codes', 'weights_map'} < set(names(tmp_path / 'out'))
    face = report(tmp_path / 'out')['pictures'][0]['faces'][0]
    assert face['files']['depth'] == 'depth/face0_00.png'
    assert face['files']['codes'] == 'codes/face0_00.safetensors'
    assert all((tmp_path / 'out' / file).is_file() for file in face['files'].values())


def save_network(path, net):
    save_checkpoint(path, {'params_ema': net.state_dict()}, {'network_g': {'type': 'FREx', **tiny_network_options()}})
    return path


def test_heads_are_written_as_films_and_meshes_when_asked_for(face_folder, weights_folder, tmp_path, monkeypatch):
    net = trained(tiny_frex())
    with torch.no_grad():
        # Dense enough to be opaque.
        net.eg3d.decoder.net[2].bias[0] = 30.0
    monkeypatch.setattr(head_files, 'FILM_VIEWS', 3)
    monkeypatch.setattr(stages, 'encode_files', lambda eg3d, head, formats: head_files.encode_files(eg3d, head, formats, grid=12))
    arguments = ['-i', face_folder, '-o', tmp_path / 'out', '--model_path', save_network(tmp_path / 'net.pth', net), '--device', 'cpu']
    assert run(*arguments, '--aligned', '--save_head', 'mp4', 'glb') == 0
    kinds = {'codes': b'', 'turntable': b'PNG', 'heads_mp4': b'ftyp', 'heads_glb': b'glTF'}
    for face in (image['faces'][0] for image in report(tmp_path / 'out')['pictures']):
        for kind, mark in kinds.items():
            assert mark in (tmp_path / 'out' / face['files'][kind]).read_bytes()[:16]
        assert 'heads_ply' not in face['files']


def test_heads_of_a_random_prior_are_refused(face_folder, tmp_path, weights_folder, capsys):
    network = save_network(tmp_path / 'random.pth', tiny_frex())
    assert run('-i', face_folder, '-o', tmp_path / 'out', '--model_path', network, '--aligned', '--save_head', 'mp4') == 1
    assert 'was never trained' in capsys.readouterr().err
    assert not (tmp_path / 'out' / 'restored_faces').exists()


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
    images = report(tmp_path / 'out')['pictures']
    assert sorted(image['status'] for image in images) == ['failed', *['restored'] * 4]
    (failed,) = (image for image in images if image['status'] == 'failed')
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
    (image,) = report(tmp_path / 'out')['pictures']
    assert {'16 bit became 8: a restored face has 8', 'alpha is left out of the restored face'} <= set(image['notes'])


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
    image = content['pictures'][0]
    assert (image['width'], image['height'], image['output']) == (300, 200, 'restored_imgs/a.png')
    assert set(image['seconds']) == {'read', 'detect', 'restore', 'write'}
    assert all(seconds >= 0 for seconds in image['seconds'].values())
    face, other = image['faces']
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


def test_faces_of_several_images_go_through_the_network_together(whole, monkeypatch):
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
    assert [len(image['faces']) for image in report(tmp_path / 'out')['pictures']] == [1, 1, 0]


def test_images_without_a_face_can_be_left_out(whole, tmp_path, capsys):
    assert whole('--no_face', 'skip') == 0
    assert names(tmp_path / 'out/restored_imgs') == ['a.png', 'below']
    assert re.search(r'no face +1', capsys.readouterr().out)
    assert report(tmp_path / 'out')['pictures'][2]['output'] is None
