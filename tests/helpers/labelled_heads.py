"""Heads whose cameras are known: where their landmarks lie, images that show them as dots, and label files as EG3D writes them."""

import json

import cv2
import numpy as np
import torch

from frex.data.landmarks import MEAN_HEAD, WORLD_ORIGIN, WORLD_UNIT, project_points
from frex.restore.detection.detector import DetectedFace
from frex_arch.camera import ffhq_intrinsics, look_along, mirror_camera, pack_camera, pack_pose

# Grey values of the dots that stand for eyes, nose and mouth.
DOTS = (250, 210, 170, 130, 90)
# From an image in FFHQ's alignment to EG3D's crop.
FFHQ_CROP = (1.083, -22 / 512, -66 / 512)
# The mean head leans to one side by half a degree.
SYMMETRIC = (MEAN_HEAD + MEAN_HEAD[[1, 0, 2, 4, 3]] * (-1, 1, 1)) / 2


def camera(yaw, pitch=0.0, roll=0.0):
    """Return the 25 numbers of a camera at angles in degrees, which looks at the middle of the head as EG3D's crop does.

    It stands 2.7 units of the world from the origin.
    """
    y, p, r = np.radians([yaw, pitch, roll])
    forward = -torch.tensor([[np.sin(y) * np.cos(p), np.sin(p), np.cos(y) * np.cos(p)]])
    turned = look_along(forward, torch.zeros(1, 3, dtype=forward.dtype))[0, :3, :3].numpy()
    turned = turned @ np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    distances = np.linspace(2, 3.5, 150001)[:, None]
    places = WORLD_ORIGIN - distances * forward.numpy()
    place = places[np.abs(np.linalg.norm(places, axis=1) - 2.7).argmin()]
    packed = pack_pose(torch.from_numpy(turned)[None], torch.from_numpy(place)[None])
    return pack_camera(packed, ffhq_intrinsics()[None].double())[0].numpy()


# Of three images; EG3D's finished zip counts them through with their mirror images.
FFHQ_CAMERAS = {'00000.png': camera(10, 3), '00001.png': camera(-25, -4, 2), '00003.png': camera(40)}


def in_world(head=SYMMETRIC):
    """Return the landmarks of a head in the coordinates of cameras."""
    return WORLD_UNIT * head + WORLD_ORIGIN


class DotDetector:
    """A detector that finds the landmarks that `write_face` draws as dots; it finds no face where a dot is missing."""

    key = 'dots'

    def detect(self, image, threshold=0.8):
        grey = image[:, :, 0]
        if not all((grey == dot).any() for dot in DOTS):
            return []
        landmarks = np.array([np.argwhere(grey == dot).mean(axis=0)[::-1] + 0.5 for dot in DOTS])
        # The one to the left comes first, in a mirrored face too.
        for pair in ([0, 1], [3, 4]):
            landmarks[pair] = sorted(landmarks[pair].tolist())
        return [DetectedFace(np.array([*landmarks.min(axis=0), *landmarks.max(axis=0)]), 0.9, landmarks)]


def write_face(path, label, crop=(1.0, 0.0, 0.0)):
    """Write an image with dots where the camera `label` sees the head's landmarks; `crop` leads from the image to EG3D's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros((512, 512, 3), np.uint8)
    for (x, y), grey in zip((project_points(in_world(), label) - crop[1:]) / crop[0] * 512 - 0.5, DOTS, strict=True):
        # With four more binary digits of the place.
        cv2.circle(image, (round(x * 16), round(y * 16)), 8 * 16, (grey,) * 3, -1, cv2.LINE_8, 4)
    cv2.imwrite(str(path), image)


def write_label_file(path, labels, **more):
    """Write a label file with cameras by the names of their images and `more` entries; return its path."""
    path.write_text(json.dumps({'labels': [[name, np.asarray(label).tolist()] for name, label in labels.items()], **more}))
    return path


def cropping_entry(landmarks, unit=300):
    """Return an entry of `cropping_params.json` as EG3D writes it; `unit` is its `rescale_factor`."""
    return {
        'lm': np.asarray(landmarks).tolist(),
        'lm3d_std': SYMMETRIC.tolist(),
        'rescale_factor': unit,
        'center_crop_size': 700,
        'output_size': 512,
    }


def write_cropping_params(path, **entries):
    """Write a `cropping_params.json` with entries by the stems of their images; return its path."""
    path.write_text(json.dumps({f'{name}.png': value for name, value in entries.items()}))
    return path


def mirrored(label):
    """Return the camera of the mirror image."""
    return mirror_camera(torch.from_numpy(np.asarray(label))[None])[0].numpy()


def named_labels():
    """Return labels by the names in the file that EG3D's script downloads."""
    return FFHQ_CAMERAS | {name.replace('.png', '_mirror.png'): mirrored(label) for name, label in FFHQ_CAMERAS.items()}


def counted_labels(labels=None):
    """Return labels by the numbered names in EG3D's zip."""
    labels = labels or named_labels()
    return {f'00000/img{number:08d}.png': labels[name] for number, name in enumerate(sorted(labels))}
