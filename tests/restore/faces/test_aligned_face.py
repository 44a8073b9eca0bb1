"""Tests of restoring one aligned face."""

import cv2
import numpy as np
import pytest
import torch
from restore_command import names

from frex.device import choose_device
from frex.errors import FRExError
from frex.images import write_image
from frex.restore import FaceRestorer
from frex.restore.detection.align import TEMPLATE_512, align_face
from frex.tensors import to_images, to_tensor


@pytest.fixture(scope='module')
def restorer(checkpoint):
    return FaceRestorer.from_pretrained(checkpoint, 'cpu')


def test_images_go_to_the_network_and_back_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    tensor = to_tensor(image)[None]
    assert tensor.shape == (1, 3, 8, 8)
    # RGB in [-1, 1]: red is the last channel of BGR.
    assert tensor[0, 0, 0, 0].item() == pytest.approx(image[0, 0, 2] / 127.5 - 1)
    assert np.array_equal(to_images(tensor)[0], image)


def test_out_of_range_colours_are_clamped():
    assert to_images(torch.tensor([-3.0, 0.0, 3.0]).reshape(1, 3, 1, 1))[0, 0, 0].tolist() == [255, 128, 0]


def test_restored_is_what_the_network_says(restorer):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = to_images(restorer.net(to_tensor(image)[None]).image)[0]
    assert np.array_equal(restorer.restore_aligned(image), expected)


def test_an_image_of_any_size_comes_back_at_the_networks(restorer):
    assert restorer.restore_aligned(np.zeros((37, 37, 3), np.uint8)).shape == (64, 64, 3)


def test_an_image_that_is_not_square_is_no_aligned_face(restorer):
    with pytest.raises(FRExError, match='90 x 37 is not square'):
        restorer.restore_aligned(np.zeros((37, 90, 3), np.uint8))


def test_an_output_that_is_not_finite_is_no_image(checkpoint):
    broken = FaceRestorer.from_pretrained(checkpoint, 'cpu')
    broken.net.stylegan2.to_rgbs[-1].bias.data.fill_(float('nan'))
    with pytest.raises(FRExError, match='not finite'):
        broken.restore_aligned(np.zeros((64, 64, 3), np.uint8))


def test_auto_is_a_device_that_works():
    assert torch.zeros(1, device=choose_device('auto')).item() == 0


def test_alignment_puts_the_landmarks_where_ffhq_has_them():
    rng = np.random.default_rng(0)
    # The template rotated by 90 degrees, scaled by a half and shifted.
    landmarks = TEMPLATE_512[:, ::-1] * [0.5, -0.5] + [20, 300]
    photo = rng.integers(0, 256, (350, 350, 3), dtype=np.uint8)
    photo = cv2.GaussianBlur(photo, (0, 0), 4)
    face = align_face(photo, landmarks)
    for point, target in zip(landmarks.round().astype(int), TEMPLATE_512.round().astype(int), strict=True):
        assert np.abs(face[target[1], target[0]].astype(int) - photo[point[1], point[0]]).max() <= 6


def test_landmarks_in_one_place_are_refused():
    with pytest.raises(FRExError, match='one place'):
        align_face(np.zeros((9, 9, 3), np.uint8), np.full((5, 2), 4.0))


def test_an_image_under_its_final_name_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr('frex.utils.files.os.replace', lambda part, path: (_ for _ in ()).throw(OSError(28, 'No space left on device')))
    with pytest.raises(OSError, match='No space left'):
        write_image(tmp_path / 'a.png', np.zeros((4, 4, 3), np.uint8))
    assert names(tmp_path) == []
