"""`frex balance`: faces of a pool in poses as even as it allows, as the paper's Balanced CelebAHQ Test.

images/NAME           the chosen images, copied byte for byte or linked; with dataset.json where cameras are known
ids.txt               their names, a line each
balance.json          settings, the counts of each bin, each image's yaw and sum, which faces were left out and why
histogram.png         |yaw| of the pool and of the chosen
contact_sheet.jpg     some of the chosen, by yaw
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frex.data.contact_sheet import contact_sheet
from frex.data.labels import as_lists, write_labels
from frex.data.sources import images_below, read_file
from frex.errors import FRExError
from frex.images import Image, read_image, resize, write_image
from frex.testsets.even_sampling import Choice, Counts, choose
from frex.testsets.set_folder import SHEET, SetFolder, check_apart
from frex.testsets.yaw import LABELS, PoseOptions, Poses, choose_way, find_poses, labels_file
from frex.utils.extras import need_matplotlib
from frex.utils.files import replacing, sha256
from frex.utils.seeding import check_seed

RECORD = 'balance.json'
SHOWN, TILE = 48, 160
# Of a bin, in degrees; no pose is known better.
LEAST_WIDTH = 0.1


@dataclass(frozen=True, kw_only=True)
class BalanceOptions(PoseOptions):
    """What to choose: `num` faces of `pool`, written to `output`, with bins of |yaw| of `bin_degrees`; `link` instead of copying."""

    output: Path
    num: int
    seed: int = 0
    bin_degrees: float = 5.0
    link: bool = False


def balance(options: BalanceOptions) -> None:
    """Choose faces, write them and print what is there; raises FRExError for what cannot be done."""
    check_seed(options.seed)
    if not LEAST_WIDTH <= options.bin_degrees <= 180:
        raise FRExError(f'--bin_degrees {options.bin_degrees:g}: from {LEAST_WIDTH} to 180 is needed')
    need_matplotlib('the histogram')
    check_apart(options.pool, options.output, 'POOL')
    folder = SetFolder(options.output, RECORD)
    try:
        pictures = images_below(options.pool)
        way = choose_way(options)
        asked = _settings(options, way, pictures)
        record = folder.record_of_set()
        if record is None or 'images' not in record:
            poses = find_poses(way, pictures, options)
            choice = choose(poses.yaw, options.num, options.bin_degrees, options.seed)
            _write(folder, folder.begin_set(asked), pictures, poses, choice, options.link)
        else:
            folder.begin_set(asked)
            folder.check_whole(record)
    except OSError as error:
        raise FRExError(f'a file cannot be read or written: {error}') from None
    print(f'{options.num} faces in {folder.images}, named in {folder.root / "ids.txt"}; look at {folder.root / HISTOGRAM}')


def _settings(options: BalanceOptions, way: str, pictures: Mapping[str, Path]) -> dict[str, Any]:
    names = hashlib.sha256('\n'.join(pictures).encode(errors='surrogateescape')).hexdigest()
    settings = {'num': options.num, 'seed': options.seed, 'bin_degrees': options.bin_degrees, 'pose': way, 'link': options.link}
    settings |= {'pool': len(pictures), 'pool_names_sha256': names}
    if way == 'labels':
        settings['cameras_sha256'] = hashlib.sha256(read_file(labels_file(options))).hexdigest()
    return settings | ({'frame': options.frame, 'det_threshold': options.det_threshold} if way == 'landmarks' else {})


def _write(folder: SetFolder, record: dict[str, Any], pictures: Mapping[str, Path], poses: Poses, choice: Choice, link: bool) -> None:
    _report(poses, len(pictures), choice)
    folder.check_pictures(choice.names)
    for name in choice.names:
        copy_or_link(pictures[name], folder.images / name, link)
    chosen = set(choice.names)
    cameras, crops = (as_lists({name: vectors[name] for name in vectors.keys() & chosen}) for vectors in (poses.cameras, poses.crops))
    if cameras:
        write_labels(folder.images / LABELS, cameras, crops)
    write_image(folder.root / SHEET, _sheet(folder, poses, choice))
    draw_histogram(choice, folder.root / HISTOGRAM)
    with replacing(folder.root / 'ids.txt') as part:
        part.write_text('\n'.join(choice.names) + '\n', encoding='utf-8', errors='surrogateescape')
    images = {name: {'yaw': round(poses.yaw[name], 3), 'sha256': sha256(folder.images / name)} for name in choice.names}
    # Last: a record with images is that of a whole set.
    folder.write(record | {'level': choice.level, 'bins': _bins(choice), 'images': images, 'left_out': poses.unknown})


def _report(poses: Poses, count: int, choice: Choice) -> None:
    for name, reason in poses.unknown.items():
        print(f'left out: {name}: {reason}', file=sys.stderr)
    if poses.unknown:
        print(f'{len(poses.unknown)} of {count} images left out, their pose is not known')
    for entry in _bins(choice):
        print(f'|yaw| {entry["from"]:3g} to {entry["to"]:3g}: {entry["chosen"]} of {entry["pool"]}')


def _bins(choice: Choice) -> list[dict[str, float]]:
    edges = [choice.bin_degrees * place for place in range(len(choice.pool) + 1)]
    bins = zip(edges[:-1], edges[1:], choice.pool.tolist(), choice.chosen.tolist(), strict=True)
    return [{'from': low, 'to': high, 'pool': pool, 'chosen': chosen} for low, high, pool, chosen in bins]


def copy_or_link(source: Path, target: Path, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        if link:
            os.symlink(source.resolve(), part)
        else:
            shutil.copyfile(source, part)


def _sheet(folder: SetFolder, poses: Poses, choice: Choice) -> Image:
    names = sorted(choice.names, key=lambda name: poses.yaw[name])
    shown = [names[place] for place in np.linspace(0, len(names) - 1, min(len(names), SHOWN)).round().astype(int).tolist()]
    tiles = [resize(read_image(folder.images / name), TILE) for name in shown]
    return contact_sheet(tiles, [f'{poses.yaw[name]:+.0f} {name[-17:]}' for name in shown], size=TILE)


HISTOGRAM = 'histogram.png'


def draw_histogram(choice: Choice, path: Path) -> None:
    """Write both counts side by side, each with its own scale and the level."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout='constrained')
    before, after = figure.subplots(1, 2)
    _draw(before, choice, choice.pool, 'pool', '0.55')
    _draw(after, choice, choice.chosen, 'chosen', 'C0')
    with replacing(path) as part:
        figure.savefig(part, dpi=120, format='png')


def _draw(axes: Any, choice: Choice, counts: Counts, what: str, colour: str) -> None:
    edges = choice.bin_degrees * np.arange(len(counts) + 1)
    axes.bar(edges[:-1], counts, width=choice.bin_degrees, align='edge', color=colour, edgecolor='white')
    axes.axhline(choice.level, color='C3', linestyle='--', linewidth=1, label=f'level {choice.level}')
    axes.set_title(f'{what}: {counts.sum()} faces')
    axes.set_xlabel('|yaw| in degrees')
    axes.set_ylabel('faces')
    axes.set_xlim(0, edges[-1])
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc='upper right', fontsize=8)
