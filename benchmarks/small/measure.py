"""Measure restorers on faces of people that are not in their training set, degraded in the same way for all of them.

    python benchmarks/small/measure.py FREx=net_g_latest.pth U-Net=unet.pth --faces FOLDER --manifest FILE -o benchmarks/results/small

Each face is degraded by each preset once a seed; the degraded face depends only on its name, the preset and the seed. The row `input` is
the degraded face, already enlarged to its size bilinearly: the result without restoration. Writes `table.md`, `results.json` with the
scores of every image, and a contact sheet per preset: degraded, restored, clean (whoever owns the faces decides whether it may be shown).
"""

import csv
import json
import time
import zlib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from identity import Identity
from jaxtyping import Float
from restorers import RestoreFunction, Restorer, load_restorer, resize_around
from scores import COLUMNS, INPUT, check_goals, compute_means, group_images, to_markdown
from torch import Tensor

from frex.data.contact_sheet import draw_contact_sheet
from frex.data.degradation import PRESETS, degrade, draw_degradation
from frex.errors import FRExError
from frex.images import Image, list_images, read_image, resize, write_image
from frex.losses.stlpips_loss import ShiftTolerantLPIPS
from frex.metrics.pixelwise import psnr, ssim
from frex.tensors import to_tensor

TRUNKS = {'vgg': ('vgg',), 'alex': ('alex',), 'both': ('vgg', 'alex'), 'none': ()}
NOTES = (
    'PSNR and SSIM: RGB, 8 bits, nothing cropped. Images that their degradation left unchanged take no part in the mean PSNR.',
    'Severity: fifths of the degraded images of a preset by the PSNR of the input, 1 the mildest.',
    "Identity cosine: between descriptors of dlib's network of the restored and of the clean face. Those of two people are about 0.84.",
    'better: the share of images whose PSNR is above that of the input.',
)


@dataclass(frozen=True)
class Face:
    """A clean face, BGR uint8 at the size of the measurement, with its yaw in degrees."""

    name: str
    image: Image
    yaw: float


def read_faces(folder: Path, manifest: Path, size: int) -> list[Face]:
    """Return the faces in a folder with their yaw from the manifest; raise FRExError for one that it does not list."""
    with manifest.open(newline='') as stream:
        yaw = {Path(row['file']).name: float(row['yaw']) for row in csv.DictReader(stream)}
    paths = list_images(folder, '--faces')
    unknown = [path.name for path in paths if path.name not in yaw]
    if unknown:
        raise FRExError(f'--manifest {manifest}: does not list {len(unknown)} of the faces, as {unknown[0]}')
    return [Face(path.name, resize(read_image(path), size), yaw[path.name]) for path in paths]


def degrade_face(face: Face, preset: str, seed: int) -> Image:
    """Return the face degraded as FREx degrades training images; it is the same for the same name, preset and seed."""
    rng = np.random.default_rng([seed, zlib.crc32(face.name.encode()), list(PRESETS).index(preset)])
    return (degrade(face.image.astype(np.float32) / 255, draw_degradation(PRESETS[preset], rng)) * 255).round().astype(np.uint8)


class Scorer:
    """Computes all metrics of images against one batch of clean ones, which each network sees only once.

    `trunks` are those of ST-LPIPS; without `identity` there is no identity cosine. `set_clean` must be called before `score`.
    """

    def __init__(self, trunks: Sequence[str], identity: Identity | None) -> None:
        self.stlpips = {f'stlpips_{trunk}': ShiftTolerantLPIPS(trunk) for trunk in trunks}
        self.identity = identity

    @torch.inference_mode()
    def set_clean(self, images: Sequence[Image]) -> None:
        """Set the clean images (BGR) with which the next images are compared."""
        self.gt = _batch(images)
        self.features = {metric: net.features(self.gt) for metric, net in self.stlpips.items()}
        self.descriptors = self.gt if self.identity is None else self.identity.describe(self.gt)

    @torch.inference_mode()
    def score(self, images: Sequence[Image]) -> dict[str, Float[np.ndarray, ' image']]:
        """Return the scores of restored images (BGR) by metric key, in the order of COLUMNS."""
        faces = _batch(images)
        found = {'psnr': psnr(faces, self.gt), 'ssim': ssim(faces, self.gt)}
        found |= {metric: net.compare(net.features(faces), self.features[metric]) for metric, net in self.stlpips.items()}
        if self.identity is not None:
            found['identity'] = torch.cosine_similarity(self.identity.describe(faces), self.descriptors)
        return {metric: found[metric].double().numpy() for metric in COLUMNS if metric in found}


def _batch(images: Sequence[Image]) -> Float[Tensor, 'batch 3 size size']:
    return torch.stack([to_tensor(image) for image in images])


@dataclass(frozen=True)
class DegradedFaces:
    """The degradations that are measured: each face by each preset with `seeds` seeds."""

    faces: Sequence[Face]
    presets: Sequence[str]
    seeds: int
    batch_size: int = 12

    def batches(self) -> Iterator[Sequence[Face]]:
        """Yield the faces in batches."""
        yield from (self.faces[first : first + self.batch_size] for first in range(0, len(self.faces), self.batch_size))

    def yaw(self) -> Float[np.ndarray, ' image']:
        """Return the yaw of each degraded image of a preset, in the order in which they are scored."""
        return np.array([face.yaw for batch in self.batches() for _ in range(self.seeds) for face in batch])

    def names(self) -> list[tuple[str, int]]:
        """Return name and seed of each degraded image of a preset, in the same order."""
        return [(face.name, seed) for batch in self.batches() for seed in range(self.seeds) for face in batch]


def score_rows(
    degraded_faces: DegradedFaces, restorers: Mapping[str, RestoreFunction], scorer: Scorer
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the scores of each image by preset, row and metric, and the CPU seconds that each row's restoration took."""
    parts: dict[str, dict[str, list[Any]]] = {preset: {name: [] for name in (INPUT, *restorers)} for preset in degraded_faces.presets}
    seconds = dict.fromkeys(restorers, 0.0)
    for batch in degraded_faces.batches():
        scorer.set_clean([face.image for face in batch])
        for preset in degraded_faces.presets:
            for seed in range(degraded_faces.seeds):
                inputs = [degrade_face(face, preset, seed) for face in batch]
                parts[preset][INPUT].append(scorer.score(inputs))
                for name, restore in restorers.items():
                    start = time.process_time()
                    restored = restore(inputs)
                    seconds[name] += time.process_time() - start
                    parts[preset][name].append(scorer.score(restored))
    joined = {
        preset: {name: {metric: np.concatenate([part[metric] for part in found]) for metric in found[0]} for name, found in rows.items()}
        for preset, rows in parts.items()
    }
    return joined, seconds


def draw_restorations(degraded_faces: DegradedFaces, restorers: Mapping[str, RestoreFunction], preset: str, shown: int) -> Image:
    """Return a sheet (BGR) of the first `shown` faces with PSNR: the input with the first seed, each restoration, the clean face."""
    faces = degraded_faces.faces[:shown]
    clean = [face.image for face in faces]
    inputs = [degrade_face(face, preset, 0) for face in faces]
    rows = {INPUT: inputs} | {name: restore(inputs) for name, restore in restorers.items()}
    images, captions = [], []
    for name, row in rows.items():
        images += row
        captions += [f'{name[:14]} {value:.1f}' for value in psnr(_batch(row), _batch(clean)).tolist()]
    return draw_contact_sheet([*images, *clean], [*captions, *['clean'] * len(clean)], len(faces))


# --- The command


def measure(args: Namespace) -> dict[str, Any]:
    """Score all rows and write the results into `--output`, where earlier ones are replaced; return the content of `results.json`."""
    start = time.process_time()
    loaded = [_load(entry, args.param_key) for entry in args.checkpoints]
    size = args.size or max((restorer.size for restorer in loaded), default=64)
    restorers = {restorer.name: resize_around(restorer, size) for restorer in loaded}
    degraded_faces = DegradedFaces(read_faces(args.faces, args.manifest, size), args.presets, args.seeds)
    scorer = Scorer(TRUNKS[args.trunk], Identity(args.identity) if args.identity else None)
    scores, seconds = score_rows(degraded_faces, restorers, scorer)
    means: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    for preset, rows in scores.items():
        groups = group_images(degraded_faces.yaw(), rows[INPUT]['psnr'])
        means[preset] = {group.title: compute_means(rows, group) for group in groups}
        counts[preset] = {group.title: int(group.members.sum()) for group in groups}
    for preset in args.presets:
        write_image(args.output / f'contact_sheet_{preset}.png', draw_restorations(degraded_faces, restorers, preset, args.shown))
    trunk = f'stlpips_{TRUNKS[args.trunk][0]}' if TRUNKS[args.trunk] else ''
    count = len(degraded_faces.faces) * degraded_faces.seeds * len(degraded_faces.presets)
    goals = {name: {preset: check_goals(preset, means[preset], name, trunk) for preset in means} for name in restorers}
    results = {
        'faces': len(degraded_faces.faces),
        'size': size,
        'seeds': degraded_faces.seeds,
        'rows': {restorer.name: {'file': restorer.file, 'size': restorer.size} for restorer in loaded},
        'CPU seconds': round(time.process_time() - start, 1),
        'CPU milliseconds an image': {name: round(1e3 * spent / count, 1) for name, spent in seconds.items()},
        'means': means,
        'counts': counts,
        'goals': goals,
        'images': degraded_faces.names(),
        'scores': {preset: {name: _rounded(row) for name, row in rows.items()} for preset, rows in scores.items()},
    }
    (args.output / 'results.json').write_text(json.dumps(results) + '\n', encoding='utf-8')
    notes = [
        f'{len(degraded_faces.faces)} faces of {size} x {size}, {degraded_faces.seeds} degradations each by each preset; '
        f'{results["CPU seconds"]} CPU s.',
        *NOTES,
    ]
    (args.output / 'table.md').write_text(to_markdown(means, counts, goals, notes), encoding='utf-8')
    return results


def _load(entry: str, param_key: str) -> Restorer:
    name, _, file = entry.partition('=')
    if not name or not file or name == INPUT:
        raise FRExError(f'{entry}: NAME=FILE is needed, with another name than {INPUT}')
    return load_restorer(name, Path(file), param_key)


def _rounded(scores: Mapping[str, Float[np.ndarray, ' image']]) -> dict[str, list[float]]:
    return {metric: np.round(values, 4).tolist() for metric, values in scores.items()}


def _parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('checkpoints', nargs='*', metavar='NAME=FILE', help='FREx (.pth, .safetensors) or the plain U-Net (.pth)')
    parser.add_argument('--faces', required=True, type=Path, metavar='DIR', help='aligned clean faces')
    parser.add_argument('--manifest', required=True, type=Path, metavar='FILE', help='CSV with the columns file and yaw')
    parser.add_argument('--presets', nargs='+', choices=list(PRESETS), default=list(PRESETS), help='presets of degradations (default: all)')
    parser.add_argument('--seeds', type=int, default=5, metavar='N', help='degradations of each face by each preset (default: 5)')
    parser.add_argument('--size', type=int, metavar='PIXELS', help='size of the measured faces (default: that of the largest network)')
    parser.add_argument('--param_key', default='params_ema', metavar='KEY', help='which weights of a .pth of FREx (default: params_ema)')
    parser.add_argument('--trunk', choices=list(TRUNKS), default='vgg', help='trunk of ST-LPIPS: the one not trained with (default: vgg)')
    parser.add_argument('--identity', type=Path, metavar='DIR', help="dlib's network, fetched if missing: adds the identity cosine")
    parser.add_argument('--shown', type=int, default=8, metavar='N', help='faces on the contact sheets (default: 8)')
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='DIR')
    return parser


if __name__ == '__main__':
    arguments = _parser().parse_args()
    measure(arguments)
    print((arguments.output / 'table.md').read_text(encoding='utf-8'), end='')
