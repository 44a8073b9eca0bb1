"""What a film is made of: the layout, the colours and the times of its frames, and the encoders that write it."""

from fractions import Fraction
from typing import Any, NamedTuple

from frex.errors import FRExError, nearest
from frex.restore.image_io.photo_file import Photo
from frex.utils.extras import require_package

# FFmpeg's numbers of the matrices from RGB to YUV, and of the transfer functions of HDR: PQ and HLG.
MATRIX_RGB, MATRIX_BT709, MATRIX_BT470BG, MATRIX_SMPTE170M = 0, 1, 5, 6
HDR_TRANSFERS = {16: 'PQ', 18: 'HLG'}
# FFmpeg's flags for a conversion between RGB and YUV that is exact: bicubic, rounded, with chroma at full resolution.
EXACT_CONVERSION = 0x4 | 0x40000 | 0x2000 | 0x4000
SHALLOW, DEEP = 'yuv420p', 'yuv420p10le'


class FilmFrame(NamedTuple):
    """A frame, upright. `pts` is its time in units of the film's time base, and `time` the same in seconds."""

    photo: Photo
    pts: int
    time: float


class Colours(NamedTuple):
    """FFmpeg's numbers for the range, the primaries, the transfer function and the matrix of a film's colours; by default not stated."""

    color_range: int = 0
    color_primaries: int = 2
    color_trc: int = 2
    colorspace: int = 2

    @property
    def swscale_matrix(self) -> int:
        """The number of the matrix for conversions: the two matrices of BT.601 are the same, and swscale knows one of them."""
        return MATRIX_BT470BG if self.colorspace == MATRIX_SMPTE170M else self.colorspace


class FilmFormat(NamedTuple):
    """The layout of a film: the size of its upright frames, the unit of their times in seconds, and the mean rate per second.

    `deep` films have more than 8 bits per sample. `aspect` is the width of a pixel over its height.
    """

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    deep: bool = False
    colours: Colours = Colours()
    aspect: Fraction = Fraction(1)


class Encoder(NamedTuple):
    """An encoder of FFmpeg by its `name`, with its constant rate factor `crf`, the greatest one, `most_crf`, and more `options` for it.

    In ENCODERS `crf` is the usual one, at which the loss is hardly visible; smaller ones lose less. The options make the encoder keep the
    frames in their order, so that segments can be joined.
    """

    name: str
    crf: int
    most_crf: int
    options: dict[str, str]


ENCODERS = {
    'h264': Encoder('libx264', 18, 51, {'bf': '0'}),
    'hevc': Encoder('libx265', 20, 51, {'bf': '0', 'x265-params': 'log-level=none'}),
    'vp9': Encoder('libvpx-vp9', 24, 63, {'row-mt': '1', 'cpu-used': '2', 'deadline': 'good'}),
    'av1': Encoder('libsvtav1', 26, 63, {'preset': '7'}),
}
ALIASES = {encoder.name: codec for codec, encoder in ENCODERS.items()}


def find_encoder(codec: str, crf: int | None) -> Encoder:
    """Return the encoder for `codec` (`--video_codec`) with the constant rate factor `crf` (`--crf`), its usual one for None.

    `codec` is a key of ENCODERS or FFmpeg's name of one of these encoders, in any case. Raises FRExError for another codec, for a `crf`
    that is negative or greater than the encoder takes, and where PyAV or this encoder in it is missing.
    """
    require_package('av', 'restoring films')
    import av.codec

    key = ALIASES.get(codec.lower(), codec.lower())
    if key not in ENCODERS:
        raise FRExError(f'--video_codec {codec}: not known; {nearest(codec, list(ENCODERS))}')
    encoder = ENCODERS[key]
    if crf is not None and not 0 <= crf <= encoder.most_crf:
        raise FRExError(f'--crf {crf}: must be 0 to {encoder.most_crf} for {key}')
    if encoder.name not in av.codec.codecs_available:
        raise FRExError(f'--video_codec {codec}: this PyAV has no {encoder.name}; take h264')
    return encoder if crf is None else encoder._replace(crf=crf)


def choose_pixels(encoder: Encoder, deep: bool) -> str:
    """Return the pixel format, 4:2:0, in which an encoder writes a film: of 10 bits where the film is `deep` and it can, else of 8."""
    return DEEP if deep and can_encode_deep(encoder) else SHALLOW


def can_encode_deep(encoder: Encoder) -> bool:
    """Return whether an encoder, as built into the installed PyAV, can write 4:2:0 frames of 10 bits per sample (`DEEP`)."""
    from av.codec import Codec

    formats: list[Any] = Codec(encoder.name, 'w').video_formats or []
    return any(pixels.name == DEEP for pixels in formats)
