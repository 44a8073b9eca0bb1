"""`frex synthesize`: write an EG3D augmentation set, or one process's shard of it."""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from tqdm import tqdm

from frex.device import choose_device
from frex.errors import FRExError
from frex.synthesis.output_folder import SynthesisFolder
from frex.synthesis.samples import SamplingRecipe, render_samples
from frex.tensors import to_images
from frex.utils.files import sha256
from frex.utils.sharding import Shard, choose_local_device, choose_shard
from frex.weights.download import obtain_file
from frex.weights.network_file import load_network
from frex_arch import EG3D


@dataclass(frozen=True)
class SynthesizeOptions:
    """Write `num` samples of the network `eg3d`, a key of the manifest or a file, to the folder `output`.

    `seed`, `psi`, `yaw`, `pitch` and `frame` are those of `SamplingRecipe`. `ext` is the suffix of the images without the dot; with `ws`
    the latent codes are written, too. `shard` is I/N, shard I of N, counted from 0; under torchrun the processes divide it further.
    """

    output: Path
    num: int
    eg3d: str = 'ffhqrebalanced512-128'
    seed: int = 0
    psi: float = 0.7
    yaw: tuple[float, float] = (0.8, 1.2)
    pitch: float = 0.3
    frame: Literal['ffhq', 'eg3d'] = 'ffhq'
    ws: bool = False
    ext: str = 'png'
    batch_size: int = 1
    shard: str = '0/1'
    device: str = 'auto'


def write_samples(options: SynthesizeOptions) -> None:
    """Render the missing samples of this process's shard; the process that finds the set complete writes labels and contact sheet.

    Samples that exist are kept. The network's file is downloaded where it is missing. Raises FRExError where that is not possible or not
    allowed, for invalid options, a folder of another set, and too little GPU memory.
    """
    for flag in ('num', 'batch_size'):
        if getattr(options, flag) < 1:
            raise FRExError(f'--{flag} {getattr(options, flag)}: at least 1 is needed')
    shard = choose_shard(options.shard, os.environ)
    recipe = SamplingRecipe(options.seed, options.psi, options.frame, options.yaw, options.pitch)
    path = obtain_file(options.eg3d)
    folder = SynthesisFolder(options.output, options.ext, options.ws)
    try:
        requested = collect_settings(recipe, options.ext, path)
        folder.check_record(requested, options.num)
        missing = [number for number in shard.of(options.num) if not folder.has(number)]
        if missing:
            device = choose_device(choose_local_device(options.device, os.environ, torch.cuda.device_count()))
            eg3d = load_eg3d(path).to(device)
            folder.begin(requested, options.num, {'eg3d': path.name, 'frex': version('frex'), 'torch': torch.__version__})
            write_missing_samples(folder, eg3d, recipe, missing, options.batch_size)
        finish_if_complete(folder, recipe, options.num, shard)
    except OSError as error:
        raise FRExError(f'a file cannot be read or written: {error}') from None
    except torch.cuda.OutOfMemoryError:
        raise FRExError(f'--batch_size {options.batch_size}: the GPU has too little free memory; take a smaller one') from None


def collect_settings(recipe: SamplingRecipe, ext: str, path: Path) -> dict[str, object]:
    """Return the settings that must be the same when a set is resumed; `path` is the network's file."""
    return {**asdict(recipe), 'yaw': list(recipe.yaw), 'ext': ext, 'eg3d_sha256': sha256(path)}


def load_eg3d(path: Path) -> EG3D:
    """Load EG3D, in evaluation mode on the CPU; raise FRExError where the file is damaged or holds another network."""
    net = load_network(path)
    if not isinstance(net, EG3D):
        raise FRExError(f'--eg3d {path}: holds {type(net).__name__}, not EG3D')
    return net


def write_missing_samples(folder: SynthesisFolder, eg3d: EG3D, recipe: SamplingRecipe, numbers: Sequence[int], batch_size: int) -> None:
    """Render and write the samples with these `numbers`; while one batch is rendered, the previous one is written."""
    written: list[Future[None]] = []
    # Show one progress bar per machine, and none where the output is a file.
    silent = True if int(os.environ.get('LOCAL_RANK', 0)) else None
    with ThreadPoolExecutor() as writers, tqdm(total=len(numbers), unit='image', disable=silent) as progress:
        for first in range(0, len(numbers), batch_size):
            batch = numbers[first : first + batch_size]
            rendered = render_samples(eg3d, recipe, batch)
            check_finite(rendered.images, batch)
            _wait_for(written)
            samples = zip(batch, to_images(rendered.images), rendered.ws.cpu().numpy(), strict=True)
            written = [writers.submit(folder.write, *sample) for sample in samples]
            progress.update(len(batch))
        _wait_for(written)


def check_finite(images: torch.Tensor, numbers: Sequence[int]) -> None:
    """Raise FRExError, which names the sample, where an image of a batch is not finite."""
    for number, image in zip(numbers, images, strict=True):
        if not torch.isfinite(image).all():
            raise FRExError(f'sample {number}: its image is not finite; check the file with: frex weights check')


def _wait_for(futures: Sequence[Future[None]]) -> None:
    """Wait for all futures, and raise the error of the first that failed."""
    wait(futures)
    for future in futures:
        future.result()


def finish_if_complete(folder: SynthesisFolder, recipe: SamplingRecipe, num: int, shard: Shard) -> None:
    """Write labels and contact sheet where all `num` samples exist; print what is complete."""
    missing = sum(not folder.has(number) for number in range(num))
    if missing:
        print(f'shard {shard.index} of {shard.count} is complete; {missing} of {num} samples are still missing from other shards')
        return
    folder.finish(recipe, num)
    print(f'{num} samples in {folder.images_folder}, labels in its dataset.json; look at {folder.root / "contact_sheet.jpg"}')
