"""`frex balance`: choose faces of a pool with |yaw| as evenly distributed as the pool allows, like the paper's Balanced CelebAHQ Test.

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

from frex.data.contact_sheet import draw_contact_sheet
from frex.data.labels import labels_to_lists, write_labels
from frex.data.sources import find_images, read_file
from frex.errors import FRExError
from frex.images import Image, read_image, resize, write_image
from frex.testsets.even_sampling import Choice, Counts, choose_evenly
from frex.testsets.test_set_folder import SHEET, TestSetFolder, check_output_outside
from frex.testsets.yaw import LABELS, FoundYaw, YawOptions, choose_yaw_source, find_labels_file, find_yaw
from frex.utils.extras import require_package
from frex.utils.files import sha256, write_atomically
from frex.utils.seeding import check_seed

RECORD, HISTOGRAM = 'balance.json', 'histogram.png'
# The number of faces on the contact sheet, and their size on it in pixels.
SHOWN, TILE = 48, 160
# The smallest width of a bin in degrees; no yaw is known more accurately.
MIN_BIN_DEGREES = 0.1


@dataclass(frozen=True, kw_only=True)
class BalanceOptions(YawOptions):
    """Choose `num` faces of `pool` at random with `seed`, and write them to the folder `output`, which must not lie in `pool`.

    `bin_degrees` is the width of a bin of |yaw|. With `link` the images are linked instead of copied.
    """

    output: Path
    num: int
    seed: int = 0
    bin_degrees: float = 5.0
    link: bool = False


def balance(options: BalanceOptions) -> None:
    """Choose faces, write the test set and print where it is.

    Of a complete set only the settings and the checksum of each image are verified. Raises FRExError for invalid options or input, and
    where an existing set has other settings or an image of it is missing or changed.
    """
    check_seed(options.seed)
    if not MIN_BIN_DEGREES <= options.bin_degrees <= 180:
        raise FRExError(f'--bin_degrees {options.bin_degrees:g}: from {MIN_BIN_DEGREES} to 180 is needed')
    require_package('matplotlib', 'the histogram')
    check_output_outside(options.pool, options.output, 'POOL')
    folder = TestSetFolder(options.output, RECORD)
    try:
        sources = find_images(options.pool, 'POOL')
        yaw_source = choose_yaw_source(options)
        settings = _collect_settings(options, yaw_source, sources)
        record = folder.read_set()
        if record is None or 'images' not in record:
            found = find_yaw(yaw_source, sources, options)
            choice = choose_evenly(found.yaw, options.num, options.bin_degrees, options.seed)
            _write_set(folder, folder.begin_set(settings), sources, found, choice, options.link)
        else:
            folder.begin_set(settings)
            folder.check_whole(record)
    except OSError as error:
        raise FRExError(f'a file cannot be read or written: {error}') from None
    print(f'{options.num} faces in {folder.images_folder}, named in {folder.root / "ids.txt"}; look at {folder.root / HISTOGRAM}')


def _collect_settings(options: BalanceOptions, yaw_source: str, sources: Mapping[str, Path]) -> dict[str, Any]:
    """Return the settings on which the set depends, for its record. `sources` are the images of the pool by name."""
    names = hashlib.sha256('\n'.join(sources).encode(errors='surrogateescape')).hexdigest()
    settings = {'num': options.num, 'seed': options.seed, 'bin_degrees': options.bin_degrees, 'pose': yaw_source, 'link': options.link}
    settings |= {'pool': len(sources), 'pool_names_sha256': names}
    if yaw_source == 'labels':
        settings['cameras_sha256'] = hashlib.sha256(read_file(find_labels_file(options))).hexdigest()
    return settings | ({'frame': options.frame, 'det_threshold': options.det_threshold} if yaw_source == 'landmarks' else {})


def _write_set(
    folder: TestSetFolder, record: dict[str, Any], sources: Mapping[str, Path], found: FoundYaw, choice: Choice, link: bool
) -> None:
    """Write images, labels, contact sheet, histogram and the list of names; `record` is the begun record, which is completed last."""
    _print_choice(found, len(sources), choice)
    folder.check_images(choice.names)
    for name in choice.names:
        copy_or_link(sources[name], folder.images_folder / name, link)
    chosen = set(choice.names)
    cameras, crops = (
        labels_to_lists({name: vectors[name] for name in vectors.keys() & chosen}) for vectors in (found.cameras, found.crops)
    )
    if cameras:
        write_labels(folder.images_folder / LABELS, cameras, crops)
    write_image(folder.root / SHEET, _draw_contact_sheet(folder, found, choice))
    draw_histogram(choice, folder.root / HISTOGRAM)
    with write_atomically(folder.root / 'ids.txt') as part:
        part.write_text('\n'.join(choice.names) + '\n', encoding='utf-8', errors='surrogateescape')
    images = {name: {'yaw': round(found.yaw[name], 3), 'sha256': sha256(folder.images_folder / name)} for name in choice.names}
    # The record is written last: a record with images belongs to a complete set.
    folder.write(record | {'level': choice.level, 'bins': _describe_bins(choice), 'images': images, 'left_out': found.unknown})


def _print_choice(found: FoundYaw, count: int, choice: Choice) -> None:
    """Print the images that were left out, and how many faces were chosen from each bin; `count` is the number of images in the pool."""
    for name, reason in found.unknown.items():
        print(f'left out: {name}: {reason}', file=sys.stderr)
    if found.unknown:
        print(f'{len(found.unknown)} of {count} images left out: their yaw is not known')
    for entry in _describe_bins(choice):
        print(f'|yaw| {entry["from"]:3g} to {entry["to"]:3g}: {entry["chosen"]} of {entry["pool"]}')


def _describe_bins(choice: Choice) -> list[dict[str, float]]:
    """Return the edges of each bin in degrees and its counts of faces, in the pool and chosen, for the record."""
    edges = [choice.bin_degrees * index for index in range(len(choice.pool) + 1)]
    bins = zip(edges[:-1], edges[1:], choice.pool.tolist(), choice.chosen.tolist(), strict=True)
    return [{'from': low, 'to': high, 'pool': pool, 'chosen': chosen} for low, high, pool, chosen in bins]


def copy_or_link(source: Path, target: Path, link: bool) -> None:
    """Copy a file atomically, or with `link` create a symbolic link to its absolute path; an existing `target` is replaced.

    The folder of `target` is created where it is missing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(target) as part:
        if link:
            os.symlink(source.resolve(), part)
        else:
            shutil.copyfile(source, part)


def _draw_contact_sheet(folder: TestSetFolder, found: FoundYaw, choice: Choice) -> Image:
    """Return a contact sheet (BGR) of evenly picked chosen faces, ordered by yaw, which their captions show in degrees."""
    names = sorted(choice.names, key=lambda name: found.yaw[name])
    shown = [names[index] for index in np.linspace(0, len(names) - 1, min(len(names), SHOWN)).round().astype(int).tolist()]
    tiles = [resize(read_image(folder.images_folder / name), TILE) for name in shown]
    return draw_contact_sheet(tiles, [f'{found.yaw[name]:+.0f} {name[-17:]}' for name in shown], size=TILE)


def draw_histogram(choice: Choice, path: Path) -> None:
    """Write a PNG of two panels: the faces per bin of |yaw|, in the pool and among the chosen, each with a line at `choice.level`.

    Each panel has its own axis of counts. An existing file is replaced.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout='constrained')
    before, after = figure.subplots(1, 2)
    _draw_bars(before, choice, choice.pool, 'pool', '0.55')
    _draw_bars(after, choice, choice.chosen, 'chosen', 'C0')
    with write_atomically(path) as part:
        figure.savefig(part, dpi=120, format='png')


def _draw_bars(axes: Any, choice: Choice, counts: Counts, title: str, color: str) -> None:
    """Draw the count of each bin as bars, and the level as a line, into matplotlib's `axes`."""
    edges = choice.bin_degrees * np.arange(len(counts) + 1)
    axes.bar(edges[:-1], counts, width=choice.bin_degrees, align='edge', color=color, edgecolor='white')
    axes.axhline(choice.level, color='C3', linestyle='--', linewidth=1, label=f'level {choice.level}')
    axes.set_title(f'{title}: {counts.sum()} faces')
    axes.set_xlabel('|yaw| in degrees')
    axes.set_ylabel('faces')
    axes.set_xlim(0, edges[-1])
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc='upper right', fontsize=8)
