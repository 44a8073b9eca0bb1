"""Tests of finding faces in photographs, cutting them out, and pasting them back. The detector returns given faces."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from fake_detector import FakeDetector, detected, landmarks_at, smooth
from image_files import photo_of

from frex.data.landmarks import crop_to_eg3d
from frex.errors import FRExError
from frex.restore.detection.align import BORDER, TEMPLATE_512, apply_affine, cut_face, face_matrix
from frex.restore.detection.detector import DetectedFace
from frex.restore.detection.rotated import is_surely_upright, rotate_left, rotate_points_back
from frex.restore.detection.selection import Selection
from frex.restore.faces.photo import find_faces, paste_faces

# --- Alignment


@pytest.mark.parametrize('degrees', [0, 30, 90, 180, -135])
def test_the_alignment_undoes_place_size_and_turn(degrees):
    matrix = face_matrix(landmarks_at(200, 150, 100, degrees))
    angle = np.radians(-degrees)
    expected = 5.12 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(matrix[:, :2], expected, atol=1e-4)
    np.testing.assert_allclose(apply_affine(np.array([[200.0, 150.0]]), matrix), [[256, 256]], atol=1e-3)


def test_a_face_of_half_the_size_has_half_the_matrix():
    landmarks = landmarks_at(200, 150, 100, 20)
    np.testing.assert_allclose(face_matrix(landmarks, 64), face_matrix(landmarks, 512) / 8, atol=1e-4)


@pytest.mark.parametrize(
    ('landmarks', 'reason'),
    [
        (np.full((5, 2), 7.0), 'one place'),
        (np.full((5, 2), np.nan), 'not finite'),
        (landmarks_at(50, 50, 4), 'too small'),
        (landmarks_at(50, 50, 90)[[1, 0, 2, 4, 3]], 'mirrored'),
        (landmarks_at(50, 50, 90)[[0, 4, 2, 3, 1]], 'do not lie as in a face'),
        (np.linspace([0, 0], [90, 4], 5), 'do not lie as in a face'),
    ],
)
def test_landmarks_that_fit_no_face_are_refused(landmarks, reason):
    with pytest.raises(FRExError, match=reason):
        face_matrix(landmarks)


def test_a_profile_is_a_face():
    landmarks = landmarks_at(100, 100, 120)
    # Eyes and corners of the mouth lie nearly above each other, the nose to the side.
    landmarks[:, 0] = 100 + 0.15 * (landmarks[:, 0] - 100) + [0, 0, 18, 0, 0]
    assert face_matrix(landmarks).shape == (2, 3)


def test_pixels_are_cut_out_without_a_shift():
    image = np.random.default_rng(0).integers(0, 256, (60, 70, 3), dtype=np.uint8)
    matrix = np.array([[1.0, 0, -20], [0, 1.0, -10]])
    assert np.array_equal(cut_face(image, matrix, 32), image[10:42, 20:52])
    # A pixel enlarged twice covers exactly two pixels, not one and two halves.
    doubled = cut_face(image, 2 * matrix, 64)
    assert np.abs(doubled.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))[1:-1, 1:-1] - blurred(image)[11:41, 21:51]).max() < 1.5


def blurred(image):
    """Each pixel becomes the mean of the linear interpolation at four points in it."""
    return cv2.sepFilter2D(image.astype(float), -1, np.array([0.125, 0.75, 0.125]), np.array([0.125, 0.75, 0.125]))


def test_a_large_face_is_shrunk_without_aliasing():
    stripes = np.zeros((900, 900, 3), np.uint8)
    stripes[:, ::2] = 255
    face = cut_face(stripes, face_matrix(landmarks_at(450, 450, 800), 64), 64)
    assert np.abs(face.astype(int) - 127.5).max() < 8


def test_beyond_the_image_a_face_is_grey():
    face = cut_face(np.zeros((100, 100, 3), np.uint8), face_matrix(landmarks_at(0, 50, 80), 64), 64)
    assert face[32, 10].tolist() == list(BORDER)
    assert face[32, 50].tolist() == [0, 0, 0]
    deep = cut_face(np.zeros((100, 100, 3), np.uint16), face_matrix(landmarks_at(-500, 50, 80), 64), 64)
    assert deep[0, 0].tolist() == [257 * value for value in BORDER]


def test_an_image_wider_than_opencv_warps_is_no_obstacle():
    image = np.zeros((60, 40000, 3), np.uint8)
    image[:, 39950:] = 200
    assert cut_face(image, face_matrix(landmarks_at(39975, 30, 40), 64), 64)[32, 32].tolist() == [200, 200, 200]


# --- Finding


def test_a_face_comes_with_its_crop():
    landmarks = landmarks_at(120, 100, 90, 15)
    (face,) = find_faces(photo_of(smooth(200, 300)), FakeDetector(detected(landmarks)), 64)
    assert face.problem is None
    assert face.aligned.shape == (64, 64, 3)
    np.testing.assert_allclose(face.crop, crop_to_eg3d(TEMPLATE_512 / 512), atol=1e-4)
    np.testing.assert_allclose(face.landmarks, landmarks)


def test_an_image_of_16_bit_is_seen_in_8():
    image = smooth(200, 300)
    faces = [FakeDetector(detected(landmarks_at(120, 100, 90))) for _ in range(2)]
    (shallow,) = find_faces(photo_of(image), faces[0], 64)
    (deep,) = find_faces(photo_of(image.astype(np.uint16) * 257), faces[1], 64)
    assert deep.aligned.dtype == np.uint8
    assert np.abs(deep.aligned.astype(int) - shallow.aligned).max() <= 1


def test_a_face_that_fits_none_says_so_and_keeps_its_box():
    landmarks = np.full((5, 2), 50.0)
    image = smooth(200, 300)
    (face,) = find_faces(photo_of(image), FakeDetector(DetectedFace(np.array([30.0, 30, 70, 70]), 0.9, landmarks)), 64)
    assert 'one place' in face.problem
    # The aligned square is that of 64 pixels around the box.
    assert np.array_equal(face.aligned, image[18:82, 18:82])


def test_a_face_outside_of_the_image_is_a_problem():
    (face,) = find_faces(photo_of(smooth(100, 100)), FakeDetector(detected(landmarks_at(-60, 50, 80))), 64)
    assert 'outside' in face.problem


@pytest.mark.parametrize(('turns', 'degrees'), [(1, 90), (2, 180), (3, -90)])
def test_an_image_on_its_side_is_searched_in_every_turn(turns, degrees):
    """A face that is upright once the image is rotated to the left lies on its right side in the image."""
    landmarks = landmarks_at(120, 70, 90, degrees)
    height, width = 200, 300
    turned = turned_forth(landmarks, turns, height, width)
    marker = Marked(detected(turned, 0.99), turns, smooth(height, width))
    (face,) = find_faces(photo_of(marker.image), marker, 64)
    np.testing.assert_allclose(face.landmarks, landmarks, atol=1e-9)
    np.testing.assert_allclose(face.box, detected(landmarks).box, atol=1e-9)
    # The aligned face is upright, as in the rotated image.
    expected = cut_face(rotate_left(marker.image, turns), face_matrix(turned, 64), 64)
    assert np.abs(face.aligned.astype(int) - expected).max() <= 2


def turned_forth(points, turns, height, width):
    for _ in range(turns):
        points, (height, width) = np.stack([points[:, 1], width - points[:, 0]], axis=1), (width, height)
    return points


class Marked:
    """A detector that finds a face only in one rotation of its image."""

    def __init__(self, face, turns, image):
        self.face, self.image, self.turned = face, image, rotate_left(image, turns)

    def detect(self, image, threshold=0.8):
        return [self.face] if np.array_equal(image, self.turned) else []


def test_turned_pixels_are_found_again():
    image = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    for turns in range(4):
        turned = rotate_left(image, turns)
        (x, y) = rotate_points_back(np.array([[1.5, 2.5]]), turns, image)[0]
        assert np.array_equal(turned[2, 1], image[int(y), int(x)])


def test_an_upright_image_is_searched_once():
    detector = FakeDetector(detected(landmarks_at(120, 100, 90), 0.99))
    find_faces(photo_of(smooth(200, 300)), detector, 64)
    assert detector.asked == [(200, 300, 3)]


def test_a_face_that_is_in_doubt_stays_where_no_turn_shows_a_better():
    doubted = detected(landmarks_at(120, 100, 90), 0.85)
    detector = FakeDetector(doubted, shape=(200, 300))
    (face,) = find_faces(photo_of(smooth(200, 300)), detector, 64)
    assert len(detector.asked) == 4
    np.testing.assert_allclose(face.landmarks, doubted.landmarks)


def test_a_face_that_is_in_doubt_gives_way_to_an_upright_one_in_another_turn():
    image = smooth(200, 300)
    doubted = detected(landmarks_at(120, 100, 90, 80), 0.99)

    class Turned:
        def detect(self, seen, threshold=0.8):
            return [detected(landmarks_at(60, 200, 90), 0.99)] if np.array_equal(seen, rotate_left(image, 1)) else [doubted]

    (face,) = find_faces(photo_of(image), Turned(), 64)
    np.testing.assert_allclose(face.landmarks, rotate_points_back(landmarks_at(60, 200, 90), 1, image))


def test_faces_of_different_turns_are_each_taken_from_their_own():
    """An upright face lies beside two on their side: in each rotation the upright faces get better scores than the others."""
    image = smooth(200, 500)
    upright, aside = landmarks_at(80, 100, 90), [landmarks_at(x, 100, 90, 90) for x in (250, 400)]
    sideways = rotate_left(image, 1)

    class Mixed:
        def detect(self, seen, threshold=0.8):
            if np.array_equal(seen, image):
                return [detected(upright, 0.988), *(detected(landmarks + 3, 0.95) for landmarks in aside)]
            if np.array_equal(seen, sideways):
                turned = [detected(turned_forth(landmarks, 1, 200, 500), 0.99) for landmarks in aside]
                return [*turned, detected(turned_forth(upright - 3, 1, 200, 500), 0.995)]
            return []

    faces = find_faces(photo_of(image), Mixed(), 64)
    assert [face.score for face in faces] == [0.99, 0.99, 0.988]
    for face, expected in zip(faces, [*aside, upright], strict=True):
        np.testing.assert_allclose(face.landmarks, expected, atol=1e-9)
    assert all(face.problem is None for face in faces)


class OnlyTurned:
    """A detector that finds faces in an image upside down, and others, if any, in the image as it is."""

    def __init__(self, image, *faces, upright=()):
        self.image, self.faces, self.upright = image, faces, upright

    def detect(self, seen, threshold=0.8):
        if np.array_equal(seen, self.image):
            return list(self.upright)
        return list(self.faces) if np.array_equal(seen, rotate_left(self.image, 2)) else []


DOUBTFUL = {
    'score': detected(landmarks_at(120, 100, 90), 0.98),
    'mirror': detected(landmarks_at(120, 100, 90)[[1, 0, 2, 4, 3]], 0.99),
    'order': detected(landmarks_at(120, 100, 90)[[0, 1, 4, 3, 2]], 0.99),
    'tilt': detected(landmarks_at(120, 100, 90, 50), 0.99),
    'outside': DetectedFace(np.array([100.0, 60, 124, 130]), 0.99, landmarks_at(120, 100, 90)),
}


@pytest.mark.parametrize('kind', DOUBTFUL)
def test_a_doubtful_face_upside_down_is_taken_only_on_demand(kind):
    image = smooth(200, 300)
    photo, detector = photo_of(image), OnlyTurned(image, DOUBTFUL[kind])
    assert find_faces(photo, detector, 64) == []
    assert len(find_faces(photo, detector, 64, Selection(any_turn=True))) == 1


def test_a_sure_face_upside_down_brings_the_doubtful_ones_beside_it():
    image = smooth(200, 300)
    doubted = detected(landmarks_at(220, 100, 60), 0.9)
    found = find_faces(photo_of(image), OnlyTurned(image, detected(landmarks_at(120, 100, 90), 0.99), doubted), 64)
    assert [face.score for face in found] == [0.99, 0.9]


def test_an_upright_face_in_doubt_is_not_replaced_by_a_doubtful_one_upside_down():
    image = smooth(200, 300)
    upright = detected(landmarks_at(120, 100, 90), 0.85)
    (face,) = find_faces(photo_of(image), OnlyTurned(image, DOUBTFUL['score'], upright=[upright]), 64)
    np.testing.assert_allclose(face.landmarks, upright.landmarks)


def test_what_is_surely_upright():
    upright = landmarks_at(100, 100, 90)
    low, high = upright.min(axis=0), upright.max(axis=0)
    assert is_surely_upright(detected(upright, 0.99))
    assert is_surely_upright(detected(landmarks_at(100, 100, 90, 30), 0.99))
    assert not is_surely_upright(detected(upright, 0.9))
    assert not is_surely_upright(detected(landmarks_at(100, 100, 90, 60), 0.99))
    assert not is_surely_upright(detected(landmarks_at(100, 100, 90, 180), 0.99))
    wide = np.array([low[0] - 60, low[1], high[0] + 60, high[1]])
    assert not is_surely_upright(DetectedFace(wide, 0.99, upright))
    large = np.concatenate([low - 90, high + 90])
    assert not is_surely_upright(DetectedFace(large, 0.99, upright))


# --- Selection


def faces_for_selection():
    return [
        detected(landmarks_at(60, 60, 60), 0.99),
        detected(landmarks_at(200, 130, 120), 0.95),
        detected(landmarks_at(150, 60, 20), 0.9),
    ]


def chosen(**selection):
    faces = find_faces(photo_of(smooth(240, 320)), FakeDetector(*faces_for_selection()), 64, Selection(**selection))
    return [face.score for face in faces]


def test_faces_are_selected():
    assert chosen() == [0.99, 0.95, 0.9]
    assert chosen(only='largest') == [0.95]
    assert chosen(only='center') == [0.95]
    assert chosen(threshold=0.97) == [0.99]
    # The boxes are 0.52 times the aligned squares: 31, 63 and 10 pixels.
    assert chosen(min_face=20) == [0.99, 0.95]
    assert chosen(min_face=200) == []


def test_an_unknown_choice_of_faces_is_refused():
    # The type check of the tests would refuse it first.
    with pytest.raises(FRExError, match=r"Selection\.only 'centre': must be one of all, center, largest"):
        Selection.__post_init__(SimpleNamespace(threshold=0.8, min_face=0, only='centre'))


def test_the_center_is_the_images():
    faces = find_faces(photo_of(smooth(120, 300)), FakeDetector(*faces_for_selection()), 64, Selection(only='center'))
    assert [face.score for face in faces] == [0.9]


def test_a_face_within_a_face_is_dropped():
    whole, eye = detected(landmarks_at(100, 100, 100), 0.99), detected(landmarks_at(95, 95, 20), 0.85)
    faces = find_faces(photo_of(smooth(200, 200)), FakeDetector(eye, whole), 64)
    assert [face.score for face in faces] == [0.99]


@pytest.mark.parametrize('wrong', [{'threshold': 1.5}, {'threshold': float('nan')}, {'min_face': -1}])
def test_a_selection_of_nonsense_is_refused(wrong):
    with pytest.raises(FRExError, match='must be at least 0'):
        Selection(**wrong)


# --- Pasting


def pasted(image, sides=(150,), upscale=1.0, size=512, change=lambda face: face, **kinds):
    photo = photo_of(image, **kinds)
    width = image.shape[1]
    landmarks = [landmarks_at((i + 1) * width / (len(sides) + 1), image.shape[0] / 2, side, 20) for i, side in enumerate(sides)]
    faces = find_faces(photo, FakeDetector(*map(detected, landmarks)), size)
    return paste_faces(photo, upscale, faces, [change(face.aligned) for face in faces])


@pytest.mark.parametrize('upscale', [1, 1.5, 2, 0.5, 3.3])
def test_every_factor_gives_its_exact_size(upscale):
    result = pasted(smooth(241, 333), upscale=upscale)
    assert result.image.shape == (round(241 * upscale), round(333 * upscale), 3)


@pytest.mark.parametrize('side', [40, 150, 700])
@pytest.mark.parametrize('size', [64, 512])
def test_an_unchanged_face_leaves_the_image_unchanged(side, size):
    image = smooth(800, 900, cell=max(40, 400 // size * 20))
    result = pasted(image, (side,), size=size)
    assert np.abs(result.image.astype(int) - image).max() <= 3


def test_an_unchanged_face_lies_right_in_an_enlarged_image():
    image = smooth(240, 320)
    with_face, without = pasted(image, upscale=2.5), pasted(image, upscale=2.5, sides=())
    assert np.abs(with_face.image.astype(int) - without.image).max() <= 3


def test_the_image_that_was_given_is_not_written_to():
    image = smooth(240, 320)
    before = image.copy()
    pasted(image, change=lambda face: 255 - face)
    assert np.array_equal(image, before)


def test_a_grey_image_gets_grey_faces():
    grey = np.dstack([smooth(240, 320)[:, :, 0]] * 3)
    red = np.zeros((512, 512, 3), np.uint8)
    red[:, :, 2] = 200
    result = pasted(grey, change=lambda face: red, grey=True)
    assert np.array_equal(result.image[:, :, 0], result.image[:, :, 2])
    assert result.image[120, 160].tolist() == [60, 60, 60]


def test_16_bit_stays_16_bit():
    image = smooth(240, 320).astype(np.uint16) * 257
    result = pasted(image, change=lambda face: np.full_like(face, 100))
    assert result.image.dtype == np.uint16
    assert result.image[120, 160].tolist() == [25700] * 3
    assert np.array_equal(result.image[0], image[0])


def test_alpha_is_kept():
    alpha = smooth(240, 320, 1)[:, :, 0].copy()
    assert np.array_equal(pasted(smooth(240, 320), alpha=alpha).alpha, alpha)


def test_a_face_with_a_problem_and_one_without_a_restoration_stay_as_they_were():
    image = smooth(200, 300)
    photo = photo_of(image)
    faces = find_faces(photo, FakeDetector(detected(landmarks_at(80, 100, 90), 0.99), detected(landmarks_at(220, 100, 90), 0.9)), 64)
    black = np.zeros((64, 64, 3), np.uint8)
    marked = [faces[0], replace(faces[1], problem='no face')]
    assert np.array_equal(paste_faces(photo, 1, marked, [None, black]).image, image)
    assert not np.array_equal(paste_faces(photo, 1, faces, [None, black]).image, image)


def test_the_larger_of_two_overlapping_faces_lies_on_top():
    photo = photo_of(smooth(200, 300))
    faces = find_faces(photo, FakeDetector(detected(landmarks_at(140, 100, 150), 0.99), detected(landmarks_at(200, 100, 90), 0.9)), 64)
    result = paste_faces(photo, 1, faces, [np.full((64, 64, 3), value, np.uint8) for value in (10, 250)])
    assert result.image[100, 170].tolist() == [10, 10, 10]


def test_the_background_can_be_upsampled_by_another():
    photo = photo_of(smooth(100, 150), alpha=np.full((100, 150), 255, np.uint8))
    seen = []

    def white(background, size):
        seen.append((background.shape, size))
        return np.full((size[1], size[0], 3), 255, np.uint8)

    result = paste_faces(photo, 1.5, [], [], bg_upsampler=white)
    assert seen == [((100, 150, 3), (225, 150))]
    assert (result.image == 255).all()
    assert result.alpha.shape == (150, 225)
    with pytest.raises(FRExError, match='the upsampler made'):
        paste_faces(photo, 2, [], [], bg_upsampler=lambda background, size: background)
