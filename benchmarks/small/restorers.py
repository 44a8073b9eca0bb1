"""Load the restorers of a measurement: checkpoints of FREx and of the plain U-Net."""

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

RestoreFunction = Callable[[Sequence[Image]], list[Image]]


class Restorer(NamedTuple):
    """A network as a function `restore` from degraded to restored images (BGR uint8), which are `size` pixels wide."""

    name: str
    file: str
    size: int
    restore: RestoreFunction


def load_restorer(name: str, path: Path, param_key: str = 'params_ema') -> Restorer:
    """Load a checkpoint of FREx (`.pth`, `.safetensors`) or of the U-Net; raise FRExError for another file."""
    if not path.is_file():
        raise FRExError(f'{path}: no such file')
    if not is_safetensors(path):
        content = read_torch_file(path)
        if isinstance(content, dict) and 'unet' in content:
            return _load_unet_restorer(name, path, content)
    restorer = FaceRestorer.from_pretrained(path, 'cpu', param_key, face_batch=16)
    return Restorer(name, path.name, restorer.size, lambda faces: [_require_image(each) for each in restorer.restore_faces(faces)])


def _require_image(restoration: object) -> Image:
    """Return the restored image; raise FRExError where the face was not restored."""
    image = getattr(restoration, 'image', None)
    if image is None:
        raise FRExError(f'a face is not restored: {getattr(restoration, "problem", None)}')
    return image


def _load_unet_restorer(name: str, path: Path, content: object) -> Restorer:
    net, options = load_unet(path, content)

    @torch.inference_mode()
    def restore(faces: Sequence[Image]) -> list[Image]:
        lq = torch.stack([to_tensor(resize(face, options.size)) for face in faces])
        return list(to_images(net(lq)))

    return Restorer(name, path.name, options.size, restore)


def resize_around(restorer: Restorer, size: int) -> RestoreFunction:
    """Return a function that restores faces of `size` pixels: they are resized for a network of another size, and its results back."""
    return lambda faces: [resize(image, size) for image in restorer.restore([resize(face, restorer.size) for face in faces])]
