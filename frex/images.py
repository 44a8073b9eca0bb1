"""Reading and writing images: BGR, uint8, as OpenCV and BasicSR have them."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from frex.errors import FRExError
from frex.utils.files import replacing

Image = UInt8[np.ndarray, 'height width 3']

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff')


def list_images(folder: Path, what: str) -> list[Path]:
    """The images in `folder`, by name; raises FRExError, naming the folder as `what`, where there is none."""
    if not folder.is_dir():
        raise FRExError(f'{what}: no folder {folder}')
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise FRExError(f'{what}: no image in {folder} (looked for {", ".join(SUFFIXES)})')
    return paths


def read_image(path: Path) -> Image:
    """Read an image; raises FRExError where the file is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FRExError(f'{path}: cannot be read ({error})') from None
    return decode_image(data, str(path))


def decode_image(data: bytes, what: str) -> Image:
    """The image in the bytes of a file; raises FRExError, naming it as `what`, where they are none."""
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise FRExError(f'{what}: cannot be read ({" ".join(str(error).split())})') from None
    if image is None:
        raise FRExError(f'{what}: not an image, or a damaged one')
    return image


def write_image(path: Path, image: Image) -> None:
    """Write under a temporary name, then rename: an image under its final name is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise FRExError(f'{path}: OpenCV cannot write {path.suffix} files')
    with replacing(path) as part:
        part.write_bytes(data.tobytes())


def resize(image: Image, size: int) -> UInt8[np.ndarray, '{size} {size} 3']:
    """To `size` x `size`: averaged where it shrinks, cubic where it grows."""
    if image.shape[:2] == (size, size):
        return image
    shrinks = image.shape[0] >= size and image.shape[1] >= size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def read_aligned(path: Path) -> Image:
    """An image of one aligned face; raises FRExError where it cannot be read or is not square, so none."""
    image = read_image(path)
    if image.shape[0] != image.shape[1]:
        raise FRExError(f'{path}: {image.shape[1]} x {image.shape[0]} is not square: not an aligned face')
    return image
