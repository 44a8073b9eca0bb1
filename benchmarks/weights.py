"""What `--fidelity_weight` and `--structure_weight` do: an image, from the network that `frex demo --train` has trained.

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
KNOBS = ('fidelity_weight', 'structure_weight')


def degraded(path: Path, size: int) -> tuple[Image, Image]:
    """A degradation that training has not seen, and the clean face."""
    clean = resize(read_image(path), size)
    lq = degrade(clean.astype(np.float32) / 255, draw_degradation(PRESETS['paper'], np.random.default_rng([UNSEEN_SEED, 3])))
    return (lq * 255).round().astype(np.uint8), clean


def figure(restorer: FaceRestorer, faces: list[Path]) -> Figure:
    """A row for each face and weight: input, the results from 0 to 1, the clean face."""
    columns = len(WEIGHTS) + 2
    drawn = Figure(figsize=(1.5 * columns, 1.75 * len(faces) * len(KNOBS)), layout='constrained')
    place = 0
    for knob in KNOBS:
        for path in faces:
            lq, clean = degraded(path, restorer.size)
            results = {f'{knob.partition("_")[0]} {weight:g}': restorer.restore_aligned(lq, **{knob: weight}) for weight in WEIGHTS}
            for title, image in {'degraded': lq, **results, 'original': clean}.items():
                place += 1
                axes = drawn.add_subplot(len(faces) * len(KNOBS), columns, place)
                axes.imshow(image[:, :, ::-1], interpolation='bilinear')
                axes.set_title(title, fontsize=8)
                axes.set_axis_off()
    return drawn


if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('-o', '--output', required=True, type=Path, metavar='FILE')
    args = parser.parse_args()
    restorer = FaceRestorer.from_pretrained(CHECKPOINT)
    figure(restorer, sorted((FOLDER / 'faces').glob('*.png'))).savefig(args.output, dpi=100)
