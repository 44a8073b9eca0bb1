"""Where the regions of faces overlap, each pixel belongs to the nearest face, whatever the order of the faces."""

import itertools

import numpy as np
import pytest
from fake_detector import FakeDetector, detected, landmarks_at, smooth
from image_files import photo_of

from frex.restore.detection.align import face_matrix
from frex.restore.faces.paste import BORDER_WIDTH, Patch, paste_patches, soft_square
from frex.restore.faces.photo import find_faces, paste_faces

SIZE = 64
GREYS = (40, 120, 250)


def patch(x, y, side, grey, degrees=0.0, mask=None):
    image = None if grey is None else np.full((SIZE, SIZE, 3), grey, np.uint8)
    return Patch(image, face_matrix(landmarks_at(x, y, side, degrees), SIZE), SIZE, mask)


def pasted(image, *patches):
    canvas = image.copy()
    paste_patches(canvas, patches)
    return canvas


@pytest.mark.parametrize('degrees', [0, 25, 180])
# Farther apart the masks end before they meet.
@pytest.mark.parametrize('distance', [50, 60, 75])
def test_each_of_two_touching_faces_keeps_its_half(distance, degrees):
    image = np.full((200, 400, 3), 100, np.uint8)
    left, right = 200 - distance / 2, 200 + distance / 2
    result = pasted(image, patch(left, 100, 100, 40, degrees), patch(right, 100, 100, 250, -degrees))
    row = result[100, :, 0]
    # Distances from the two centres differ by twice the distance from the border.
    half = int(np.ceil(BORDER_WIDTH * 100 / 2)) + 1
    border = 200
    assert (row[int(left) - 20 : border - half] == 40).all()
    assert (row[border + half : int(right) + 20] == 250).all()
    assert abs(int(row[border - 1]) + int(row[border]) - 290) <= 2
    assert (np.diff(row[int(left) : int(right)].astype(int)) >= 0).all()


def test_the_border_between_a_large_and_a_small_face_lies_at_the_same_share_of_both():
    row = pasted(np.full((400, 600, 3), 100, np.uint8), patch(200, 200, 300, 40), patch(350, 200, 100, 250))[200, :, 0]
    # The centres are 150 pixels apart, which the border divides as 3 to 1.
    assert np.abs(np.flatnonzero(row[200:350] > 145)[0] - 112.5) <= 1.5


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_the_order_of_faces_makes_no_difference(dtype):
    image = smooth(300, 400).astype(dtype) * (1 if dtype == np.uint8 else 257)
    masks = [None, soft_square(SIZE) * 0.5, None]
    patches = [patch(150 + 40 * i, 120 + 30 * (i % 2), 90 + 30 * i, grey, 20 * i, masks[i]) for i, grey in enumerate(GREYS)]
    results = [pasted(image, *order) for order in itertools.permutations(patches)]
    for result in results[1:]:
        assert np.abs(result.astype(int) - results[0]).max() <= 1


def test_three_faces_that_meet_leave_no_hole():
    """Where three masks are whole, nothing of the image behind shines through."""
    image = np.zeros((300, 300, 3), np.uint8)
    places = [(150 + 30 * np.cos(angle), 150 + 30 * np.sin(angle)) for angle in np.radians((90, 210, 330))]
    result = pasted(image, *(patch(x, y, 150, 200) for x, y in places))
    assert (result[120:180, 120:180] == 200).all()


def test_two_masks_that_both_end_cover_what_two_layers_would():
    image = np.zeros((200, 300, 3), np.uint8)
    half = np.full((SIZE, SIZE), 0.5, np.float32)
    result = pasted(image, patch(140, 100, 100, 200, mask=half), patch(160, 100, 100, 200, mask=half))
    assert result[100, 150].tolist() == [150] * 3
    assert result[100, 100].tolist() == [100] * 3


def test_what_the_nearer_face_does_not_take_belongs_to_the_other():
    """Hair of one face reaches to where another is nearer, whose mask ends there."""
    image = np.full((200, 300, 3), 100, np.uint8)
    right_half = np.zeros((SIZE, SIZE), np.float32)
    right_half[:, SIZE // 2 :] = 1
    result = pasted(image, patch(110, 100, 100, 40), patch(160, 100, 100, 250, mask=right_half))
    assert result[100, 143].tolist() == [40] * 3
    assert result[100, 170].tolist() == [250] * 3


def test_faces_far_apart_are_pasted_as_if_alone():
    image = smooth(200, 600)
    first, second = patch(120, 100, 100, 40, 10), patch(480, 100, 120, 250)
    both = pasted(image, first, second)
    assert np.array_equal(both, pasted(pasted(image, first), second))
    assert np.array_equal(both[:, :300], pasted(image, first)[:, :300])


def test_a_face_that_stays_as_it_is_keeps_its_neighbour_off():
    image = smooth(200, 400)
    result = pasted(image, patch(160, 100, 100, 40), patch(240, 100, 100, None))
    assert np.array_equal(result[60:140, 204:], image[60:140, 204:])
    assert (result[100, 150:195] == 40).all()
    # So it is in a photograph.
    known = FakeDetector(detected(landmarks_at(160, 100, 100), 0.99), detected(landmarks_at(240, 100, 100)))
    faces = find_faces(photo_of(image), known, SIZE)
    whole = paste_faces(photo_of(image), 1, faces, [np.full((SIZE, SIZE, 3), 40, np.uint8), None])
    assert np.array_equal(whole.image, result)


def test_faces_across_tiles_have_no_joints():
    image = np.full((700, 1200, 3), 100, np.uint8)
    result = pasted(image, patch(430, 340, 500, 140), patch(700, 360, 500, 140))
    assert result.max() == 140
    steps = [np.abs(np.diff(result[:, :, 0].astype(int), axis=axis)).max() for axis in (0, 1)]
    assert max(steps) <= 3


def test_fifty_touching_faces_take_bounded_memory_and_time():
    image = np.zeros((600, 1000, 3), np.uint8)
    patches = [patch(50 + 100 * (i % 10), 60 + 110 * (i // 10), 150, 200) for i in range(50)]
    result = pasted(image, *patches)
    assert (result[60:540:110, 50:960:100] == 200).all()
    assert result[60:520, 50:960].mean() > 195
