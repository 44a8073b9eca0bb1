"""Describe how an evaluation was done, in enough detail to repeat it and to see whether two evaluations used the same images.

Each public function returns entries of the protocol, which is a dictionary of texts by topic.
"""

import hashlib
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from frex.data.sources import read_file
from frex.evaluation.inputs import BILINEAR, ImageStats, Inputs
from frex.evaluation.summaries import RESAMPLES
from frex.metrics.metric import Metric
from frex.utils.files import sha256
from frex.weights.download import obtain_file

PACKAGES = ('frex', 'torch', 'torchvision', 'basicsr', 'lpips', 'stlpips-pytorch', 'numpy', 'scipy', 'opencv-python')
READING = 'OpenCV, 8 bits a channel, 3 channels, upright; networks take RGB in [-1, 1], n / 127.5 - 1'
PAIRING = 'by relative name without suffix; NAME_00, the first face of an image, is NAME'


def describe_inputs(inputs: Inputs) -> dict[str, str]:
    """Return the protocol's entries on the images: how they were matched and read, which were left out, and their checksums.

    A method whose runs recorded time or memory has an entry that says what was timed, on which device and with which packages.
    """
    files = {f'files of {role}': _describe_files(stats) for role, stats in inputs.stats.items()}
    left_out = {f'left out of {difference.role}': str(difference) for difference in inputs.differences}
    bilinear = {} if inputs.lq is None else {BILINEAR: 'LQ resized to the size of GT, OpenCV INTER_LINEAR'}
    costs = {f'cost of {name}': ' / '.join(cost.measured) for name, cost in inputs.costs.items() if cost is not None}
    return {'pairs': f'{len(inputs.names)}, matched {PAIRING}', **left_out, **files, **bilinear, 'reading': READING, **costs}


def describe_cameras(path: Path, bin_degrees: float) -> dict[str, str]:
    """Return the protocol's entry on the label file `path`, from which |yaw| comes, and on the width of the bins."""
    return {
        'cameras': f'{path.name}, sha256 {hashlib.sha256(read_file(path)).hexdigest()}; |yaw| of view in bins of {bin_degrees:g} degrees'
    }


def describe_metrics(metrics: Sequence[Metric], usable: Sequence[Metric], weights: Path | None) -> dict[str, str]:
    """Return the protocol's entries on each metric, and on the weight files of the `usable` metrics with their checksums.

    `weights` is the folder of weight files, None for the usual folders. Missing files are downloaded.
    """
    described = {metric.title: f'{metric.protocol}; {metric.better} is better' for metric in metrics}
    keys = dict.fromkeys(key for metric in usable for key in metric.weights)
    paths = {key: obtain_file(key, weights) for key in keys}
    return described | {f'weights {key}': f'{path.name}, sha256 {sha256(path)}' for key, path in paths.items()}


def describe_averages(seed: int) -> dict[str, str]:
    """Return the protocol's entries on how means, spreads and intervals are computed; `seed` is that of the bootstrap."""
    return {
        'means': 'over images, of each over the runs that have a score of it; FID: over runs',
        'spread': 'standard deviation of the means of runs (n - 1), each over the images that it has a score of',
        'intervals': f'95 % percentile bootstrap over images, {RESAMPLES} resamples, seed {seed}; FID has none',
    }


def describe_machine(device: torch.device) -> dict[str, str]:
    """Return the protocol's entries on the versions of Python and the packages, and on the device."""
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else platform.processor() or platform.machine()
    return {'versions': f'Python {platform.python_version()}, {", ".join(map(_package_version, PACKAGES))}', 'device': f'{device} ({name})'}


def _package_version(package: str) -> str:
    """Return `PACKAGE VERSION`, also for a package that is not installed."""
    try:
        return f'{package} {version(package)}'
    except PackageNotFoundError:
        return f'{package} of unknown version'


def _describe_files(stats: ImageStats) -> str:
    """Return formats, sizes and checksum of a folder's images in one line."""
    sizes = Counter(f'of {width} x {height}' for width, height in stats.sizes)
    return f'{_format_counts(stats.formats)}; {_format_counts(sizes)}; sha256 of the sorted lines "NAME SHA256" {stats.sha256}'


def _format_counts(counts: Mapping[str, int]) -> str:
    """Return counts as text, such as `1 jpg, 3 png`."""
    return ', '.join(f'{count} {what}' for what, count in sorted(counts.items()))
