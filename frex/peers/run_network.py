"""Run a network on a folder of faces, in a process that does nothing else."""

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
from frex.peers.measurement import Stopwatch, installed_versions, read_peak_memory
from frex.peers.methods import NetworkMethod
from frex.peers.networks import LOADERS, RestoreFunction
from frex.peers.records import RunRecord, Seconds
from frex.utils.files import sha256

VERSIONS = ('frex', 'torch', 'spandrel', 'spandrel_extra_arches')


def run_network(method: NetworkMethod, faces: FaceFolder, images: Path, device: str) -> RunRecord:
    """Restore the faces that have no result in the folder `images`, one at a time; a face that fails does not stop the others.

    Raises FRExError where the network cannot be loaded, and RuntimeError where the device has too little memory.
    """
    total, torch_device = Stopwatch(), choose_device(device)
    restore = LOADERS[method.kind](method.model, torch_device)
    loading, network_run = total(), NetworkRun(restore, faces, images)
    network_run.run(faces.missing_results(images), method.name)
    return RunRecord(
        method=method.name,
        kind=method.kind,
        model=method.model.name,
        model_sha256=sha256(method.model),
        faces=len(faces.names),
        timed=network_run.timed,
        timing='network',
        seconds=Seconds(loading=loading, restoring=network_run.seconds, total=total()),
        seconds_a_face=network_run.seconds / network_run.timed if network_run.timed else None,
        peak_memory_bytes=read_peak_memory()
        | ({'GPU': torch.cuda.max_memory_allocated(torch_device)} if torch_device.type == 'cuda' else {}),
        device=describe_device(torch_device),
        versions=installed_versions(VERSIONS),
        missing=network_run.missing,
    )


class NetworkRun:
    """The run of a network: restores faces and sums up the time.

    `seconds` is the sum over the `timed` restored faces; `missing` maps each face that failed to the reason.
    """

    def __init__(self, restore: RestoreFunction, faces: FaceFolder, images: Path) -> None:
        self.restore, self.faces, self.images = restore, faces, images
        self.seconds, self.timed = 0.0, 0
        self.missing: dict[str, str] = {}
        self._is_warm = False

    def run(self, names: Sequence[str], title: str) -> None:
        """Restore the faces `names` and write the results; `title` is the label of the progress bar."""
        for name in tqdm(names, desc=title, unit='face', disable=None):
            try:
                write_image(self.images / result_name(name), self._restore_timed(self._read_square(name), derive_seed(name)))
            except FRExError as error:
                self.missing[name] = str(error)

    def _read_square(self, name: str) -> Image:
        """Read a face; raise FRExError where it is not square."""
        image = read_image(self.faces.path(name))
        height, width, _ = image.shape
        if height != width:
            raise FRExError(f'{width} x {height} is not square: not a face in FFHQ alignment')
        return image

    def _restore_timed(self, image: Image, seed: int) -> UInt8[np.ndarray, 'size size 3']:
        """Restore a face and add its time. The very first face is restored twice, and only the second time counts."""
        if not self._is_warm:
            # The first call is slower, since libraries choose their algorithms then.
            self.restore(image, seed)
            self._is_warm = True
        watch = Stopwatch()
        restored = self.restore(image, seed)
        self.seconds += watch()
        self.timed += 1
        return restored


def derive_seed(name: str) -> int:
    """Return a seed that depends on the name of a face only, so that its result does not depend on the other faces."""
    return zlib.crc32(name.encode(errors='surrogateescape'))


def describe_device(device: torch.device) -> str:
    """Return the device with its model, or with the processor's architecture and the number of threads."""
    if device.type == 'cuda':
        return f'{device}: {torch.cuda.get_device_name(device)}'
    return f'{device}: {platform.machine()}, {torch.get_num_threads()} threads'
