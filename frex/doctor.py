"""`frex doctor`: describe an installation in a form to paste into a bug report."""

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from frex.utils.extras import find_missing_packages, installing_command
from frex.weights import small_model
from frex.weights.locate import FileStatus, find_file, search_paths
from frex.weights.manifest import files_for_task

PACKAGES = (
    'frex',
    'torch',
    'torchvision',
    'basicsr',
    'facexlib',
    'lpips',
    'opencv-python',
    'opencv-python-headless',
    'numpy',
    'pillow',
    'tifffile',
    'einops',
    'safetensors',
    'scipy',
    'setuptools',
)
# The extra that installs the packages of a command, and the manifest's task whose files of weights it needs.
COMMANDS = {
    'restore': (None, 'restore'),
    'web': ('web', 'restore'),
    'train': ('train', 'train'),
    'evaluate': ('evaluate', 'evaluate'),
    'peers': ('peers', None),
    'export': ('export', None),
    'demo': ('demo', None),
}


def describe_installation(weights: Path | None = None) -> Iterator[str]:
    """Yield the lines of a description: versions, devices, weights, and what is missing for which command.

    Files of weights are searched in the folder `weights` first.
    """
    yield f'Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} CPUs'
    yield from _devices()
    yield 'packages:'
    for package in PACKAGES:
        yield f'  {package} {_version(package)}'
    yield f'  FREx is imported from {Path(__file__).parent}'
    basicsr = find_spec('basicsr')
    if basicsr is not None:
        yield f'  basicsr is imported from {Path(basicsr.origin or "").parent}'
    yield 'commands:'
    for command in COMMANDS:
        yield f'  frex {command}: {_readiness(command, weights)}'
    yield f'weights are searched in: {", ".join(map(str, search_paths(weights)))}'


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'is not installed'


def _devices() -> Iterator[str]:
    import torch

    yield f'torch {torch.__version__}: CUDA {torch.version.cuda or "not built in"}, {torch.get_num_threads()} threads'
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield f'  cuda:{index}: {device.name}, {device.total_memory / 2**30:.1f} GiB'
    if torch.backends.mps.is_available():
        yield '  mps: available'
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        yield '  no GPU is available: networks run on the CPU'


def _readiness(command: str, weights: Path | None) -> str:
    """Return `ready`, or what is missing for a command and how to get it, in one line."""
    extra, task = COMMANDS[command]
    packages = find_missing_packages(extra)
    lacks = [f'packages {", ".join(packages)}: {installing_command(extra)}'] if extra and packages else []
    statuses = [find_file(file, weights) for file in files_for_task(task)] if task else []
    damaged = [status.file.file for status in statuses if status.state is FileStatus.DAMAGED]
    if damaged:
        lacks.append(f'damaged files {", ".join(damaged)}: frex weights download --for {task}')
    if command == 'restore' and not small_model.PATH.is_file():
        lacks.append('no small FREx in this installation: give --model_path')
    missing = [status.file.file for status in statuses if status.state is FileStatus.MISSING]
    later = f'; downloads when first needed, or by frex weights download --for {task}: {", ".join(missing)}' if missing else ''
    return ('; '.join(lacks) or 'ready') + later
