"""How time and memory grow: with the faces of an image, its size, the workers that load data, the processes that restore.

    python benchmarks/scaling.py -o benchmarks/results/scaling_cpu

The network is the tiny one, so that what is measured is all that lies around it; faces are told where they are, since a detector looks at
a copy of bounded size. Each point is the median of several, taken in turns.
"""

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
from torch.utils.data import DataLoader

from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.images import Image, write_image
from frex.options import load_options
from frex.restore import FaceRestorer
from frex.restore.detection.retinaface import DetectedFace
from frex.restore.faces.helper_networks import HelperNetworks
from frex_arch import FREx

OPTIONS = Path('options/train_frex_tiny.yml')
MEGAPIXELS = 1_000_000
# Eyes, nose, corners of the mouth of a frontal face, in eye distances from between the eyes.
FACE = np.array([(-0.5, 0), (0.5, 0), (0, 0.6), (-0.4, 1.1), (0.4, 1.1)])
CPU = torch.device('cpu')


class Told:
    """In the place of a detector: the faces that are on a grid."""

    key = 'told'

    def __init__(self, faces: Sequence[DetectedFace]) -> None:
        self.faces = list(faces)

    def detect(self, image: Image, threshold: float = 0.8) -> list[DetectedFace]:
        """All of them."""
        return self.faces


def run(args: Namespace) -> None:
    """Measure, draw, write."""
    torch.manual_seed(0)
    net = FREx(**{key: value for key, value in load_options(OPTIONS)['network_g'].items() if key != 'type'}).eval()
    results: dict[str, Any] = {'machine': timing.machine(CPU)}
    results['faces on 16 megapixels'] = curve(args.faces, lambda count: restoring(net, 16, count), args.rounds)
    results['megapixels with 4 faces'] = curve(args.megapixels, lambda size: restoring(net, size, 4), args.rounds)
    with TemporaryDirectory() as folder:
        faces = written_faces(Path(folder) / 'faces', 48)
        results['workers, 512 x 512, images a second'] = loading(faces, args.workers, args.rounds)
        results['processes, 64 x 64, faces a second'] = sharing(net, Path(folder), args.processes)
    timing.write_results(args.output / 'scaling.json', results)
    draw(results, args.output / 'scaling.png')
    print(f'{args.output}: scaling.json, scaling.png')


def curve(points: Sequence[int], prepare: Callable[[int], Callable[[], Any]], rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds and memory at each point."""
    found = {}
    for point in points:
        call = prepare(point)
        peak = timing.peak_bytes(call, CPU)
        times = timing.take_turns({'it': lambda call=call: timing.seconds(call, CPU)}, rounds)['it']
        found[str(point)] = {'seconds': float(np.median(times)), 'least': min(times), 'most': max(times), 'peak bytes': peak}
        print(point, found[str(point)], flush=True)
    return found


def restoring(net: FREx, megapixels: int, count: int) -> Callable[[], Any]:
    """Restore `count` faces of equal size on a square image of noise."""
    side = round((megapixels * MEGAPIXELS) ** 0.5)
    picture = cv2.resize(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), (side, side))
    columns = int(np.ceil(count**0.5))
    distance = 0.08 * side / 8
    centres = [((column + 0.5) * side / columns, (row + 0.4) * side / columns) for row in range(columns) for column in range(columns)]
    restorer = FaceRestorer(net, 'cpu', 'fp32', 8, HelperNetworks(detector=Told([face_at(centre, distance) for centre in centres[:count]])))

    def call() -> Any:
        result = restorer.restore(picture)
        if [face.problem for face in result.faces] != [None] * count:
            raise SystemExit(f'{megapixels} megapixels: not all of {count} faces were restored')
        return result

    return call


def face_at(centre: tuple[float, float], distance: float) -> DetectedFace:
    """An upright face whose eyes lie `distance` pixels apart."""
    landmarks = np.array(centre) + FACE * distance
    box = np.concatenate([landmarks.min(axis=0) - distance, landmarks.max(axis=0) + distance])
    return DetectedFace(box, 0.99, landmarks)


def written_faces(folder: Path, count: int) -> Path:
    """Images of 512 x 512."""
    rng = np.random.default_rng(0)
    for number in range(count):
        write_image(folder / f'{number:04d}.png', cv2.resize(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8), (512, 512)))
    return folder


def loading(faces: Path, workers: Sequence[int], rounds: int) -> dict[str, float]:
    """Degraded images a second, from workers that are already there."""
    dataset = FaceDegradationDataset(
        {'name': 'faces', 'type': 'FaceDegradationDataset', 'phase': 'train', 'dataroot_gt': str(faces), 'gt_size': 512, 'use_hflip': True}
    )
    found = {}
    for number in workers:
        loader = DataLoader(dataset, batch_size=4, num_workers=number, persistent_workers=number > 0)
        seconds = timing.take_turns({'it': lambda loader=loader: timing.seconds(lambda: list(loader), CPU)}, rounds)['it']
        found[str(number)] = len(dataset) / float(np.median(seconds))
    return found


def sharing(net: FREx, folder: Path, processes: Sequence[int]) -> dict[str, float]:
    """Faces a second of `torchrun inference_frex.py --aligned`: of a long run less a short one, so that starting does not count."""
    model = folder / 'net.pth'
    torch.save({'params_ema': net.state_dict(), 'network_g': load_options(OPTIONS)['network_g']}, model)
    lots = {count: written_faces(folder / f'lot{count}', count) for count in (40, 440)}
    return {
        str(number): 400 / (_restore(lots[440], model, number, folder) - _restore(lots[40], model, number, folder)) for number in processes
    }


def _restore(faces: Path, model: Path, processes: int, folder: Path) -> float:
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
    command = ['inference_frex.py', '-i', faces, '-o', folder / f'{faces.name}_{processes}', '--model_path', model, '--aligned']
    start = time.perf_counter()
    subprocess.run([*torchrun, *map(str, command)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def draw(results: dict[str, Any], path: Path) -> None:
    """A panel a question; dashed is linear growth."""
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
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--rounds', type=int, default=3)
    run(parser.parse_args())
