"""A network over a folder of faces, in a process that does nothing else."""

import platform
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from tqdm import tqdm

from frex.device import choose_device
from frex.errors import FRExError
from frex.images import Image, read_image, write_image
from frex.peers.face_folder import FaceFolder, result_name
from frex.peers.measuring import Stopwatch, own_peak_memory, versions_of
from frex.peers.methods import NetworkMethod
from frex.peers.networks import LOADERS, Restore
from frex.peers.records import RunRecord, Seconds
from frex.utils.files import sha256

VERSIONS = ('frex', 'torch', 'gfpgan', 'basicsr', 'facexlib')


def run_network(method: NetworkMethod, faces: FaceFolder, images: Path, device: str) -> RunRecord:
    """Restore the faces whose results are not in `images`, one at a time; a bad image is told in the record and stops no other.

    Raises FRExError where the network cannot be had, and RuntimeError where the device is too small for it.
    """
    whole, chosen = Stopwatch(), choose_device(device)
    restore = LOADERS[method.kind](method.model, chosen)
    loading, restoring = whole(), Restoring(restore, faces, images)
    restoring.run(faces.without_result(images), method.name)
    return RunRecord(
        method=method.name,
        kind=method.kind,
        model=method.model.name,
        model_sha256=sha256(method.model),
        faces=len(faces.names),
        timed=restoring.timed,
        timing='network',
        seconds=Seconds(loading=loading, restoring=restoring.seconds, total=whole()),
        seconds_a_face=restoring.seconds / restoring.timed if restoring.timed else None,
        peak_memory_bytes=own_peak_memory() | ({'GPU': torch.cuda.max_memory_allocated(chosen)} if chosen.type == 'cuda' else {}),
        device=describe(chosen),
        versions=versions_of(VERSIONS),
        missing=restoring.missing,
    )


class Restoring:
    """Goes through faces; `seconds` are those of `timed` faces."""

    def __init__(self, restore: Restore, faces: FaceFolder, images: Path) -> None:
        self.restore, self.faces, self.images = restore, faces, images
        self.seconds, self.timed = 0.0, 0
        self.missing: dict[str, str] = {}
        self._is_warm = False

    def run(self, names: Sequence[str], title: str) -> None:
        """Write the results of `names`."""
        for name in tqdm(names, desc=title, unit='face', disable=None):
            try:
                write_image(self.images / result_name(name), self._timed(self._aligned(name), seed_of(name)))
            except FRExError as error:
                self.missing[name] = str(error)

    def _aligned(self, name: str) -> Image:
        image = read_image(self.faces.picture(name))
        height, width, _ = image.shape
        if height != width:
            raise FRExError(f'{width} x {height} is not square: not a face in FFHQ alignment')
        return image

    def _timed(self, image: Image, seed: int) -> UInt8[np.ndarray, 'size size 3']:
        if not self._is_warm:
            # The first call is slower: libraries choose their ways then.
            self.restore(image, seed)
            self._is_warm = True
        watch = Stopwatch()
        restored = self.restore(image, seed)
        self.seconds += watch()
        self.timed += 1
        return restored


def seed_of(name: str) -> int:
    """By the name of a face, so that a result is the same in any company."""
    return zlib.crc32(name.encode(errors='surrogateescape'))


def describe(device: torch.device) -> str:
    """What times are compared on."""
    if device.type == 'cuda':
        return f'{device}: {torch.cuda.get_device_name(device)}'
    return f'{device}: {platform.machine()}, {torch.get_num_threads()} threads'
