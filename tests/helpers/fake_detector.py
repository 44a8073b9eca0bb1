"""Photographs without faces, and a detector that finds given faces in them."""

import threading

import cv2
import numpy as np

from frex.restore.detection.align import TEMPLATE_512
from frex.restore.detection.detector import DetectedFace
from frex.restore.detection.rotated import rotate_left


def smooth(height, width, seed=0, cell=40):
    """Return a random BGR image without detail finer than `cell` pixels."""
    coarse = np.random.default_rng(seed).integers(40, 216, (height // cell + 2, width // cell + 2, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def landmarks_at(x, y, side, degrees=0.0):
    """Return the landmarks of a face whose aligned square is centred at (x, y), is `side` pixels wide, and is rotated to the right."""
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (TEMPLATE_512 / 512 - 0.5) * side @ rotation.T + (x, y)


def detected(landmarks, score=0.9):
    """Return the detected face with these landmarks, in a box around them."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    margin = 0.5 * (high - low)
    return DetectedFace(np.concatenate([low - margin, high + margin]), score, landmarks)


class FakeDetector:
    """A detector that returns those of the given faces whose score is above the threshold, in every image.

    With `shape`, (height, width), it returns none in images of another shape. It finds none in rotated copies of the image before, since
    FREx searches these, too. `asked` are the shapes of the images so far.
    """

    def __init__(self, *faces, shape=None):
        self.faces, self.shape, self.asked, self.last = faces, shape, [], threading.local()

    def detect(self, image, threshold=0.8):
        self.asked.append(image.shape)
        seen, turns = getattr(self.last, 'shown', (None, 3))
        if turns < 3 and np.array_equal(image, rotate_left(seen, turns + 1)):
            self.last.shown = seen, turns + 1
            return []
        self.last.shown = image, 0
        return [face for face in self.faces if face.score > threshold and self.shape in (None, image.shape[:2])]
