"""Say what kind of file lies under a name, by its first bytes, and what its owner can do where FREx does not read it."""

from importlib.util import find_spec
from typing import NamedTuple

from PIL import features

# Bytes from the start of a file that are looked at.
START = 64

HEIC_WAY_OUT = "pip install 'frex[heic]', or convert it to jpg or png"
VIDEO = 'a film: to restore it, name it itself as an input, with a suffix such as .mp4'
RAW = "a camera's raw file: develop it to tiff, png or jpg"
AVIF_WAY_OUT = 'AVIF, which this Pillow does not read: convert it to jpg or png'
BY_NAME = 'an image, but not by its suffix: rename it, or name it itself as an input'
EXPORT = 'export it as png, tiff or jpg'

# Brands in the first box of ISO's media files.
HEIC_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'hevm', b'hevs', b'mif1', b'msf1')
AVIF_BRANDS = (b'avif', b'avis')
RAW_BRAND = b'crx '


class Kind(NamedTuple):
    """A kind of file: the bytes at `offset` by which it is known, and what is said of it."""

    magic: bytes
    what: str
    offset: int = 0


KINDS = (
    Kind(b'\xff\xd8\xff', BY_NAME),
    Kind(b'\x89PNG\r\n\x1a\n', BY_NAME),
    Kind(b'WEBP', BY_NAME, 8),
    Kind(b'GIF8', BY_NAME),
    Kind(b'II*\0\x10\0\0\0CR', RAW),
    Kind(b'FUJIFILMCCD-RAW', RAW),
    Kind(b'IIRO', RAW),
    Kind(b'IIRS', RAW),
    Kind(b'MMOR', RAW),
    Kind(b'IIU\0', RAW),
    Kind(b'FOVb', RAW),
    Kind(b'\0MRM', RAW),
    Kind(b'HEAPCCDR', RAW, 6),
    Kind(b'II*\0', BY_NAME),
    Kind(b'MM\0*', BY_NAME),
    Kind(b'\xff\x0a', f'JPEG XL: {EXPORT}'),
    Kind(b'JXL ', f'JPEG XL: {EXPORT}', 4),
    Kind(b'jP  ', f'JPEG 2000: {EXPORT}', 4),
    Kind(b'\xff\x4f\xff\x51', f'JPEG 2000: {EXPORT}'),
    Kind(b'8BPS', f'a Photoshop file: {EXPORT}'),
    Kind(b'gimp xcf', f'a GIMP file: {EXPORT}'),
    Kind(b'%PDF', f'a PDF: {EXPORT}'),
    Kind(b'%!PS', f'PostScript: {EXPORT}'),
    Kind(b'v/1\x01', f'OpenEXR: {EXPORT}'),
    Kind(b'#?RADIANCE', f'Radiance HDR: {EXPORT}'),
    Kind(b'\x1aE\xdf\xa3', VIDEO),
    Kind(b'AVI ', VIDEO, 8),
    Kind(b'FLV\x01', VIDEO),
    Kind(b'\0\0\x01\xba', VIDEO),
    Kind(b'\0\0\x01\xb3', VIDEO),
    Kind(b'0&\xb2u\x8ef\xcf\x11', VIDEO),
    Kind(b'moov', VIDEO, 4),
    Kind(b'mdat', VIDEO, 4),
)
# Raw files that start as TIFF does, and video whose packets have no unmistakable start.
RAW_SUFFIXES = ('.dng', '.nef', '.nrw', '.arw', '.sr2', '.pef', '.srw', '.erf', '.3fr', '.iiq', '.rwl', '.dcr', '.kdc', '.mos')
VIDEO_SUFFIXES = ('.ts', '.mts', '.m2ts')
# Suffixes of films, also of damaged ones whose content does not say so.
FILM_SUFFIXES = (
    *('.mp4', '.mov', '.m4v', '.mkv', '.webm', '.avi', '.wmv', '.flv', '.mpg', '.mpeg', '.3gp', '.ogv'),
    *VIDEO_SUFFIXES,
)
SYNC = b'G'


def reads_heic() -> bool:
    """Return whether HEIC can be read: pillow-heif is installed."""
    return find_spec('pillow_heif') is not None


def is_heic(start: bytes) -> bool:
    """Return whether a file that starts with these bytes is HEIC or HEIF."""
    brands = _brands(start)
    return any(brand in HEIC_BRANDS for brand in brands) and not any(brand in AVIF_BRANDS for brand in brands)


def describe_content(start: bytes, suffix: str) -> str | None:
    """Return what a file is that starts with these bytes, and the way out; None where it is none of the kinds that are known here.

    For images that FREx reads the text says that their suffix is not that of an image.
    """
    if start[4:8] == b'ftyp':
        return _describe_media(start)
    if suffix.lower() in RAW_SUFFIXES and start[:4] in (b'II*\0', b'MM\0*'):
        return RAW
    if suffix.lower() in VIDEO_SUFFIXES and SYNC in (start[:1], start[4:5]):
        return VIDEO
    return next((kind.what for kind in KINDS if start.startswith(kind.magic, kind.offset)), None)


def is_film(start: bytes, suffix: str) -> bool:
    """Return whether a file that starts with these bytes is a film, by its content, or by its suffix where the content is not known."""
    what = describe_content(start, suffix)
    return what == VIDEO or (what is None and suffix.lower() in FILM_SUFFIXES)


def _brands(start: bytes) -> list[bytes]:
    """Return the major brand of a media file, and those it is compatible with."""
    if start[4:8] != b'ftyp':
        return []
    end = min(int.from_bytes(start[:4], 'big'), len(start))
    return [start[8:12], *(start[at : at + 4] for at in range(16, end - 3, 4))]


def _describe_media(start: bytes) -> str:
    brands = _brands(start)
    if any(brand in AVIF_BRANDS for brand in brands):
        return BY_NAME if features.check('avif') else AVIF_WAY_OUT
    if is_heic(start):
        return BY_NAME if reads_heic() else f'HEIC, which needs the package pillow-heif: {HEIC_WAY_OUT}'
    return RAW if RAW_BRAND in brands else VIDEO
