"""`frex balance`: choose faces of a pool with |yaw| as evenly distributed as it allows, like the paper's Balanced CelebAHQ Test.

It writes:
images/NAME           the chosen images, copied byte for byte or linked; with dataset.json where cameras are known
ids.txt               their names, one per line
balance.json          settings, the counts of each bin, each image's yaw and SHA-256, and which faces were left out, with the reason
histogram.png         |yaw| of the pool and of the chosen faces
contact_sheet.jpg     some of the chosen faces, ordered by yaw
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
from frex.testsets.set_folder import SHEET, SetFolder, check_output_outside
from frex.testsets.yaw import LABELS, PoseOptions, Poses, choose_pose_source, find_poses, labels_file
from frex.utils.extras import require
from frex.utils.files import replacing, sha256
from frex.utils.seeding import check_seed

RECORD = 'balance.json'
SHOWN, TILE = 48, 160
# The smallest width of a bin in degrees; no pose is known more accurately.
MIN_BIN_DEGREES = 0.1


@dataclass(frozen=True, kw_only=True)
class BalanceOptions(PoseOptions):
    """Choose `num` faces of `pool` and write them to `output`.

    `bin_degrees` is the width of a bin of |yaw|; with `link` the images are linked instead of copied.
    """

    output: Path
    num: int
    seed: int = 0
    bin_degrees: float = 5.0
    link: bool = False


def balance(options: BalanceOptions) -> None:
    """Choose faces, write them and print where they are; raise FRExError for invalid options or input.

    A set that is complete is checked and left as it is.
    """
    check_seed(options.seed)
    if not MIN_BIN_DEGREES <= options.bin_degrees <= 180:
        raise FRExError(f'--bin_degrees {options.bin_degrees:g}: from {MIN_BIN_DEGREES} to 180 is needed')
    require('matplotlib', 'the histogram')
    check_output_outside(options.pool, options.output, 'POOL')
    folder = SetFolder(options.output, RECORD)
    try:
        sources = images_below(options.pool)
        pose_source = choose_pose_source(options)
        settings = _settings(options, pose_source, sources)
        record = folder.read_set()
        if record is None or 'images' not in record:
            poses = find_poses(pose_source, sources, options)
            choice = choose(poses.yaw, options.num, options.bin_degrees, options.seed)
            _write(folder, folder.begin_set(settings), sources, poses, choice, options.link)
        else:
            folder.begin_set(settings)
            folder.check_whole(record)
    except OSError as error:
        raise FRExError(f'a file cannot be read or written: {error}') from None
    print(f'{options.num} faces in {folder.images}, named in {folder.root / "ids.txt"}; look at {folder.root / HISTOGRAM}')


def _settings(options: BalanceOptions, pose_source: str, sources: Mapping[str, Path]) -> dict[str, Any]:
    """Return the settings on which the set depends, for its record."""
    names = hashlib.sha256('\n'.join(sources).encode(errors='surrogateescape')).hexdigest()
    settings = {'num': options.num, 'seed': options.seed, 'bin_degrees': options.bin_degrees, 'pose': pose_source, 'link': options.link}
    settings |= {'pool': len(sources), 'pool_names_sha256': names}
    if pose_source == 'labels':
        settings['cameras_sha256'] = hashlib.sha256(read_file(labels_file(options))).hexdigest()
    return settings | ({'frame': options.frame, 'det_threshold': options.det_threshold} if pose_source == 'landmarks' else {})


def _write(folder: SetFolder, record: dict[str, Any], sources: Mapping[str, Path], poses: Poses, choice: Choice, link: bool) -> None:
    """Write images, labels, contact sheet, histogram and list of names, and at last the record."""
    _report(poses, len(sources), choice)
    folder.check_images(choice.names)
    for name in choice.names:
        copy_or_link(sources[name], folder.images / name, link)
    chosen = set(choice.names)
    cameras, crops = (as_lists({name: vectors[name] for name in vectors.keys() & chosen}) for vectors in (poses.cameras, poses.crops))
    if cameras:
        write_labels(folder.images / LABELS, cameras, crops)
    write_image(folder.root / SHEET, _sheet(folder, poses, choice))
    draw_histogram(choice, folder.root / HISTOGRAM)
    with replacing(folder.root / 'ids.txt') as part:
        part.write_text('\n'.join(choice.names) + '\n', encoding='utf-8', errors='surrogateescape')
    images = {name: {'yaw': round(poses.yaw[name], 3), 'sha256': sha256(folder.images / name)} for name in choice.names}
    # The record is written last: a record with images belongs to a complete set.
    folder.write(record | {'level': choice.level, 'bins': _bins(choice), 'images': images, 'left_out': poses.unknown})


def _report(poses: Poses, count: int, choice: Choice) -> None:
    """Print the images that were left out and the number of faces chosen from each bin."""
    for name, reason in poses.unknown.items():
        print(f'left out: {name}: {reason}', file=sys.stderr)
    if poses.unknown:
        print(f'{len(poses.unknown)} of {count} images left out, their pose is not known')
    for entry in _bins(choice):
        print(f'|yaw| {entry["from"]:3g} to {entry["to"]:3g}: {entry["chosen"]} of {entry["pool"]}')


def _bins(choice: Choice) -> list[dict[str, float]]:
    """Return the edges and counts of each bin, for the record."""
    edges = [choice.bin_degrees * index for index in range(len(choice.pool) + 1)]
    bins = zip(edges[:-1], edges[1:], choice.pool.tolist(), choice.chosen.tolist(), strict=True)
    return [{'from': low, 'to': high, 'pool': pool, 'chosen': chosen} for low, high, pool, chosen in bins]


def copy_or_link(source: Path, target: Path, link: bool) -> None:
    """Copy a file atomically, or make a symbolic link to it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        if link:
            os.symlink(source.resolve(), part)
        else:
            shutil.copyfile(source, part)


def _sheet(folder: SetFolder, poses: Poses, choice: Choice) -> Image:
    """Return a contact sheet of chosen faces, ordered by yaw."""
    names = sorted(choice.names, key=lambda name: poses.yaw[name])
    shown = [names[index] for index in np.linspace(0, len(names) - 1, min(len(names), SHOWN)).round().astype(int).tolist()]
    tiles = [resize(read_image(folder.images / name), TILE) for name in shown]
    return contact_sheet(tiles, [f'{poses.yaw[name]:+.0f} {name[-17:]}' for name in shown], size=TILE)


HISTOGRAM = 'histogram.png'


def draw_histogram(choice: Choice, path: Path) -> None:
    """Plot the counts of the pool and of the chosen faces side by side, each with its own scale and the level."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout='constrained')
    before, after = figure.subplots(1, 2)
    _draw(before, choice, choice.pool, 'pool', '0.55')
    _draw(after, choice, choice.chosen, 'chosen', 'C0')
    with replacing(path) as part:
        figure.savefig(part, dpi=120, format='png')


def _draw(axes: Any, choice: Choice, counts: Counts, title: str, color: str) -> None:
    """Draw one histogram."""
    edges = choice.bin_degrees * np.arange(len(counts) + 1)
    axes.bar(edges[:-1], counts, width=choice.bin_degrees, align='edge', color=color, edgecolor='white')
    axes.axhline(choice.level, color='C3', linestyle='--', linewidth=1, label=f'level {choice.level}')
    axes.set_title(f'{title}: {counts.sum()} faces')
    axes.set_xlabel('|yaw| in degrees')
    axes.set_ylabel('faces')
    axes.set_xlim(0, edges[-1])
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc='upper right', fontsize=8)
