"""Tests of detecting faces and landmarks with facexlib's networks, here with random weights."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from frex.errors import FRExError
from frex.restore.detection.dense_landmarks import LandmarkNetwork, five_landmarks, peaks
from frex.restore.detection.retinaface import DETECTORS, FaceDetector, build_retinaface
from frex.weights.manifest import WeightFile


class Finder:
    """A network that finds one face a quarter into the image, and remembers the image."""

    def detect_faces(self, image, threshold):
        self.seen, self.threshold = image.shape, threshold
        height, width = image.shape[:2]
        landmarks = [coordinate for part in (0.3, 0.4, 0.35, 0.31, 0.39) for coordinate in (part * width, part * height)]
        return np.array([[0.25 * width, 0.25 * height, 0.5 * width, 0.75 * height, 0.9, *landmarks]], np.float32)


def weight_file(key, name):
    return WeightFile(key, name, 'detection', [], None, [], 'any', [])


@pytest.fixture
def folder(weights_folder, manifest_of):
    """A folder for the weights of detectors, the only one that is searched."""
    manifest_of(weight_file('retinaface_resnet50', 'resnet.pth'), weight_file('retinaface_mobile0.25', 'mobile.pth'))
    return weights_folder


def test_a_large_image_is_searched_in_a_small_copy():
    finder = Finder()
    (face,) = FaceDetector(finder, 'any').detect(np.zeros((1001, 3000, 3), np.uint8), 0.6)
    # A quarter of the copy is too large a face for it and for the next, and is found in the smallest.
    assert finder.seen == (80, 240, 3)
    assert finder.threshold == 0.6
    np.testing.assert_allclose(face.box, [750, 250.25, 1500, 750.75])
    np.testing.assert_allclose(face.landmarks[1], [1200, 400.4], rtol=1e-6)
    assert face.score == pytest.approx(0.9)


class Crowd:
    """A network that finds one face of 20 pixels in the middle of images that are at least `least` pixels high; it counts the images."""

    def __init__(self, least=0):
        self.least, self.count = least, 0

    def detect_faces(self, image, threshold):
        self.count += 1
        height, width = image.shape[:2]
        if height < self.least:
            return np.zeros((0, 15), np.float32)
        x, y = width / 2, height / 2
        landmarks = [x - 4, y - 4, x + 4, y - 4, x, y, x - 3, y + 4, x + 3, y + 4]
        return np.array([[x - 10, y - 10, x + 10, y + 10, 0.9, *landmarks]], np.float32)


@pytest.mark.parametrize('least', [0, 300])
def test_where_faces_are_small_or_none_all_pixels_are_searched(least):
    """The copy of 1500 x 200 pixels shows a small face, or none; the tiles of the image are 400 pixels high."""
    image = np.zeros((400, 3000, 3), np.uint8)
    net = Crowd(least)
    faces = FaceDetector(net, 'any').detect(image)
    assert faces
    # Found at the image's own size, where the face is as long as in each tile.
    assert {round(face.side) for face in faces} == {20}
    quick = Crowd(least)
    assert [round(face.side) for face in FaceDetector(quick, 'any').detect_quickly(image)] == ([] if least else [40])
    assert quick.count < net.count
    chosen = Crowd(least)
    FaceDetector(chosen, 'any', detection_size=1500).detect(image)
    assert chosen.count == quick.count


def test_a_small_image_is_searched_as_it_is():
    finder = Finder()
    (face,) = FaceDetector(finder, 'any', detection_size=300).detect(np.zeros((300, 200, 3), np.uint8))
    assert finder.seen == (300, 200, 3)
    np.testing.assert_allclose(face.box, [50, 75, 100, 225])


def test_an_image_of_one_row_is_searched():
    assert len(FaceDetector(Finder(), 'any').detect(np.zeros((1, 4000, 3), np.uint8))) == 1


def test_the_detector_is_read_from_its_file(folder):
    torch.manual_seed(0)
    net = build_retinaface('mobile0.25', torch.device('cpu'))
    torch.save({f'module.{name}': value for name, value in net.state_dict().items()}, folder / 'mobile.pth')
    detector = FaceDetector.from_weights(folder)
    assert detector.key == 'retinaface_mobile0.25'
    image = np.random.default_rng(0).integers(0, 256, (96, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = net.detect_faces(image, 0.2)
    faces = detector.detect(image, 0.2)
    assert 0 < len(faces) <= len(expected)
    np.testing.assert_allclose(faces[0].landmarks.ravel(), expected[0, 5:], rtol=1e-6)
    assert {face.score for face in faces} <= set(expected[:, 4].astype(float))
    assert detector.detect(image, 0.9999) == []


def test_a_missing_detector_is_one_line(folder):
    with pytest.raises(FRExError, match=r'resnet.pth is missing; get it with: frex weights download retinaface_resnet50'):
        FaceDetector.from_weights(folder)


def test_an_unknown_detector_is_refused_with_the_nearest():
    with pytest.raises(FRExError, match=r"no detector is called 'retinaface_resnet5'; did you mean 'retinaface_resnet50'"):
        FaceDetector.from_weights(key='retinaface_resnet5')


def test_threads_see_their_own_image():
    """facexlib's network stores the size of the current image."""
    net = build_retinaface('mobile0.25', torch.device('cpu'))
    detector = FaceDetector(net, 'any')
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (32 + 16 * (i % 3), 64 + 32 * (i % 2), 3), dtype=np.uint8) for i in range(12)]
    serial = [detector.detect(image, 0.2) for image in images]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda image: detector.detect(image, 0.2), images))
    assert sum(map(len, serial)) > 0
    for alone, together in zip(serial, parallel, strict=True):
        np.testing.assert_array_equal([face.landmarks for face in alone], [face.landmarks for face in together])


def test_a_file_of_something_else_is_refused(folder):
    torch.save({'weight': torch.zeros(3)}, folder / 'mobile.pth')
    with pytest.raises(FRExError, match=r'mobile.pth: the weights do not fit RetinaFace'):
        FaceDetector.from_weights(folder)


def test_both_of_facexlibs_detectors_can_be_built():
    names = [build_retinaface(name, torch.device('cpu')).model_name for name in DETECTORS.values()]
    assert names == list(DETECTORS)


def test_a_peak_leans_towards_its_larger_neighbour():
    maps = torch.zeros(3, 8, 16)
    maps[0, 2, 5], maps[0, 2, 6], maps[0, 1, 5] = 1.0, 0.5, 0.25
    maps[1, 0, 15] = 1.0
    maps[2, 4, 4] = 1.0
    expected = [[(5 + 0.5 + 0.25) / 16, (2 + 0.5 - 0.25) / 8], [15.5 / 16, 0.5 / 8], [4.5 / 16, 4.5 / 8]]
    np.testing.assert_allclose(peaks(maps), expected)


def test_the_five_landmarks_of_98():
    points = np.stack([np.arange(98.0), np.zeros(98)], axis=1)
    assert five_landmarks(points)[:, 0].tolist() == [62, 70, 54, 76, 82]


def test_the_last_maps_without_the_outlines_are_the_landmarks():
    class Net(torch.nn.Module):
        def forward(self, rgb):
            assert rgb.shape == (1, 3, 256, 256)
            # The channels are RGB, in [0, 1].
            assert rgb[0, :, 0, 0].tolist() == [1, 0, 0]
            maps = torch.zeros(1, 99, 64, 64)
            maps[0, torch.arange(99), 10, torch.arange(99) % 60 + 1] = 1
            return [torch.ones(1, 99, 64, 64), maps], None

    red = np.zeros((512, 512, 3), np.uint8)
    red[:, :, 2] = 255
    points = LandmarkNetwork(Net(), 'cpu').landmarks(red)
    np.testing.assert_allclose(points[:, 0] * 64, np.arange(98) % 60 + 1.5)
    np.testing.assert_allclose(points[:, 1] * 64, 10.5)


def test_facexlibs_landmark_network_runs_from_its_file(weights_folder, manifest_of):
    from frex.restore.detection.dense_landmarks import KEY, build_fan

    manifest_of(weight_file(KEY, 'fan.pth'))
    torch.save({'state_dict': build_fan(torch.device('cpu')).state_dict()}, weights_folder / 'fan.pth')
    points = LandmarkNetwork.from_weights().landmarks(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    assert points.shape == (98, 2)
    assert ((points > 0) & (points < 1)).all()
