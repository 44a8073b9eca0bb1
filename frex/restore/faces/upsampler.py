"""Enlarge images by a super-resolution network, such as Real-ESRGAN, tile by tile. The networks are those of the package spandrel."""

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt

from frex.device import choose_precision
from frex.errors import FRExError, one_line
from frex.restore.faces.batches import is_out_of_memory
from frex.utils.extras import require_package
from frex.weights.download import obtain_file
from frex.weights.network_file import is_safetensors, read_safetensors
from frex.weights.torch_file import read_torch_file

# The keys of the manifest's networks, and GFPGAN's and CodeFormer's name of the one that they use.
NETWORKS = ('realesrgan_x2plus', 'realesrgan_x4plus', 'realesr_general_x4v3')
ALIASES = {'realesrgan': 'realesrgan_x2plus'}
# The network that enlarges faces where none is named.
FOR_FACES = 'realesrgan_x2plus'
# Pixels on each side of a tile that its results depend on and that are computed for nothing.
PADDING = 16
LEAST_TILE = 32

Pixels = UInt[np.ndarray, '_ _ 3']


class NetworkUpsampler:
    """A super-resolution network on a device, which enlarges images in tiles of `tile` x `tile` pixels; 0 takes an image as a whole.

    `network` is one of spandrel's. Several threads may use it, one at a time. Where memory does not suffice, `tile` is halved for good.
    `precision` is that of `choose_precision`; a network that does not support bfloat16 runs in float32. Raises FRExError for a negative
    `tile`.
    """

    def __init__(self, network: Any, device: torch.device, precision: str = 'auto', tile: int = 400) -> None:
        if tile < 0:
            raise FRExError(f'--bg_tile {tile}: must be at least 0')
        halved = choose_precision(precision, device) == 'bf16' and network.supports_bfloat16
        self.dtype = torch.bfloat16 if halved else torch.float32
        self.network, self.device, self.tile = network.to(device, self.dtype).eval(), device, tile
        self._lock = threading.Lock()

    def __call__(self, image: Pixels, size: tuple[int, int]) -> Pixels:
        """Return a BGR image of 8 or 16 bits at `size` (width, height), enlarged by the network's own factor and then resized.

        Raises FRExError where memory does not suffice for the smallest tile.
        """
        with self._lock:
            enlarged = self._enlarge(image)
        if enlarged.shape[1::-1] == size:
            return enlarged
        shrinks = size[0] <= enlarged.shape[1] and size[1] <= enlarged.shape[0]
        return cv2.resize(enlarged, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)

    def _enlarge(self, image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        while True:
            side = self.tile or max(height, width)
            try:
                return self._enlarge_in_tiles(image, side)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()
            if side // 2 < LEAST_TILE:
                raise FRExError(f'--bg_upsampler or --face_upsample: out of memory, even in tiles of {side} x {side} pixels')
            self.tile = side // 2

    def _enlarge_in_tiles(self, image: Pixels, side: int) -> Pixels:
        height, width = image.shape[:2]
        scale = self.network.scale
        result = np.empty((scale * height, scale * width, 3), image.dtype)
        for top in range(0, height, side):
            for left in range(0, width, side):
                bottom, right = min(top + side, height), min(left + side, width)
                above, before = min(PADDING, top), min(PADDING, left)
                tile = self._run(image[top - above : bottom + PADDING, left - before : right + PADDING])
                rows, columns = slice(scale * top, scale * bottom), slice(scale * left, scale * right)
                inner = tile[scale * above :, scale * before :]
                result[rows, columns] = inner[: rows.stop - rows.start, : columns.stop - columns.start]
        return result

    @torch.inference_mode()
    def _run(self, tile: Pixels) -> Pixels:
        most = np.iinfo(tile.dtype).max
        rgb = torch.from_numpy(tile[:, :, ::-1].astype(np.float32) / most).movedim(2, 0)[None]
        enlarged = self.network(rgb.to(self.device, self.dtype))[0].movedim(0, 2).float().cpu().numpy()
        return (enlarged[:, :, ::-1] * most).round().clip(0, most).astype(tile.dtype)


def load_upsampler(
    name: str, weights: Path | None = None, device: torch.device | str = 'cpu', precision: str = 'auto', tile: int = 400
) -> NetworkUpsampler | None:
    """Load a super-resolution network: one of NETWORKS or ALIASES, in any case, or the file `name`, of any kind that spandrel knows.

    One of NETWORKS is searched for in the folder `weights` first, and downloaded where it is missing or damaged. `none` gives None. Files
    are read as data: no code in them runs. Raises FRExError where the package spandrel or the file `name` is missing, where a download is
    not possible or not allowed, and for a network that does not enlarge or improve colour images.
    """
    if name.lower() == 'none':
        return None
    require_package('spandrel', '--bg_upsampler or --face_upsample')
    from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError, canonicalize_state_dict

    key = ALIASES.get(name.lower(), name.lower())
    path = obtain_file(key if key in NETWORKS else name, weights)
    content = read_safetensors(path)[1] if is_safetensors(path) else read_torch_file(path)
    try:
        network = ModelLoader(torch.device('cpu')).load_from_state_dict(canonicalize_state_dict(content))
    except (UnsupportedModelError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise FRExError(f'--bg_upsampler {path}: not a network that spandrel knows ({one_line(str(error))})') from None
    if not isinstance(network, ImageModelDescriptor) or (network.input_channels, network.output_channels) != (3, 3):
        raise FRExError(f'--bg_upsampler {path}: holds {network.architecture.name}, which does not map colour images to colour images')
    if network.purpose not in ('SR', 'Restoration'):
        raise FRExError(f'--bg_upsampler {path}: {network.architecture.name} is a network for {network.purpose}, not for whole images')
    return NetworkUpsampler(network, torch.device(device), precision, tile)
