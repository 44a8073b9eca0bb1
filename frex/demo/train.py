"""`frex demo --train`: train a tiny FREx on two public-domain portraits, and restore unseen degradations of them.

The trainer reads its options and writes the checkpoint at fixed paths. The degraded and the restored images, 64 x 64, are compared with the
originals by PSNR and SSIM; too small a gain in PSNR is an error.

It shows that the whole system runs. A network that has seen two faces is no model for use.
"""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from frex import compat
from frex.data.degradation import PRESETS, degrade, draw_degradation
from frex.demo.portraits import read_portraits
from frex.errors import FRExError
from frex.images import Image, read_image, resize, write_image
from frex.options import RunOptions
from frex.restore import FaceRestorer
from frex.restore.detection.align import align_face

FOLDER = Path('results/demo')
OPTIONS = 'options/demo_frex.yml'
CHECKPOINT = Path('experiments/demo_frex/models/net_g_latest.pth')
TITLE = 'tiny FREx (64 x 64), trained on these two faces alone'
# Degradations of each face, and how many of them the image shows.
DRAWS = 16
SHOWN = 3
# Another seed than that of the option file, so that the degradations are unseen.
UNSEEN_SEED = 2024
MIN_GAIN_DB = 2.0


class DemoSample:
    """One degradation of one face: degraded, restored and original image, (64, 64, 3) BGR uint8.

    `psnr` (dB) and `ssim` are those of the degraded and of the restored image against the original.
    """

    def __init__(self, degraded: Image, restored: Image, original: Image) -> None:
        compat.install()
        from basicsr.metrics import calculate_psnr, calculate_ssim

        self.images = (degraded, restored, original)
        self.psnr = [calculate_psnr(image, original, crop_border=0) for image in (degraded, restored)]
        self.ssim = [calculate_ssim(image, original, crop_border=0) for image in (degraded, restored)]


def run() -> None:
    """Train, restore, write `comparison.png` into FOLDER and print the metrics.

    Raises FRExError where a package that ships a portrait is missing, and where the mean gain is less than MIN_GAIN_DB.
    """
    faces = write_faces(FOLDER / 'faces')
    train()
    restorer = FaceRestorer.from_pretrained(CHECKPOINT, device='auto')
    samples = [degrade_and_restore(restorer, face, [seed, number]) for seed in range(DRAWS) for number, face in enumerate(faces)]
    write_grid(samples[: SHOWN * len(faces)], FOLDER / 'comparison.png', TITLE)
    print_report(samples)


def write_faces(folder: Path) -> list[Path]:
    """Write the portraits' faces in FFHQ alignment into `folder`; return all PNG files in it, sorted."""
    for portrait in read_portraits():
        write_image(folder / f'{portrait.name}.png', align_face(portrait.image, portrait.landmarks))
    return sorted(folder.glob('*.png'))


def train() -> None:
    """Train with `options/demo_frex.yml`, which leaves CHECKPOINT; a progress bar replaces the trainer's log on the screen."""
    from frex.training import pipeline

    options = RunOptions(OPTIONS)
    with tqdm(desc='training', unit='step') as bar:
        pipeline.train(options, on_log=lambda log: _update_bar(bar, log))


def _update_bar(bar: Any, log: dict[str, Any]) -> None:
    """Show the step and the losses of an entry of the training log in the progress bar."""
    bar.total = log['total_iter']
    bar.set_postfix({name: f'{log[f"l_g_{name}"]:.3f}' for name in ('pix', 'pyramid')}, refresh=False)
    bar.update(log['iter'] - bar.n)


def degrade_and_restore(restorer: FaceRestorer, face: Path, seed: list[int]) -> DemoSample:
    """Degrade the face in the file `face` and restore it; `seed` is a list of numbers, and each list gives another degradation.

    No seed gives a degradation that training has seen.
    """
    original = resize(read_image(face), restorer.size)
    draws = draw_degradation(PRESETS['paper'], np.random.default_rng([UNSEEN_SEED, *seed]))
    degraded = (degrade(original.astype(np.float32) / 255, draws) * 255).round().astype(np.uint8)
    return DemoSample(degraded, restorer.restore_aligned(degraded), original)


def write_grid(samples: list[DemoSample], path: Path, title: str) -> None:
    """Write an image with one row per sample: degraded, restored, original. An existing file is replaced."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.05 * len(samples) + 0.5), layout='constrained')
    for row, item in enumerate(samples):
        labels = (f'degraded, {item.psnr[0]:.1f} dB', f'restored, {item.psnr[1]:.1f} dB', 'original')
        for column, (image, label) in enumerate(zip(item.images, labels, strict=True)):
            axes = figure.add_subplot(len(samples), 3, 3 * row + column + 1)
            axes.imshow(image[:, :, ::-1], interpolation='bilinear')
            axes.set_title(label, fontsize=9)
            axes.set_axis_off()
    figure.suptitle(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def print_report(samples: list[DemoSample]) -> None:
    """Print the mean PSNR and SSIM of degraded and restored faces.

    Raises FRExError where the mean gain in PSNR is less than MIN_GAIN_DB.
    """
    psnr = np.mean([item.psnr for item in samples], axis=0)
    ssim = np.mean([item.ssim for item in samples], axis=0)
    print(f'{len(samples)} unseen degradations of the two training faces at 64 x 64, means:')
    for column, name in enumerate(('degraded', 'restored')):
        print(f'  {name}  PSNR {psnr[column]:5.2f} dB   SSIM {ssim[column]:.3f}')
    print(f'image: {FOLDER / "comparison.png"}')
    print('This shows that the whole system runs. A network that has seen two faces is no model for use.')
    if psnr[1] - psnr[0] < MIN_GAIN_DB:
        raise FRExError(f'restoring gained only {psnr[1] - psnr[0]:.2f} dB, less than {MIN_GAIN_DB}')
