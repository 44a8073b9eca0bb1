"""The rows of a measurement: checkpoints of FREx and of the plain U-Net, each as a function from degraded to restored images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from unet import load_unet

from frex.errors import FRExError
from frex.images import Image, resize
from frex.restore import FaceRestorer
from frex.tensors import to_images, to_tensor
from frex.weights.network_file import is_safetensors
from frex.weights.torch_file import read_torch_file

Restore = Callable[[Sequence[Image]], list[Image]]


class Restorer(NamedTuple):
    """A network with the size of its faces in pixels."""

    name: str
    file: str
    size: int
    restore: Restore


def load_restorer(name: str, path: Path, param_key: str = 'params_ema') -> Restorer:
    """Read a checkpoint of FREx (`.pth`, `.safetensors`) or of the U-Net; raise FRExError for another file."""
    if not path.is_file():
        raise FRExError(f'{path}: no such file')
    if not is_safetensors(path):
        content = read_torch_file(path)
        if isinstance(content, dict) and 'unet' in content:
            return _unet(name, path, content)
    restorer = FaceRestorer.from_pretrained(path, 'cpu', param_key, face_batch=16)
    return Restorer(name, path.name, restorer.size, lambda faces: [_restored(each) for each in restorer.restore_faces(faces)])


def _restored(restoration: object) -> Image:
    image = getattr(restoration, 'image', None)
    if image is None:
        raise FRExError(f'a face is not restored: {getattr(restoration, "problem", None)}')
    return image


def _unet(name: str, path: Path, content: object) -> Restorer:
    net, options = load_unet(path, content)

    @torch.inference_mode()
    def restore(faces: Sequence[Image]) -> list[Image]:
        lq = torch.stack([to_tensor(resize(face, options.size)) for face in faces])
        return list(to_images(net(lq)))

    return Restorer(name, path.name, options.size, restore)


def at_size(restorer: Restorer, size: int) -> Restore:
    """Return what restores faces of `size` pixels: a network of another size gets them resized, and so do its results."""
    return lambda faces: [resize(image, size) for image in restorer.restore([resize(face, restorer.size) for face in faces])]
