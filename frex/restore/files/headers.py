"""What an opened file says beside its pixels, and what of that cannot be kept."""

from collections.abc import Iterator

import PIL.Image

from frex.restore.files.metadata import EXIF_START, Metadata, as_block, described, sound_dpi

# In XMP: the file goes on behind the picture, with a brighter copy or a film, which a result has not.
ATTACHED = (b'Container:Directory', b'hdrgm:', b'GCamera:')


def metadata_of(image: PIL.Image.Image) -> Metadata:
    """As the file has it, for its own orientation; of a TIFF without what describes the file."""
    xmp = None if _is_attached(image) else _xmp(image)
    others = (image.info.get('icc_profile') or None, sound_dpi(image.info.get('dpi')), xmp)
    if image.format == 'TIFF':
        return Metadata(as_block(described(image.getexif())), *others)
    exif = image.info.get('exif')
    return Metadata(exif.removeprefix(EXIF_START) or None if isinstance(exif, bytes) else None, *others)


def notes_of(image: PIL.Image.Image) -> tuple[str, ...]:
    """What the file has beside its first picture and its metadata."""
    return tuple(_notes(image))


def _notes(image: PIL.Image.Image) -> Iterator[str]:
    frames = getattr(image, 'n_frames', 1)
    # Phones keep other takes and depth behind a JPEG's picture, which no viewer shows.
    if frames > 1 and image.format != 'MPO':
        yield f'the first of {frames} frames'
    if _is_attached(image):
        yield 'XMP left out: it tells of what is attached to the picture'
    # A PNG's XMP is one of its texts.
    if image.info.get('comment') or any(key != 'XML:com.adobe.xmp' for key in getattr(image, 'text', {})):
        yield 'comments left out'


def _xmp(image: PIL.Image.Image) -> bytes | None:
    xmp = image.info.get('xmp')
    return xmp if isinstance(xmp, bytes) and xmp else None


def _is_attached(image: PIL.Image.Image) -> bool:
    return any(word in (_xmp(image) or b'') for word in ATTACHED)
