"""`frex statistics`: write the Inception statistics of a folder of images, against which FID can be computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from tqdm import tqdm

from frex.data.sources import FolderSource, Source
from frex.data.workers import prepare_process
from frex.device import choose_device
from frex.errors import FRExError
from frex.metrics.feature_statistics import FeatureStatistics, FeatureSums
from frex.metrics.inception import Inception, resize_for_inception
from frex.tensors import to_tensor
from frex.utils.files import check_output_path

SUFFIXES = ('.pth', '.npz')


@dataclass(frozen=True)
class StatisticsOptions:
    """Options of `frex statistics`: the folder of images, which may differ in size, and the file `output` to write.

    The images are those in and below `folder`. An existing file is replaced with `overwrite` only. `weights` is the folder of weight files;
    None searches the usual folders. `num_workers` processes read images; 0 means this one.
    """

    folder: Path
    output: Path
    overwrite: bool = False
    weights: Path | None = None
    device: str = 'auto'
    batch_size: int = 32
    num_workers: int = 4


def write_statistics(options: StatisticsOptions) -> None:
    """Write the statistics of a folder's images, and print the file, the number of images and the network's checksum.

    The network's file is downloaded where it is missing. Raises FRExError where that is not possible or not allowed, for invalid options,
    and for fewer than two images or a damaged one.
    """
    check_output(options.output, options.overwrite)
    for flag, least in (('batch_size', 1), ('num_workers', 0)):
        if getattr(options, flag) < least:
            raise FRExError(f'--{flag} {getattr(options, flag)}: at least {least} is needed')
    source = FolderSource(options.folder, 'FOLDER')
    if len(source.names) < 2:
        raise FRExError(f'FOLDER: one image in {options.folder} has no covariance; at least 2 are needed')
    inception = Inception.from_weights(options.weights, choose_device(options.device, needs_float64=True))
    statistics = compute_statistics(source, inception, options.batch_size, options.num_workers)
    statistics.save(options.output)
    print(f'{options.output}: {statistics.count} images, network of sha256 {statistics.network}')
    if len(source.names) < inception.features:
        print(f'fewer images than the {inception.features} features: FID against them is far too large; do not compare it with others')


def check_output(path: Path, overwrite: bool) -> None:
    """Raise FRExError where the suffix of `path` is not in `SUFFIXES`, the file exists without `overwrite`, or its folder is missing."""
    if path.suffix not in SUFFIXES:
        raise FRExError(f"-o {path}: the name must end in .pth (BasicSR's format) or .npz (pytorch-fid's)")
    check_output_path(path, overwrite)


@torch.inference_mode()
def compute_statistics(source: Source, inception: Inception, batch_size: int, num_workers: int) -> FeatureStatistics:
    """Return mean and covariance of Inception's features over all images of `source`, and show a progress bar.

    Only a few batches are in memory at a time. `num_workers` processes read images, 0 for this one. Raises FRExError where one of the
    images cannot be read.
    """
    sums = FeatureSums(next(inception.parameters()).device, inception.features)
    loader = DataLoader(_Inputs(source), batch_size, num_workers=num_workers)
    with tqdm(total=len(source.names), unit='image', disable=None) as progress:
        for faces in loader:
            sums.add(inception(faces))
            progress.update(len(faces))
    return sums.statistics(inception.sha256)


class _Inputs(Dataset[Tensor]):
    """The images of a source, RGB in [-1, 1], resized for Inception so that they form batches."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.names: Sequence[str] = source.names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Float[Tensor, '3 299 299']:
        prepare_process(get_worker_info() is not None)
        return resize_for_inception(to_tensor(self.source.read_image(self.names[index]))[None])[0]
