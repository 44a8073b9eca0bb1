"""Tests of `FaceRestorer`: photographs, batches, failures, and several threads."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from fake_detector import FakeDetector, detected, landmarks_at, smooth
from fake_restorer import FakeNetwork, fake_restorer
from PIL import Image as PillowImage

from frex import device
from frex.device import choose_precision
from frex.errors import FRExError
from frex.images import resize
from frex.restore import FaceRestorer, Selection
from frex.restore.detection.align import scale_of
from frex.restore.faces.batches import are_finite
from frex.restore.faces.helper_networks import HelperNetworks
from frex.restore.image_io.photo_file import from_array
from frex.tensors import to_images, to_tensor
from frex.weights.manifest import WeightFile
from frex_arch import ArcFace, FRExOutput
from frex_arch.arcface import to_arcface_input
from frex_arch.crop import MEAN_CROP

FACES = (detected(landmarks_at(90, 100, 100), 0.99), detected(landmarks_at(230, 110, 120, 20), 0.95))


pytestmark = pytest.mark.usefixtures('weights_folder')


def random_faces(count, size=64):
    return list(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


# --- Aligned faces


def test_a_batch_is_each_face_alone(checkpoint):
    restorer = FaceRestorer.from_pretrained(checkpoint, 'cpu')
    faces = random_faces(3)
    together = restorer.restore_faces(faces)
    for face, restoration in zip(faces, together, strict=True):
        assert np.abs(restoration.image.astype(int) - restorer.restore_aligned(face)).max() <= 1
        assert restoration.problem is None
        assert restoration.output is None


def test_crop_and_weights_reach_the_network(checkpoint):
    restorer = FaceRestorer.from_pretrained(checkpoint, 'cpu')
    (face,) = random_faces(1)
    crop = np.array([1.3, -0.2, -0.25])
    (restoration,) = restorer.restore_faces([face], [crop], fidelity_weight=0.4, structure_weight=0.7)
    with torch.no_grad():
        output = restorer.net(to_tensor(face)[None], torch.tensor(crop)[None].float(), fidelity=0.4, structure=0.7)
    assert np.array_equal(restoration.image, to_images(output.image)[0])
    np.testing.assert_allclose(restoration.camera, output.camera[0].numpy())
    assert not np.array_equal(restoration.image, restorer.restore_aligned(face))


def test_details_are_the_networks_whole_output(checkpoint):
    restorer = FaceRestorer.from_pretrained(checkpoint, 'cpu')
    first, second = restorer.restore_faces(random_faces(2), details=True)
    for restoration in (first, second):
        output = restoration.output
        assert output.image_3d.shape == (1, 3, 64, 64)
        assert output.alphas[0].shape[:2] == (1, 1)
        assert np.array_equal(to_images(output.image)[0], restoration.image)
    assert not torch.equal(first.output.ws, second.output.ws)


def test_codes_can_be_predicted_first_and_changed(checkpoint):
    """This is how the faces of films get steady codes."""
    restorer = FaceRestorer(FaceRestorer.from_pretrained(checkpoint, 'cpu').net, parts=HelperNetworks(detector=FakeDetector(*FACES)))
    restorer.batches.batch_size = 1
    faces = restorer.find_faces(from_array(smooth(200, 300)), force=True)
    code = restorer.encode_found(faces)
    expected = restorer.restore_found(faces)
    assert len(code.camera) == 2
    for found, plain in zip(restorer.restore_found(faces, code=code), expected, strict=True):
        assert np.array_equal(found.image, plain.image)
    swapped = restorer.restore_found(faces, code=code._replace(camera=code.camera.flip(0)))
    np.testing.assert_array_equal(swapped[0].camera, expected[1].camera)


def test_codes_of_more_faces_than_memory_holds(checkpoint, monkeypatch):
    restorer = FaceRestorer.from_pretrained(checkpoint, 'cpu')
    restorer.parts = HelperNetworks(detector=FakeDetector(*FACES))
    faces = restorer.find_faces(from_array(smooth(200, 300)), force=True) * 2
    expected, original, sizes = restorer.encode_found(faces), restorer.net.encode_3d, []

    def encode(lq, crop):
        sizes.append(len(lq))
        if len(lq) > limit:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')
        return original(lq, crop)

    limit = 1
    monkeypatch.setattr(restorer.net, 'encode_3d', encode)
    torch.testing.assert_close(restorer.encode_found(faces), expected, atol=1e-5, rtol=0)
    assert sizes == [4, 2, 1, 1, 1, 1]
    limit = 0
    with pytest.raises(FRExError, match='out of memory, even for one face alone'):
        restorer.encode_found(faces)


@pytest.mark.parametrize('weights', [{'fidelity_weight': 1.5}, {'structure_weight': -0.1}, {'fidelity_weight': float('nan')}])
def test_weights_outside_of_0_to_1_are_refused(weights):
    with pytest.raises(FRExError, match=r'must lie in 0\.\.1'):
        fake_restorer().restore_faces(random_faces(1), **weights)


def test_no_faces_are_no_work():
    assert fake_restorer().restore_faces([]) == []


def test_faces_go_in_batches():
    restorer = fake_restorer(face_batch=3)
    restorer.restore_faces(random_faces(7))
    assert [call[0] for call in restorer.net.calls] == [3, 3, 1]


def test_a_batch_that_memory_does_not_hold_is_halved():
    restorer = fake_restorer(most=2)
    faces = random_faces(7)
    restored = restorer.restore_faces(faces)
    assert [call[0] for call in restorer.net.calls] == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert all(np.array_equal(face, restoration.image) for face, restoration in zip(faces, restored, strict=True))
    # The lowered batch size is kept.
    restorer.restore_faces(faces[:3])
    assert [call[0] for call in restorer.net.calls][9:] == [1, 1, 1]


def test_a_face_that_memory_does_not_hold_alone_is_a_problem():
    restoration, _ = fake_restorer(most=0).restore_faces(random_faces(2))
    assert restoration.image is None
    assert 'out of memory' in restoration.problem


def test_other_failures_of_the_network_are_not_taken_for_memory():
    def fail(lq):
        raise RuntimeError('shapes do not match')

    with pytest.raises(RuntimeError, match='shapes'):
        fake_restorer(change=fail).restore_faces(random_faces(1))


def broken_where(condition):
    """Make the output of faces whose first pixel is red not finite, if `condition()` is true."""

    def change(lq):
        broken = (lq[:, 0, 0, 0] > 0.99) & (lq[:, 1, 0, 0] < -0.99)
        return lq.masked_fill(broken[:, None, None, None], float('nan')) if condition() else lq

    return change


def one_red(faces, place):
    faces[place][0, 0] = (0, 0, 255)
    return faces


def test_numbers_that_half_precision_does_not_hold_are_calculated_again():
    restorer = fake_restorer(precision='bf16', change=broken_where(lambda: torch.is_autocast_enabled('cpu')))
    faces = one_red(random_faces(4), 2)
    restored = restorer.restore_faces(faces, [np.array([1.0 + i, 0, 0]) for i in range(4)])
    assert all(np.array_equal(face, restoration.image) for face, restoration in zip(faces, restored, strict=True))
    assert [call[0] for call in restorer.net.calls] == [4, 1]
    # The retry uses the crop of that face.
    assert restorer.net.calls[1][1].tolist() == [[3, 0, 0]]


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_a_face_that_never_comes_out_finite_is_the_only_one_that_fails(precision):
    faces = one_red(random_faces(4), 1)
    restored = fake_restorer(precision=precision, change=broken_where(lambda: True)).restore_faces(faces)
    assert [restoration.problem for restoration in restored] == [None, "the network's output is not finite", None, None]
    assert restored[1].image is None
    assert restored[1].camera is None


def test_precision_is_chosen_by_the_device():
    assert choose_precision('auto', torch.device('cpu')) == 'fp32'
    assert choose_precision('bf16', torch.device('cpu')) == 'bf16'
    with pytest.raises(FRExError, match='--precision fp16: must be one of auto, fp32, bf16'):
        choose_precision('fp16', torch.device('cpu'))


@pytest.mark.parametrize('emulated', [False, True])
def test_a_cpu_that_emulates_bfloat16_is_told_once(emulated, monkeypatch, capsys):
    device._note_emulation.cache_clear()
    monkeypatch.setattr(device, 'has_bfloat16', lambda device: not emulated)
    for _ in range(2):
        choose_precision('bf16', torch.device('cpu'))
    assert capsys.readouterr().err.count('this CPU emulates it') == emulated


def test_half_precision_is_near_the_whole(checkpoint):
    (face,) = random_faces(1)
    full, half = (
        FaceRestorer.from_pretrained(checkpoint, 'cpu', precision=precision).restore_aligned(face) for precision in ('fp32', 'bf16')
    )
    assert 0 < np.abs(full.astype(int) - half).mean() < 4


# --- Photographs


def test_the_faces_and_nothing_else_are_restored():
    image = smooth(200, 320)
    restorer = fake_restorer(*FACES, change=lambda lq: -lq)
    result = restorer.restore(image)
    changed = np.abs(result.image.astype(int) - image).max(axis=2) > 2
    inside = np.zeros((200, 320), bool)
    for face in FACES:
        middle, side = face.landmarks.mean(axis=0), 100 if face.score > 0.97 else 120
        y, x = np.mgrid[:200, :320]
        inside |= np.hypot(x - middle[0], y - middle[1]) < 0.75 * side
    assert changed.any()
    assert not (changed & ~inside).any()
    for face, known in zip(result.faces, FACES, strict=True):
        assert np.array_equal(face.restored, 255 - face.aligned)
        np.testing.assert_allclose(face.landmarks, known.landmarks)
        assert face.problem is None
        assert face.yaw == pytest.approx(30, abs=1e-3)
        assert face.pitch == pytest.approx(0, abs=1e-3)
        assert face.camera.shape == (25,)
        assert face.identity_similarity is None


def test_the_networks_crop_is_that_of_the_landmarks():
    restorer = fake_restorer(*FACES)
    faces = restorer.restore(smooth(200, 320)).faces
    count, crop, *_ = restorer.net.calls[0]
    assert count == 2
    np.testing.assert_allclose(crop, [face.crop for face in faces], rtol=1e-6)
    # The landmarks are those of the template, so the crop is near that of the mean face.
    np.testing.assert_allclose(crop, [MEAN_CROP] * 2, atol=0.03)


@pytest.mark.parametrize('upscale', [1, 1.5, 2, 0.5])
def test_an_identity_leaves_the_photograph_as_it_was(upscale):
    image = smooth(201, 321)
    result, plain = fake_restorer(*FACES, size=256).restore(image, upscale), fake_restorer().restore(image, upscale)
    assert result.image.shape == (round(201 * upscale), round(321 * upscale), 3)
    assert np.abs(result.image.astype(int) - plain.image).max() <= 3
    assert len(result.faces) == 2
    assert plain.faces == ()


def test_small_restored_faces_are_enlarged_to_the_size_at_which_they_are_shown():
    """The faces of this photograph are some 100 and 120 pixels wide, and the network makes 64."""
    asked = []

    def upsampler(image, size):
        asked.append((image.shape, size))
        return np.full((*size, 3), 255, np.uint8)

    restorer = fake_restorer(*FACES)
    photo = from_array(smooth(200, 320))
    faces = restorer.find_faces(photo)
    restorations = restorer.restore_found(faces)
    pasted = restorer.paste(photo, faces, restorations, upscale=2, face_upsampler=upsampler)
    assert [shape for shape, _ in asked] == [(64, 64, 3)] * 2
    for (_, (width, height)), face in zip(asked, faces, strict=True):
        assert width == height == round(2 * 64 / scale_of(face.matrix))
        x, y = (2 * face.landmarks.mean(axis=0)).astype(int)
        assert (pasted.image[y, x] == 255).all()
    # Faces that are not smaller than shown stay as they are.
    asked.clear()
    restorer.paste(photo, faces, restorations, upscale=0.1, face_upsampler=upsampler)
    assert asked == []


def test_images_come_back_in_the_form_that_they_were_given():
    image = smooth(200, 320)
    grey, deep, alpha = image[:, :, 0].copy(), image.astype(np.uint16) * 257, np.dstack([image, image[:, :, 1]])
    restorer = fake_restorer(*FACES, change=lambda lq: -lq)
    for given in (image, grey, deep, alpha):
        result = restorer.restore(given)
        assert (result.image.shape, result.image.dtype) == (given.shape, given.dtype)
        assert not np.array_equal(result.image, given)
    assert np.array_equal(restorer.restore(alpha).image[:, :, 3], image[:, :, 1])


def test_paths_and_pillows_images_are_read(tmp_path):
    image = smooth(200, 320)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    restorer = fake_restorer(*FACES, change=lambda lq: -lq)
    expected = restorer.restore(image).image
    rgb = np.ascontiguousarray(image[:, :, ::-1])
    sources = (tmp_path / 'a.png', str(tmp_path / 'a.png'), PillowImage.fromarray(rgb))
    assert all(np.array_equal(restorer.restore(source).image, expected) for source in sources)
    grey = PillowImage.fromarray(image[:, :, 0].copy())
    assert restorer.restore(grey).image.shape == (200, 320)


@pytest.mark.parametrize('wrong', [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)])
def test_arrays_that_are_no_images_are_refused(wrong):
    with pytest.raises(FRExError, match='no image'):
        fake_restorer().restore(wrong)


def test_a_face_that_fails_stays_as_it_was_and_says_why():
    image = smooth(200, 320)
    restorer = fake_restorer(*FACES, change=lambda lq: torch.where(torch.arange(len(lq))[:, None, None, None] == 0, torch.nan, -lq))
    result = restorer.restore(image)
    assert [face.problem for face in result.faces] == ["the network's output is not finite", None]
    assert result.faces[0].restored is None
    assert np.array_equal(result.image[:, :130], image[:, :130])
    assert not np.array_equal(result.image, image)


def test_a_face_without_sense_never_meets_the_network():
    nowhere = FACES[0]._replace(landmarks=np.full((5, 2), 30.0))
    restorer = fake_restorer(nowhere, FACES[1])
    result = restorer.restore(smooth(200, 320))
    assert [call[0] for call in restorer.net.calls] == [1]
    assert ['one place' in (face.problem or '') for face in result.faces] == [True, False]
    assert result.faces[0].restored is None


def test_faces_can_be_selected():
    restorer = fake_restorer(*FACES)
    assert [face.score for face in restorer.restore(smooth(200, 320), selection=Selection(only='largest')).faces] == [0.95]


def test_threads_share_a_restorer(checkpoint):
    restorer = FaceRestorer.from_pretrained(checkpoint, 'cpu', detector=FakeDetector(*FACES))
    images = [smooth(200, 320, seed) for seed in range(6)]
    serial = [restorer.restore(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(restorer.restore, images))
    for alone, together in zip(serial, parallel, strict=True):
        assert np.array_equal(alone.image, together.image)


def test_a_call_leaves_nothing_behind():
    restorer = fake_restorer(*FACES)
    before = {name: id(value) for name, value in vars(restorer).items()}
    restorer.restore(smooth(200, 320), 2)
    assert {name: id(value) for name, value in vars(restorer).items()} == before


def test_without_a_detector_a_photograph_is_refused_with_the_command_that_helps():
    with pytest.raises(FRExError, match='frex weights download retinaface_resnet50'):
        FaceRestorer(FakeNetwork(), 'cpu').restore(smooth(64, 64))


# --- Arrays of other kinds


def test_an_aligned_face_may_be_of_any_depth_and_of_any_channels():
    (face,) = random_faces(1)
    restorer = fake_restorer()
    np.testing.assert_array_equal(restorer.restore_aligned(face), face)
    np.testing.assert_array_equal(restorer.restore_aligned(face.astype(np.uint16) * 257), face)
    np.testing.assert_array_equal(restorer.restore_aligned(np.dstack([face, face[:, :, 0]])), face)
    np.testing.assert_array_equal(restorer.restore_aligned(face[:, :, 0]), np.dstack([face[:, :, 0]] * 3))


@pytest.mark.parametrize('face', [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.uint16)])
def test_arrays_that_are_no_aligned_faces_are_refused(face):
    with pytest.raises(FRExError, match='no aligned face'):
        fake_restorer().restore_faces([face])


@pytest.mark.parametrize('form', [np.asarray, PillowImage.fromarray])
def test_a_black_and_white_image_keeps_its_channels_and_gets_no_colour(form):
    tint = torch.tensor([0.6, 0.2, 0.1]).view(1, 3, 1, 1)
    grey = np.dstack([smooth(200, 320)[:, :, 0]] * 3)
    restored = fake_restorer(*FACES, change=lambda lq: lq + tint).restore(form(grey)).image
    assert restored.shape == grey.shape
    assert np.ptp(restored.astype(int), axis=2).max() == 0
    assert np.abs(restored.astype(int) - grey).max() > 5


# --- Numbers that are none


@pytest.mark.parametrize('part', ['image', 'camera', 'depth', 'image_3d', 'alphas'])
def test_numbers_that_are_none_are_seen_wherever_they_are(part):
    sound = dict.fromkeys(FRExOutput._fields) | {'image': torch.ones(2, 3, 8, 8), 'camera': torch.ones(2, 25)}
    assert are_finite(FRExOutput(**sound)) == [True, True]
    broken = torch.ones(2, 3, 8, 8)
    broken[1, 2, 7, 7] = torch.nan
    assert are_finite(FRExOutput(**sound | {part: (broken,) if part == 'alphas' else broken})) == [True, False]


# --- Identity


def test_identity_is_told_where_arcface_is(weights_folder, manifest_of):
    manifest_of(*(WeightFile(key, f'{key}.pth', '', [], None, [], 'any', []) for key in ('arcface_resnet18', 'parsenet')))
    torch.manual_seed(0)
    arcface = ArcFace().eval()
    torch.save(arcface.state_dict(), weights_folder / 'arcface_resnet18.pth')
    same, other = random_faces(2, 128)
    mirrored = fake_restorer(size=128, change=lambda lq: lq.flip(3))
    assert fake_restorer(size=128).restore_faces([same])[0].identity_similarity == pytest.approx(1)
    with torch.no_grad():
        expected = [
            torch.cosine_similarity(*(arcface(to_arcface_input(to_tensor(view.copy())[None])) for view in (face, face[:, ::-1]))).item()
            for face in (same, other)
        ]
    measured = [restoration.identity_similarity for restoration in mirrored.restore_faces([same, other])]
    assert measured == pytest.approx(expected, abs=1e-5)
    assert max(measured) < 0.999


def test_a_damaged_arcface_is_not_passed_over(weights_folder, manifest_of):
    manifest_of(WeightFile('arcface_resnet18', 'arcface_resnet18.pth', '', [], 5, [], 'any', []))
    (weights_folder / 'arcface_resnet18.pth').write_bytes(b'half')
    restorer = fake_restorer()
    for _ in range(2):
        with pytest.raises(FRExError, match='is damaged'):
            restorer.restore_faces(random_faces(1))


# --- GFPGANer's interface


def test_enhance_gives_gfpganers_three_values():
    image = smooth(200, 320)
    restorer = fake_restorer(*FACES, change=lambda lq: -lq)
    cropped, restored, pasted = restorer.enhance(img=image, has_aligned=False, only_center_face=False, paste_back=True, weight=0.5)
    assert len(cropped) == len(restored) == 2
    assert np.array_equal(restored[0], 255 - cropped[0])
    assert np.array_equal(pasted, restorer.restore(image).image)
    assert restorer.net.calls[0][2] == 0.5


def test_enhance_of_one_face_without_pasting(monkeypatch):
    monkeypatch.setattr('frex.restore.faces.restorer.paste_faces', None)
    cropped, restored, pasted = fake_restorer(*FACES).enhance(smooth(200, 320), only_center_face=True, paste_back=False)
    assert (len(cropped), len(restored), pasted) == (1, 1, None)


def test_enhance_of_an_aligned_face():
    face = smooth(100, 100)
    restorer = fake_restorer()
    (cropped,), (restored,), pasted = restorer.enhance(face, has_aligned=True)
    assert pasted is None
    assert np.array_equal(cropped, resize(face, 64))
    assert np.array_equal(restored, restorer.restore_aligned(face))
    with pytest.raises(FRExError, match='is not square'):
        restorer.enhance(smooth(100, 120), has_aligned=True)


def test_enhance_warns_of_a_face_that_failed():
    image = smooth(200, 320)
    with pytest.warns(UserWarning, match='is not restored'):
        cropped, restored, pasted = fake_restorer(FACES[0], change=lambda lq: lq * torch.nan).enhance(image)
    assert cropped == restored == []
    assert np.array_equal(pasted, image)
