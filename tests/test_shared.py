"""Real faces, real labels and a real detector, from the folder that lies beside the checkout on machines that have it."""

import json
import math
import os
import re
import sys
from itertools import combinations
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
import torch
from fake_restorer import FakeNetwork
from nbclient import NotebookClient
from option_files import face_folders
from processes import ROOT

from frex.camera_labels.compare import compute_angle_errors
from frex.camera_labels.estimate import LandmarkFinder, estimate_camera
from frex.cli.main import main
from frex.cli.restore import main as inference
from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.data.labels import read_labels, view_angles_in_degrees
from frex.demo.portraits import read_portraits
from frex.images import read_image
from frex.restore import FaceRestorer
from frex.restore.detection.retinaface import FaceDetector
from frex.restore.faces.helper_networks import HelperNetworks
from frex.restore.faces.photo import find_faces
from frex.restore.image_io.photo_file import from_array
from frex.testsets.scan import FoundFace, compute_duplicate_features
from frex.testsets.select_faces import Limits, is_near_duplicate
from frex_arch.camera import FFHQ_FOCAL, mirror_camera, unpack_camera, view_angles
from frex_arch.crop import MEAN_CROP

pytestmark = pytest.mark.shared

SHARED = ROOT.parent / 'shared'


@pytest.fixture(scope='module')
def cameras():
    labels = read_labels(SHARED / 'data/eg3d512/dataset.json').cameras
    return {path.name: labels[path.name] for path in sorted((SHARED / 'data/eg3d512').glob('*.jpg'))}


def test_real_labels_are_cameras_as_this_project_understands_them(cameras):
    cam2world, intrinsics = unpack_camera(torch.from_numpy(np.stack(list(cameras.values()))))
    rotation = cam2world[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), torch.eye(3).expand_as(rotation), rtol=0, atol=1e-4)
    torch.testing.assert_close(cam2world[:, :3, 3].norm(dim=1), torch.full([len(cameras)], 2.7), rtol=0, atol=1e-3)
    torch.testing.assert_close(intrinsics[:, 0, 0], torch.full([len(cameras)], FFHQ_FOCAL), rtol=0, atol=1e-3)


def test_the_profile_is_the_one_that_is_turned(cameras):
    yaw, pitch, roll = view_angles(torch.from_numpy(np.stack(list(cameras.values()))))
    turned = {name: abs(math.degrees(angle)) for name, angle in zip(cameras, yaw.tolist(), strict=True)}
    assert max(turned, key=turned.get) == '11.jpg'
    assert turned['11.jpg'] > 40
    assert pitch.abs().max() < math.radians(20)
    assert roll.abs().max() < math.radians(12)


def test_real_faces_make_samples_with_their_labels():
    folder = SHARED / 'data/eg3d512'
    options = {'name': 'real', 'type': 'FaceDegradationDataset', 'dataroot_gt': str(folder), 'gt_size': 512, 'crop': [1, 0, 0]}
    dataset = FaceDegradationDataset(options | {'camera_labels': str(folder / 'dataset.json'), 'use_hflip': True})
    sample = dataset[0, 5]
    assert sample['lq'].shape == sample['gt'].shape == (3, 512, 512)
    assert 5 < 10 * math.log10(4 / (sample['lq'] - sample['gt']).square().mean().item()) < 40
    assert sample['camera'].shape == (25,)


def test_training_and_restoring_run_on_real_faces(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    faces = SHARED / 'data/ffhq512'
    changes = [*face_folders(faces), 'train:total_iter=2', 'val:val_freq=2', 'datasets:train:num_worker_per_gpu=0']
    assert main(['train', '-opt', 'options/train_frex_tiny.yml', *changes]) == 0
    model = tmp_path / 'experiments/train_frex_tiny/models/net_g_latest.pth'
    degraded = SHARED / 'data/lq512'
    assert inference(['-i', str(degraded), '-o', str(tmp_path / 'out'), '--model_path', str(model), '--aligned']) == 0
    restored = {path.name: read_image(path) for path in (tmp_path / 'out/restored_faces').iterdir()}
    assert sorted(restored) == [f'{path.stem}_00.png' for path in sorted(degraded.iterdir())]
    assert all(image.shape == (64, 64, 3) and image.std() > 1 for image in restored.values())


def test_the_demos_landmarks_are_those_that_the_detector_finds():
    from facexlib.detection import init_detection_model

    detector = init_detection_model('retinaface_mobile0.25', model_rootpath=str(SHARED / 'weights'), device='cpu')
    for _, image, landmarks in read_portraits():
        with torch.no_grad():
            faces = detector.detect_faces(image, 0.97)
        assert len(faces) == 1
        np.testing.assert_allclose(faces[0][5:].reshape(5, 2), landmarks, atol=0.2)


def test_estimated_cameras_are_near_eg3ds_own_labels(tmp_path, cameras):
    """The small detector is up to ten degrees wrong on a grimace; its usual error is a few."""
    out = tmp_path / 'out.json'
    weights = ['--weights', str(SHARED / 'weights'), '--device', 'cpu']
    assert main(['cameras', 'estimate', str(SHARED / 'data/eg3d512'), '-o', str(out), '--frame', 'eg3d', *weights]) == 0
    estimated = read_labels(out).cameras
    yaw, pitch, roll, rotation = np.abs([compute_angle_errors(camera, estimated[name]) for name, camera in cameras.items()]).T
    assert yaw.max() < 11
    assert np.median(yaw) < 3
    assert pitch.max() < 9
    assert np.median(pitch) < 4
    assert roll.max() < 4
    assert rotation.max() < 12
    assert np.median(rotation) < 5


def test_mirrored_faces_get_mirrored_cameras(tmp_path):
    faces = SHARED / 'data/eg3d512'
    finder = LandmarkFinder.from_weights(SHARED / 'weights', torch.device('cpu'), 0.5)
    for name in ('8.jpg', '11.jpg'):
        image = read_image(faces / name)
        camera, mirrored = (estimate_camera(finder.find(view), 'eg3d')[0] for view in (image, np.ascontiguousarray(image[:, ::-1])))
        assert compute_angle_errors(mirror_camera(torch.from_numpy(camera)[None])[0].numpy(), mirrored).max() < 0.1


def test_faces_in_ffhqs_alignment_get_cameras_and_crops(tmp_path):
    out = tmp_path / 'out.json'
    weights = ['--weights', str(SHARED / 'weights'), '--device', 'cpu', '--preview', str(tmp_path / 'drawn')]
    assert main(['cameras', 'estimate', str(SHARED / 'data/ffhq512'), '-o', str(out), *weights]) == 0
    labels = read_labels(out)
    names = sorted(path.name for path in (SHARED / 'data/ffhq512').iterdir())
    assert sorted(labels.cameras) == sorted(labels.crops) == names
    for name in names:
        np.testing.assert_allclose(labels.crops[name], MEAN_CROP, atol=0.12)
        yaw, pitch, roll = view_angles_in_degrees(labels.cameras[name])
        assert abs(yaw) < 35
        assert max(abs(pitch), abs(roll)) < 20
    # The girl of 00006 looks to the left of her image, the baby of 00000 to the right.
    assert view_angles_in_degrees(labels.cameras['00006.png'])[0] > 15
    assert view_angles_in_degrees(labels.cameras['00000.png'])[0] < -5


def test_every_face_of_a_photograph_is_detected():
    detector = FaceDetector.from_weights(SHARED / 'weights', key='retinaface_mobile0.25')
    image = read_image(SHARED / 'data/photos/solvay_29_faces.png')
    faces = detector.detect(image, 0.5)
    assert 26 <= len(faces) <= 31
    for face in faces:
        assert (face.landmarks > face.box[:2] - 5).all()
        assert (face.landmarks < face.box[2:] + 5).all()
    # A copy of half the size shows the same faces in the same places.
    smaller = FaceDetector(detector.net, detector.key, max(image.shape) // 2).detect(image, 0.5)
    distances = [min(np.linalg.norm(face.landmarks[2] - other.landmarks[2]) for other in faces) for face in smaller]
    assert len(smaller) >= 15
    assert np.median(distances) < 4


PHOTOS = {'one_person.jpg': 2, 'four_people_small.jpg': 4, 'solvay_29_faces.png': 29}
"""The one person is there twice: as a child and grown up."""


@pytest.fixture(scope='module')
def detector():
    return FaceDetector.from_weights(SHARED / 'weights', key='retinaface_mobile0.25')


@pytest.mark.parametrize(('name', 'count'), PHOTOS.items())
def test_a_network_that_changes_nothing_leaves_photographs_nearly_as_they_were(detector, name, count):
    image = read_image(SHARED / 'data/photos' / name)
    result = FaceRestorer(FakeNetwork(512), 'cpu', parts=HelperNetworks(weights=SHARED / 'weights', detector=detector)).restore(image)
    assert [face.problem for face in result.faces] == [None] * count
    # Only the finest texture gets lost on the way to 512 pixels and back, and nothing is shifted.
    changed = np.abs(result.image.astype(int) - image)
    assert changed.mean() < 2
    smooth, smoothed = cv2.GaussianBlur(image, (0, 0), 3).astype(int), cv2.GaussianBlur(result.image, (0, 0), 3)
    assert np.abs(smooth - smoothed).max() <= 8
    for face in result.faces:
        np.testing.assert_allclose(face.crop, MEAN_CROP, atol=0.15)


@pytest.mark.parametrize('turns', [1, 2, 3])
@pytest.mark.parametrize(('name', 'count'), PHOTOS.items())
def test_photographs_on_their_side_show_the_same_faces(detector, name, count, turns):
    image = read_image(SHARED / 'data/photos' / name)
    upright = find_faces(from_array(image), detector, 64)
    turned = find_faces(from_array(np.ascontiguousarray(np.rot90(image, turns))), detector, 64)
    assert len(turned) == len(upright) == count
    for one in turned:
        assert min(np.abs(one.aligned.astype(int) - other.aligned).mean() for other in upright) < 12


def test_real_faces_are_balanced_by_landmarks_as_by_labels(tmp_path):
    faces, records = SHARED / 'data/eg3d512', {}
    for pose in ('labels', 'landmarks'):
        command = ['balance', str(faces), '-n', '4', '-o', str(tmp_path / pose), '--pose', pose, '--frame', 'eg3d', '--device', 'cpu']
        assert main([*command, '--weights', str(SHARED / 'weights')]) == 0
        records[pose] = json.loads((tmp_path / pose / 'balance.json').read_text())
    # The profile is alone in its bin, so it is always taken.
    yaw = [records[pose]['images']['11.jpg']['yaw'] for pose in ('labels', 'landmarks')]
    assert abs(yaw[0]) > 40
    assert abs(yaw[0] - yaw[1]) < 11


def test_real_faces_are_collected_and_copies_of_them_are_not(tmp_path, capsys):
    photo = read_image(SHARED / 'data/photos/solvay_29_faces.png')
    (tmp_path / 'photos').mkdir()
    # As it might be found a second time: cut, larger, and compressed.
    copy = cv2.resize(photo[10:-6, 4:-12], None, fx=1.2, fy=1.2, interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / 'photos/copy.jpg'), copy, [cv2.IMWRITE_JPEG_QUALITY, 70])
    cv2.imwrite(str(tmp_path / 'photos/photo.png'), photo)
    command = [
        'collect-real',
        str(tmp_path / 'photos'),
        '-o',
        str(tmp_path / 'set'),
        '--weights',
        str(SHARED / 'weights'),
        '--device',
        'cpu',
    ]
    assert main([*command, '-n', '58']) == 1
    captured = capsys.readouterr()
    left = int(captured.err.split(' faces ')[1].split(' are left')[0])
    assert '58 faces found in 2 images' in captured.out
    # Few of the faces, 50 pixels wide, are found so far off in the copy that they are not known again.
    assert 29 <= left <= 31
    assert main([*command, '-n', str(left)]) == 0
    assert len(list((tmp_path / 'set/images').glob('*.png'))) == left


def test_different_people_are_no_near_duplicates(detector):
    folders = [SHARED / 'data' / name for name in ('ffhq512', 'eg3d512', 'lq512', 'photos')]
    images = [read_image(path) for folder in folders for path in sorted(folder.iterdir()) if path.suffix != '.json']
    faces = [face for image in images for face in find_faces(from_array(image), detector, 256)]
    found = [FoundFace('', [], 1.0, [], 1.0, **compute_duplicate_features(face.aligned)) for face in faces]
    assert len(found) > 50
    assert not [pair for pair in combinations(found, 2) if is_near_duplicate(*pair, Limits().hash_distance)]


def test_the_notebook_runs(tmp_path, monkeypatch):
    for name, value in (
        ('FREX_HOME', SHARED / 'weights'),
        ('FREX_OFFLINE', 1),
        ('PATH', f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'),
    ):
        monkeypatch.setenv(name, str(value))
    notebook = nbformat.read(ROOT / 'docs/first_ten_minutes.ipynb', 4)
    NotebookClient(notebook, timeout=300, resources={'metadata': {'path': str(tmp_path)}}).execute()
    printed = '\n'.join(output.text for cell in notebook.cells for output in cell.get('outputs', []) if output.output_type == 'stream')
    assert 'restored  1  1 face' in printed
    assert re.search(r'yaw -?\d+ degrees, pitch -?\d+ degrees: restored', printed)
    assert sum('image/png' in output.get('data', {}) for cell in notebook.cells for output in cell.get('outputs', [])) == 5
