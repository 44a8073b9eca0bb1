"""Measure the images a second of FREx's data set, beside BasicSR's FFHQDataset in the same run.

python benchmarks/data_loading.py --dataroot datasets/ffhq/ffhq_512 --num_worker 0 2 --json benchmarks/results/data_loading_cpu.json

FFHQDataset decodes, flips and normalizes; FREx does the same and also degrades (Eq. 19). Both go through the same loader, in turns and
several times; the medians count. How FREx's time divides into parts is measured apart, in this process.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from frex import compat
from frex.data import degradation, face_degradation_dataset, sources
from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.data.sampler import VisitSampler
from frex.images import list_images, read_image, resize, write_image

compat.install()

from basicsr.data.ffhq_dataset import FFHQDataset  # noqa: E402 (compat comes first)

BATCH = 4
# Images a second: an H200 needs a batch of 4 every 0.25 s, from six workers.
NEEDED_PER_WORKER = BATCH / 0.25 / 6
PARTS = {
    'decode': (sources, 'decode_image'),
    'kernels': (degradation, 'motion_kernel', 'gaussian_kernel'),
    'blur': (degradation, 'convolve'),
    'jpeg': (degradation, 'compress_jpeg'),
    'resize, noise, rounding': (face_degradation_dataset, 'degrade'),
    'to tensor': (face_degradation_dataset, 'to_tensor'),
}
# The parts whose time is included in that of `degrade`.
INSIDE = ('kernels', 'blur', 'jpeg')


class FirstImages(FFHQDataset):
    """BasicSR's FFHQDataset, which always counts 70000 images, with the first `count` only; its indices are FREx's pairs.

    The second number of a pair selects the image.
    """

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__(
            {'dataroot_gt': str(folder), 'io_backend': {'type': 'disk'}, 'mean': [0.5] * 3, 'std': [0.5] * 3, 'use_hflip': True}
        )
        self.paths = self.paths[:count]

    def __getitem__(self, visit: tuple[int, int]) -> dict[str, Any]:
        return super().__getitem__(visit[1] % len(self.paths))


def link_images(dataroot: Path, size: int, folder: Path) -> int:
    """Provide the images of `dataroot` at `size` x `size` in `folder`, under the names that FFHQDataset looks for; return their number.

    A PNG of that size is linked, others are resized and written.
    """
    paths = list_images(dataroot, '--dataroot')
    for number, path in enumerate(paths):
        link = folder / f'{number:08d}.png'
        image = read_image(path)
        if path.suffix == '.png' and image.shape[:2] == (size, size):
            link.symlink_to(path.resolve())
        else:
            write_image(link, resize(image, size))
    return len(paths)


def make_frex_dataset(folder: Path, preset: str, gt_size: int) -> FaceDegradationDataset:
    """Return FREx's data set of a folder, with `gt_size` x `gt_size` samples."""
    options = {'name': 'faces', 'type': 'FaceDegradationDataset', 'dataroot_gt': str(folder), 'use_hflip': True}
    return FaceDegradationDataset(options | {'gt_size': gt_size, 'degradation': {'preset': preset}})


def measure_speed(dataset: Dataset, workers: int, images: int) -> float:
    """Return the images a second over at least `images` images, by workers that a short epoch has warmed up."""
    sampler = VisitSampler(dataset, num_replicas=1, rank=0, ratio=-(-images // len(dataset)))  # type: ignore[arg-type]
    sampler.skipped = {0: len(sampler) - BATCH * max(2 * workers, 1)}
    loader = DataLoader(dataset, BATCH, sampler=sampler, num_workers=workers, drop_last=True, persistent_workers=workers > 0)
    for _ in loader:
        pass
    sampler.set_epoch(1)
    start = time.perf_counter()
    batches = sum(1 for _ in loader)
    return batches * BATCH / (time.perf_counter() - start)


def compare_speeds(datasets: dict[str, Dataset], workers: int, images: int, repeats: int) -> dict[str, float]:
    """Return the median images a second of each data set over interleaved repeats."""
    speeds: dict[str, list[float]] = {name: [] for name in datasets}
    for _ in range(repeats):
        for name, dataset in datasets.items():
            speeds[name].append(measure_speed(dataset, workers, images))
    return {name: statistics.median(values) for name, values in speeds.items()}


@contextmanager
def time_parts() -> Iterator[Counter[str]]:
    """Yield the seconds that each part takes during the `with` block, by the titles in PARTS."""
    seconds: Counter[str] = Counter()

    def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            start = time.perf_counter()
            result = function(*args)
            seconds[part] += time.perf_counter() - start
            return result

        return call

    patches = [
        mock.patch.object(module, name, timed(getattr(module, name), part)) for part, (module, *names) in PARTS.items() for name in names
    ]
    for patch in patches:
        patch.start()
    try:
        yield seconds
    finally:
        for patch in patches:
            patch.stop()


def measure_parts(dataset: FaceDegradationDataset, images: int) -> dict[str, float]:
    """Return the milliseconds per image that each part takes, what is left, and the total, from `images` visits in this process."""
    with time_parts() as seconds:
        for visit in range(images // 4):
            dataset[1, visit]
        seconds.clear()
        start = time.perf_counter()
        for visit in range(images):
            dataset[0, visit]
        total = time.perf_counter() - start
    seconds['resize, noise, rounding'] -= sum(seconds[part] for part in INSIDE)
    seconds['flip and the rest'] = total - sum(seconds.values())
    return {part: round(1000 * value / images, 2) for part, value in [*seconds.items(), ('all', total)]}


def describe_machine() -> dict[str, Any]:
    """Return the processor, its number of cores and the versions of the libraries."""
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    versions = {'python': platform.python_version(), 'torch': torch.__version__, 'opencv': cv2.__version__}
    return {'cpu': models[0] if models else platform.processor(), 'cores': os.cpu_count(), **versions}


def measure_size(args: argparse.Namespace, size: int) -> dict[str, Any]:
    """Measure all data sets on images of `size` x `size`; return speeds by number of workers, and the times of the parts."""
    result: dict[str, Any] = {'input_size': size, 'gt_size': args.gt_size, 'batch': BATCH, 'by_workers': {}}
    with TemporaryDirectory() as name:
        count = link_images(args.dataroot, size, Path(name))
        frex = {f'FREx {preset}': make_frex_dataset(Path(name), preset, args.gt_size) for preset in ('paper', 'release')}
        for workers in args.num_worker:
            speeds = compare_speeds({'FFHQDataset': FirstImages(Path(name), count), **frex}, workers, args.images, args.repeats)
            result['by_workers'][workers] = report_speeds(speeds, size, workers)
        result['milliseconds'] = {title: measure_parts(dataset, args.images) for title, dataset in frex.items()}
    for title, parts in result['milliseconds'].items():
        print(f'{size} px  {title}, ms an image: ' + ', '.join(f'{part} {value:.1f}' for part, value in parts.items()))
    return result


def report_speeds(speeds: dict[str, float], size: int, workers: int) -> dict[str, Any]:
    """Print the speed of each data set, and return it with its ratio to FFHQDataset."""
    rows = {}
    for name, speed in speeds.items():
        ratio, each = speed / speeds['FFHQDataset'], speed / max(workers, 1)
        rows[name] = {'images_a_second': round(speed, 1), 'per_worker': round(each, 1), 'ratio': round(ratio, 2)}
        print(
            f'{size} px  {workers} workers  {name:12s} {speed:6.1f} images/s   {ratio:.2f} of FFHQDataset   '
            f'{each:.1f} a worker, {each / NEEDED_PER_WORKER:.1f} times what an H200 needs'
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dataroot', type=Path, required=True, help='folder of aligned faces')
    parser.add_argument('--size', type=int, nargs='+', default=[512], help='size of the files that are read; FFHQ comes in 1024')
    parser.add_argument('--gt_size', type=int, default=512, help='size of the samples of FREx')
    parser.add_argument('--num_worker', type=int, nargs='+', default=[0, 2])
    parser.add_argument('--images', type=int, default=96, help='number of images in each repeat')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--json', type=Path, help='where to write the results')
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    result = {'machine': describe_machine(), 'sizes': [measure_size(args, size) for size in args.size]}
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
