"""Read, write and resize images: BGR, uint8, as in OpenCV and BasicSR."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from frex.errors import FRExError
from frex.utils.files import read_regular, write_bytes
from frex.utils.jpeg import CUT_JPEG, is_cut_jpeg

Image = UInt8[np.ndarray, 'height width 3']
# In a list, where each may have another size.
AnyImage = UInt8[np.ndarray, '_ _ 3']

SUFFIXES = ('.png', '.jpg', '.jpeg', '.jfif', '.jpe', '.webp', '.bmp', '.tif', '.tiff')
# Suffixes that OpenCV does not know, and the one that it knows for the same format.
SAME_FORMAT = {'.jfif': '.jpg'}


def list_images(folder: Path, what: str) -> list[Path]:
    """Return the images directly in `folder`, sorted by name, without hidden files.

    Raises FRExError where there is no folder or no image; the message starts with `what`, for example the flag that names the folder.
    """
    if not folder.is_dir():
        raise FRExError(f'{what}: no folder {folder}')
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != '.' and path.is_file())
    if not paths:
        raise FRExError(f'{what}: no image in {folder} (looked for {", ".join(SUFFIXES)})')
    return paths


def read_image(path: Path) -> Image:
    """Read an image as BGR uint8, upright by its EXIF orientation; raise FRExError where the file cannot be read or is no image."""
    try:
        data = read_regular(path)
    except OSError as error:
        # A data loader makes exceptions anew of their text alone.
        raise FRExError(str(error)) from None
    return decode_image(data, str(path))


def decode_image(data: bytes, what: str) -> Image:
    """Decode the bytes of an image file to BGR uint8, upright by its EXIF orientation.

    Raises FRExError, which starts with `what`, where they are no image, or one that is damaged or cut off.
    """
    # OpenCV before 5 takes the start of a JPEG for the whole, and every OpenCV some whose end is zeros.
    if is_cut_jpeg(data):
        raise FRExError(f'{what}: damaged ({CUT_JPEG})')
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise FRExError(f'{what}: cannot be read ({" ".join(str(error).split())})') from None
    if image is None:
        raise FRExError(f'{what}: not an image, or a damaged one')
    return image


def write_image(path: Path, image: Image) -> None:
    """Write a BGR uint8 image atomically, in the format of its suffix; create its folder where it is missing, and replace a file there.

    Raises FRExError for a suffix that OpenCV cannot write.
    """
    suffix = SAME_FORMAT.get(path.suffix.lower(), path.suffix)
    done, data = cv2.imencode(suffix, image) if cv2.haveImageWriter(f'image{suffix}') else (False, np.empty(0))
    if not done:
        raise FRExError(f'{path}: OpenCV cannot write {path.suffix or "such"} files; choose one of {", ".join(SUFFIXES)}')
    write_bytes(path, data.tobytes())


def resize(image: Image, size: int) -> UInt8[np.ndarray, '{size} {size} 3']:
    """Resize to `size` x `size`, by area averages where no side becomes longer, else by cubic interpolation.

    The aspect ratio is not kept. An image that has the size is returned itself, not copied.
    """
    if image.shape[:2] == (size, size):
        return image
    shrinks = image.shape[0] >= size and image.shape[1] >= size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def read_aligned(path: Path) -> Image:
    """Read the image of one aligned face as BGR uint8; raise FRExError where it cannot be read or is not square."""
    image = read_image(path)
    if image.shape[0] != image.shape[1]:
        raise FRExError(f'{path}: {image.shape[1]} x {image.shape[0]} is not square: not an aligned face')
    return image
