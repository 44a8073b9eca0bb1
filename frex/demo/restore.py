"""`frex demo`: restore two portraits that no model of this package was trained on, and measure the gain."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from frex.demo.degradations import DEGRADATIONS, IN_PHOTOGRAPH, FixedDegradation, apply_degradation
from frex.demo.figures import write_comparison, write_turntable
from frex.demo.portraits import Portrait, RestoredPortrait, measure_portrait, read_portraits
from frex.errors import FRExError
from frex.heads.views import VIEWS, render_views, turn_cameras
from frex.images import Image
from frex.restore import FaceRestorer
from frex.restore.detection.align import align_face, cut_face, face_matrix, scale_of
from frex.restore.detection.detector import DetectedFace
from frex.restore.faces.photo import cut_out
from frex.restore.image_io.photo_file import from_array
from frex.utils.text import in_columns
from frex.weights import small_model
from frex_arch.crop import MEAN_CROP

FOLDER = Path('results/demo')
MIN_GAIN_DB = 1.0
# The degradation whose restored heads are shown turning.
TURNED = 'all together'
HEAD = ('degradation', 'PSNR input', 'restored', 'gain', 'SSIM input', 'restored', 'gain')


def run(model: Path | None = None, folder: Path = FOLDER, device: str = 'auto') -> None:
    """Restore the portraits with the checkpoint `model` (None: the small FREx of the package); write and print the results.

    Raises FRExError where the checkpoint is missing or damaged, where a package that ships a portrait is missing, and where the mean gain
    is less than MIN_GAIN_DB.
    """
    if model is None and not small_model.PATH.is_file():
        raise FRExError(
            'the small FREx that comes with the package is not in this installation; '
            'give a checkpoint by --model_path, or train a tiny FREx: frex demo --train'
        )
    restorer = FaceRestorer.from_pretrained(model, device)
    if model is None:
        print(small_model.small_model_notice(restorer.size))
    demonstrate(restorer, folder)


def demonstrate(restorer: FaceRestorer, folder: Path, min_gain: float = MIN_GAIN_DB) -> None:
    """Restore the portraits, write figures to `folder`, where existing ones are replaced, and print the table.

    Figures of turning heads are written only where the network has a 3D prior. Raises FRExError where the mean gain in PSNR of the aligned
    faces is less than `min_gain` dB; the figures are written before.
    """
    portraits = read_portraits()
    faces = restore_aligned(restorer, portraits)
    photographs = restore_photographs(restorer, portraits)
    size = restorer.size
    title = f'two portraits that the network has not seen, {size} x {size} pixels: input, restored, truth'
    write_comparison([*faces, *photographs], folder / 'comparison.png', title)
    print(f'{len(portraits)} portraits that the network has not seen, {size} x {size} pixels, means in dB and SSIM:')
    print('\n'.join(format_table(faces, photographs)))
    print(f'images: {folder / "comparison.png"}')
    heads = render_turning_heads(restorer, [sample for sample in faces if sample.row == TURNED])
    if heads:
        write_turntable(heads, folder)
        print(f'the restored heads, turning: {folder / "turntable.gif"}, {folder / "turntable_strip.png"}')
    check_gain(faces, min_gain)


def restore_aligned(restorer: FaceRestorer, portraits: Sequence[Portrait]) -> list[RestoredPortrait]:
    """Degrade the aligned faces by each of DEGRADATIONS and restore them; the network does not get the landmarks of the clean face.

    Raises FRExError where a face is not restored.
    """
    truths = [align_face(portrait.image, portrait.landmarks, restorer.size) for portrait in portraits]
    inputs = [
        (degradation, truth, apply_degradation(truth, degradation, restorer.size, [number, person]))
        for number, degradation in enumerate(DEGRADATIONS)
        for person, truth in enumerate(truths)
    ]
    restorations = restorer.restore_faces([degraded for _, _, degraded in inputs], details=True)
    samples = []
    for (degradation, truth, degraded), restoration in zip(inputs, restorations, strict=True):
        if restoration.image is None:
            raise FRExError(f'{degradation.name}: not restored: {restoration.problem}')
        samples.append(measure_portrait(degradation.name, (degraded, restoration.image, truth))._replace(output=restoration.output))
    return samples


def restore_photographs(restorer: FaceRestorer, portraits: Sequence[Portrait]) -> list[RestoredPortrait]:
    """Degrade the portraits' photographs by each degradation in IN_PHOTOGRAPH and restore them as `restore_photograph` does."""
    degradations = [(number, degradation) for number, degradation in enumerate(DEGRADATIONS) if degradation.name in IN_PHOTOGRAPH]
    return [
        restore_photograph(restorer, portrait, degradation, [number, person, 1])
        for number, degradation in degradations
        for person, portrait in enumerate(portraits)
    ]


def restore_photograph(restorer: FaceRestorer, portrait: Portrait, degradation: FixedDegradation, seed: list[int]) -> RestoredPortrait:
    """Degrade a photograph, reduced so that its face is not larger than the network's, restore its face and paste it.

    `seed` is that of `apply_degradation`. The landmarks of the clean face say where the face is. The metrics compare the aligned face only.
    Raises FRExError where the face is not restored.
    """
    scale = min(1.0, scale_of(face_matrix(portrait.landmarks, restorer.size)))
    truth = cv2.resize(portrait.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    landmarks = portrait.landmarks * (truth.shape[1] / portrait.image.shape[1], truth.shape[0] / portrait.image.shape[0])
    matrix = face_matrix(landmarks, restorer.size)
    degraded = apply_degradation(truth, degradation, restorer.size / scale_of(matrix), seed)
    box = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])
    photo = from_array(degraded)
    # Use the mean crop: the crop of the clean face would reveal more than the place of the face.
    face = replace(cut_out(photo, DetectedFace(box, 1.0, landmarks), restorer.size), crop=np.array(MEAN_CROP))
    restorations = restorer.restore_found([face])
    if restorations[0].image is None:
        raise FRExError(f'{degradation.name}: not restored: {restorations[0].problem}')
    pasted = restorer.paste(photo, [face], restorations).image
    faces = (degraded, pasted, truth)
    measured = measure_portrait(
        f'{degradation.name}, in the photograph',
        (
            cut_face(degraded, matrix, restorer.size),
            cut_face(pasted, matrix, restorer.size),
            cut_face(truth, matrix, restorer.size),
        ),
    )
    return measured._replace(images=faces)


def format_table(faces: Sequence[RestoredPortrait], photographs: Sequence[RestoredPortrait]) -> list[str]:
    """Return the lines of the table: means over the portraits for each degradation, for all aligned faces, and for the photographs."""
    rows = [_format_row(name, [sample for sample in faces if sample.row == name]) for name in dict.fromkeys(sample.row for sample in faces)]
    rows.append(_format_row('mean of the aligned faces', faces))
    for name in dict.fromkeys(sample.row for sample in photographs):
        rows.append(_format_row(name, [sample for sample in photographs if sample.row == name]))
    return [f'  {line}' for line in in_columns([HEAD, *rows])]


def _format_row(name: str, samples: Sequence[RestoredPortrait]) -> tuple[str, ...]:
    """Return the cells of one row: `name`; the mean PSNR of inputs and results and the gain, in dB; the same three in SSIM."""
    decibels = np.mean([sample.psnr for sample in samples], axis=0)
    ssim_mean = np.mean([sample.ssim for sample in samples], axis=0)
    return (
        name,
        *(f'{value:.2f}' for value in decibels),
        f'{decibels[1] - decibels[0]:+.2f}',
        *(f'{value:.3f}' for value in ssim_mean),
        f'{ssim_mean[1] - ssim_mean[0]:+.3f}',
    )


def render_turning_heads(restorer: FaceRestorer, samples: Sequence[RestoredPortrait]) -> list[list[Image]]:
    """Return the views (BGR) of each portrait's 3D prior from one side to the other; empty where the network has no 3D prior."""
    if restorer.net.eg3d is None:
        return []
    codes = [sample.output.ws for sample in samples if sample.output is not None and sample.output.ws is not None]
    return [render_views(restorer.net.eg3d, ws, turn_cameras(VIEWS)) for ws in codes]


def check_gain(samples: Sequence[RestoredPortrait], min_gain: float) -> None:
    """Raise FRExError where the mean gain in PSNR is less than `min_gain` dB."""
    gain = float(np.mean([after - before for before, after in (sample.psnr for sample in samples)]))
    if not gain >= min_gain:
        raise FRExError(f'restoring gained {gain:.2f} dB on average, less than {min_gain:g}')
