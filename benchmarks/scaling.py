"""Measure how time and memory grow with the faces of an image, its size, the files of a folder, and the processes that load and restore.

    python benchmarks/scaling.py -o benchmarks/results/scaling_cpu
    python benchmarks/scaling.py -o benchmarks/results/scaling_cpu --only files

The network is the tiny one, so that what is measured is all that surrounds it. The faces' positions are given, since a detector sees a copy
of bounded size. Each point is the median of several measurements, taken in turns.
"""

import json
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import timing
import torch
from large_folders import measure_folders
from torch.utils.data import DataLoader

from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.images import Image, write_image
from frex.options import load_options
from frex.restore import FaceRestorer
from frex.restore.detection.detector import DetectedFace
from frex.restore.faces.helper_networks import HelperNetworks
from frex_arch import FREx

OPTIONS = Path('options/train_frex_tiny.yml')
MEGAPIXELS = 1_000_000
# Eyes, nose and corners of the mouth of a frontal face: offsets from the middle of the eyes, in distances of the eyes.
FACE = np.array([(-0.5, 0), (0.5, 0), (0, 0.6), (-0.4, 1.1), (0.4, 1.1)])
CPU = torch.device('cpu')


class FixedDetector:
    """A stand-in for a face detector, which returns the given faces for any image."""

    key = 'told'

    def __init__(self, faces: Sequence[DetectedFace]) -> None:
        self.faces = list(faces)

    def detect(self, image: Image, threshold: float = 0.8) -> list[DetectedFace]:
        """Return all faces, whatever the image."""
        return self.faces


def run(args: Namespace) -> None:
    """Measure, write `scaling.json` and draw `scaling.png` and `files.png`; `--only files` takes the other results from the file."""
    results = {'machine': timing.describe_machine(CPU)} | (measure_images(args) if args.only != 'files' else read_results(args.output))
    with TemporaryDirectory() as folder:
        results |= measure_folders(args.files, Path(folder))
    timing.write_results(args.output / 'scaling.json', results)
    of_files = {title: curve for title, curve in results.items() if title.startswith('files')}
    draw({title: curve for title, curve in results.items() if title not in of_files}, args.output / 'scaling.png')
    draw(of_files, args.output / 'files.png')
    print(f'{args.output}: scaling.json, scaling.png, files.png')


def read_results(folder: Path) -> dict[str, Any]:
    """Return the content of `scaling.json` in a folder of earlier results."""
    results: dict[str, Any] = json.loads((folder / 'scaling.json').read_text())
    return results


def measure_images(args: Namespace) -> dict[str, Any]:
    """Measure all but the files of a folder."""
    torch.manual_seed(0)
    net = FREx(**{key: value for key, value in load_options(OPTIONS)['network_g'].items() if key != 'type'}).eval()
    results: dict[str, Any] = {}
    results['faces on 16 megapixels'] = measure_curve(args.faces, lambda count: prepare_restoring(net, 16, count), args.rounds)
    results['megapixels with 4 faces'] = measure_curve(args.megapixels, lambda size: prepare_restoring(net, size, 4), args.rounds)
    with TemporaryDirectory() as folder:
        faces = write_faces(Path(folder) / 'faces', 48)
        results['workers, 512 x 512, images a second'] = measure_loading(faces, args.workers, args.rounds)
        results['processes, 64 x 64, faces a second'] = measure_processes(net, Path(folder), args.processes)
    return results


def measure_curve(points: Sequence[int], prepare: Callable[[int], Callable[[], Any]], rounds: int) -> dict[str, dict[str, Any]]:
    """Return seconds and peak bytes at each of `points`; `prepare(point)` returns the function that is measured."""
    found = {}
    for point in points:
        call = prepare(point)
        peak = timing.measure_peak_bytes(call, CPU)
        times = timing.take_turns({'it': lambda call=call: timing.time_call(call, CPU)}, rounds)['it']
        found[str(point)] = {'seconds': float(np.median(times)), 'least': min(times), 'most': max(times), 'peak bytes': peak}
        print(point, found[str(point)], flush=True)
    return found


def prepare_restoring(net: FREx, megapixels: int, count: int) -> Callable[[], Any]:
    """Return a function that restores `count` faces of equal size in a square image of noise of `megapixels`."""
    side = round((megapixels * MEGAPIXELS) ** 0.5)
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), (side, side))
    columns = int(np.ceil(count**0.5))
    distance = 0.08 * side / 8
    centres = [((column + 0.5) * side / columns, (row + 0.4) * side / columns) for row in range(columns) for column in range(columns)]
    restorer = FaceRestorer(
        net, 'cpu', 'fp32', 8, HelperNetworks(detector=FixedDetector([make_face(centre, distance) for centre in centres[:count]]))
    )

    def call() -> Any:
        result = restorer.restore(image)
        if [face.problem for face in result.faces] != [None] * count:
            raise SystemExit(f'{megapixels} megapixels: not all of {count} faces were restored')
        return result

    return call


def make_face(centre: tuple[float, float], distance: float) -> DetectedFace:
    """Return an upright detected face whose eyes lie `distance` pixels apart around `centre` (x, y)."""
    landmarks = np.array(centre) + FACE * distance
    box = np.concatenate([landmarks.min(axis=0) - distance, landmarks.max(axis=0) + distance])
    return DetectedFace(box, 0.99, landmarks)


def write_faces(folder: Path, count: int) -> Path:
    """Write `count` images of noise, 512 x 512, into `folder` and return it."""
    rng = np.random.default_rng(0)
    for number in range(count):
        write_image(folder / f'{number:04d}.png', cv2.resize(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8), (512, 512)))
    return folder


def measure_loading(faces: Path, workers: Sequence[int], rounds: int) -> dict[str, float]:
    """Return the degraded images a second by number of worker processes, which exist before they are timed."""
    dataset = FaceDegradationDataset(
        {'name': 'faces', 'type': 'FaceDegradationDataset', 'phase': 'train', 'dataroot_gt': str(faces), 'gt_size': 512, 'use_hflip': True}
    )
    found = {}
    for number in workers:
        loader = DataLoader(dataset, batch_size=4, num_workers=number, persistent_workers=number > 0)
        seconds = timing.take_turns({'it': lambda loader=loader: timing.time_call(lambda: list(loader), CPU)}, rounds)['it']
        found[str(number)] = len(dataset) / float(np.median(seconds))
    return found


def measure_processes(net: FREx, folder: Path, processes: Sequence[int]) -> dict[str, float]:
    """Return the faces a second of `torchrun inference_frex.py --aligned` by number of processes.

    The time of a short run is subtracted from that of a long one, so that starting does not count.
    """
    model = folder / 'net.pth'
    torch.save({'params_ema': net.state_dict(), 'network_g': load_options(OPTIONS)['network_g']}, model)
    folders = {count: write_faces(folder / f'lot{count}', count) for count in (40, 440)}
    return {
        str(number): 400 / (_time_restoring(folders[440], model, number, folder) - _time_restoring(folders[40], model, number, folder))
        for number in processes
    }


def _time_restoring(faces: Path, model: Path, processes: int, folder: Path) -> float:
    """Return the seconds of one run of the command on the images in `faces`."""
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
    command = ['inference_frex.py', '-i', faces, '-o', folder / f'{faces.name}_{processes}', '--model_path', model, '--aligned']
    start = time.perf_counter()
    subprocess.run([*torchrun, *map(str, command)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw one panel per measurement, at most four, into the image `path`; dashed lines are linear growth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), layout='constrained')
    curves = [title for title in results if title != 'machine']
    for place, title in enumerate(curves, 1):
        axes = figure.add_subplot(2, 2, place, title=title)
        points = np.array([float(point) for point in results[title]])
        values = list(results[title].values())
        if isinstance(values[0], dict):
            seconds = np.array([value['seconds'] for value in values])
            axes.loglog(points, seconds, marker='o', label='seconds')
            axes.loglog(points, seconds[0] * points / points[0], linestyle='--', color='grey', label='linear')
            if all(value['peak bytes'] for value in values):
                axes.loglog(points, [value['peak bytes'] / 2**30 for value in values], marker='s', label='peak GiB')
        else:
            axes.plot(points, values, marker='o')
            axes.set_ylim(bottom=0)
            axes.set_xticks(points)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    figure.savefig(path, dpi=80)


if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FOLDER')
    parser.add_argument('--faces', type=int, nargs='+', default=[1, 8, 64])
    parser.add_argument('--megapixels', type=int, nargs='+', default=[1, 4, 16, 50, 100])
    parser.add_argument('--files', type=int, nargs='+', default=[1000, 10_000, 100_000])
    parser.add_argument('--only', choices=['files'], help='measure the files of a folder alone, and keep the other results')
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--rounds', type=int, default=3)
    run(parser.parse_args())
