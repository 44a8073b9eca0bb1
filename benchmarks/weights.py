"""Draw what `--fidelity_weight` and `--structure_weight` do, with the network that `frex demo --train` has trained.

frex demo --train
python benchmarks/weights.py -o benchmarks/results/weights.png
"""

from argparse import ArgumentParser
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from frex.data.degradation import PRESETS, degrade, draw_degradation
from frex.demo.train import CHECKPOINT, FOLDER, UNSEEN_SEED
from frex.images import Image, read_image, resize
from frex.restore import FaceRestorer

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
RESTORATION_WEIGHTS = ('fidelity_weight', 'structure_weight')


def degrade_face(path: Path, size: int) -> tuple[Image, Image]:
    """Return the (degraded, clean) images of a face at `size` x `size`, BGR uint8; training has not seen the degradation."""
    clean = resize(read_image(path), size)
    lq = degrade(clean.astype(np.float32) / 255, draw_degradation(PRESETS['paper'], np.random.default_rng([UNSEEN_SEED, 3])))
    return (lq * 255).round().astype(np.uint8), clean


def draw_figure(restorer: FaceRestorer, faces: list[Path]) -> Figure:
    """Return a figure with a row per option and face: the input, the results with weights from 0 to 1, the clean face."""
    columns = len(WEIGHTS) + 2
    drawn = Figure(figsize=(1.5 * columns, 1.75 * len(faces) * len(RESTORATION_WEIGHTS)), layout='constrained')
    place = 0
    for option in RESTORATION_WEIGHTS:
        for path in faces:
            lq, clean = degrade_face(path, restorer.size)
            results = {f'{option.partition("_")[0]} {weight:g}': restorer.restore_aligned(lq, **{option: weight}) for weight in WEIGHTS}
            for title, image in {'degraded': lq, **results, 'original': clean}.items():
                place += 1
                axes = drawn.add_subplot(len(faces) * len(RESTORATION_WEIGHTS), columns, place)
                axes.imshow(image[:, :, ::-1], interpolation='bilinear')
                axes.set_title(title, fontsize=8)
                axes.set_axis_off()
    return drawn


if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='FILE')
    args = parser.parse_args()
    restorer = FaceRestorer.from_pretrained(CHECKPOINT)
    draw_figure(restorer, sorted((FOLDER / 'faces').glob('*.png'))).savefig(args.output, dpi=100)
