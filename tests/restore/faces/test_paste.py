"""Tests of pasting a face into its region, without a seam."""

import cv2
import numpy as np
import pytest
import torch
from fake_detector import landmarks_at, smooth

from frex.restore.detection.align import apply_affine, compose_scale, cut_face, face_matrix, inverse
from frex.restore.faces.helper_networks import PASTED_CLASSES, FaceParser, build_parsenet
from frex.restore.faces.paste import OUTER, paste_face, soft_square
from frex.weights.manifest import WeightFile


def paste(image, face, side, mask=None, degrees=25):
    matrix = face_matrix(landmarks_at(image.shape[1] / 2, image.shape[0] / 2, side, degrees), face.shape[0])
    canvas = image.copy()
    paste_face(canvas, face, matrix, mask)
    return canvas


def test_the_mask_is_whole_on_the_face_and_nothing_at_the_border():
    for size in (64, 512):
        mask = soft_square(size)
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert (border == 0).all()
        places = (np.arange(size) + 0.5) * 512 / size
        # This is the area from the brows to below the mouth, and beyond both eyes.
        face = mask[np.ix_((places > 190) & (places < 420), (places > 130) & (places < 380))]
        assert (face == 1).all()
        np.testing.assert_allclose(mask, mask[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_outside_of_the_region_no_byte_changes(dtype):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (300, 400, 3), dtype=dtype, endpoint=True)
    result = paste(image, np.zeros((64, 64, 3), np.uint8), 150)
    matrix = face_matrix(landmarks_at(200, 150, 150, 25), 64)
    y, x = np.mgrid[:300, :400] + 0.5
    aligned = apply_affine(np.stack([x.ravel(), y.ravel()], axis=1), matrix).reshape(300, 400, 2)
    outside = (np.abs(aligned / 32 - 1).max(axis=2)) > OUTER + 1 / 32
    assert outside.mean() > 0.5
    assert np.array_equal(result[outside], image[outside])
    assert (result[np.abs(aligned / 32 - 1).max(axis=2) < 0.5] == 0).all()


@pytest.mark.parametrize('side', [30, 150, 1400])
def test_a_brighter_face_leaves_no_edge(side):
    image = np.full((1600, 1600, 3), 100, np.uint8)
    result = paste(image, np.full((512, 512, 3), 140, np.uint8), side)
    assert result.max() == 140
    steps = [np.abs(np.diff(result[:, :, 0].astype(int), axis=axis)).max() for axis in (0, 1)]
    # The mask crosses 40 grey levels over the feather, a tenth of the side; a smoothstep is 1.5 times as steep in its middle.
    assert max(steps) <= 1.6 * 40 / (0.095 * side) + 1


def test_the_feather_grows_with_the_face():
    image = np.full((900, 900, 3), 100, np.uint8)
    widths = []
    for side in (100, 200, 800):
        row = paste(image, np.full((512, 512, 3), 200, np.uint8), side, degrees=0)[450, :450, 0]
        widths.append(int(((row > 102) & (row < 198)).sum()) / side)
    assert max(widths) - min(widths) < 0.02
    assert min(widths) > 0.05


def test_a_small_face_is_averaged_not_sampled():
    """A pattern finer than the pixels of the image becomes its mean."""
    face = np.zeros((512, 512, 3), np.uint8)
    face[::2, ::2] = face[1::2, 1::2] = 200
    result = paste(np.full((200, 200, 3), 100, np.uint8), face, 40)
    assert np.abs(result.astype(int) - 100).max() <= 3


def test_a_large_face_is_smooth():
    """Cubic interpolation of a parabola is closer to it than linear interpolation."""
    size, side = 64, 1024
    places = (np.arange(size) + 0.5) / size - 0.5
    face = np.dstack([np.broadcast_to(200 - 600 * places**2, (size, size))] * 3).round().astype(np.uint8)
    row = paste(np.zeros((1024, 1024, 3), np.uint8), face, side, degrees=0)[512, 300:724, 0].astype(float)
    expected = 200 - 600 * ((np.arange(300, 724) + 0.5) / side - 0.5) ** 2
    assert np.abs(row - expected).max() < 1.1


def test_a_face_that_fills_more_than_a_tile_has_no_joints():
    image = smooth(2300, 2300, cell=300)
    matrix = face_matrix(landmarks_at(1150, 1150, 2200, 10))
    canvas = image.copy()
    paste_face(canvas, cut_face(image, matrix), matrix)
    assert np.abs(canvas.astype(int) - image).max() <= 2


def test_a_face_at_the_images_edge_is_pasted_as_far_as_it_shows():
    image = smooth(200, 200)
    matrix = face_matrix(landmarks_at(5, 190, 120), 256)
    canvas = image.copy()
    paste_face(canvas, cut_face(image, matrix, 256), matrix)
    # At the edge of the image the degraded face was interpolated with the grey outside of it.
    assert np.abs(canvas.astype(int) - image)[:-2, 2:].max() <= 2
    paste_face(canvas, np.zeros((256, 256, 3), np.uint8), matrix)
    assert canvas[-1, 0].tolist() == [0, 0, 0]


def test_a_face_beyond_the_image_changes_nothing():
    image = smooth(100, 100)
    canvas = image.copy()
    paste_face(canvas, np.zeros((64, 64, 3), np.uint8), face_matrix(landmarks_at(-300, 50, 80), 64))
    assert np.array_equal(canvas, image)


def test_values_are_rounded_not_cut_off():
    half = np.full((64, 64), 0.5, np.float32)
    result = paste(np.full((100, 100, 3), 100, np.uint8), np.full((64, 64, 3), 101, np.uint8), 64, half, degrees=0)
    assert result[50, 50].tolist() == [100, 100, 100]
    result = paste(np.full((100, 100, 3), 100, np.uint8), np.full((64, 64, 3), 103, np.uint8), 64, half, degrees=0)
    assert result[50, 50].tolist() == [102, 102, 102]


def test_maps_are_inverted_and_scaled():
    matrix = face_matrix(landmarks_at(30, 40, 50, 70))
    points = np.array([[3.0, 4], [50, 20]])
    np.testing.assert_allclose(apply_affine(apply_affine(points, matrix), inverse(matrix)), points)
    np.testing.assert_allclose(apply_affine(points * [2, 3], compose_scale(matrix, 2, 3)), apply_affine(points, matrix))


# --- ParseNet


def test_only_face_and_hair_are_pasted_where_they_are_known():
    class Halves(torch.nn.Module):
        """A parser that sees skin in the upper half and cloth in the lower half."""

        def forward(self, rgb):
            assert rgb.shape == (1, 3, 512, 512)
            classes = torch.zeros(1, 19, 512, 512)
            classes[:, 1, :256] = classes[:, 18, 256:] = 1
            return classes, rgb

    mask = FaceParser(Halves()).mask(np.zeros((128, 128, 3), np.uint8))
    assert mask.shape == (128, 128)
    np.testing.assert_allclose(mask[20:40, 40:90], 1, atol=1e-3)
    np.testing.assert_allclose(mask[90:], 0, atol=1e-3)
    assert (mask[0] == 0).all()
    assert np.abs(np.diff(mask, axis=0)).max() < 0.15


def test_facexlibs_parser_runs_from_its_file(weights_folder, manifest_of, monkeypatch):
    manifest_of(WeightFile('parsenet', 'parsenet.pth', 'parsing', [], None, [], 'any', []))
    # At 512 this takes ten seconds.
    monkeypatch.setattr('frex.restore.faces.helper_networks.PARSER_SIZE', 64)
    net = build_parsenet()
    torch.save(net.state_dict(), weights_folder / 'parsenet.pth')
    face = smooth(64, 64)
    mask = FaceParser.from_weights(weights_folder).mask(face)
    rgb = torch.from_numpy(face[:, :, ::-1].transpose(2, 0, 1).copy())[None].float() / 127.5 - 1
    with torch.no_grad():
        classes = net.eval()(rgb)[0][0].argmax(dim=0).numpy()
    blurred = cv2.GaussianBlur(np.isin(classes, PASTED_CLASSES).astype(np.float32), (0, 0), 15)
    np.testing.assert_allclose(mask, blurred * soft_square(64), atol=1e-5)
