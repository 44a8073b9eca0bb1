"""The options of `frex web`, and the limits on what the page takes."""

from dataclasses import dataclass
from pathlib import Path

from frex.restore.detection.pyramid import check_detection_size

HOST, PORT = '127.0.0.1', 7860
# The limits are for a page that several people may use.
MOST_FILES, MOST_MEGABYTES, MOST_MEGAPIXELS = 20, 100, 100


@dataclass(frozen=True)
class Limits:
    """What a session may hold: `files` files of up to `megabytes` each, and images and results of up to `megapixels` each."""

    files: int = MOST_FILES
    megabytes: int = MOST_MEGABYTES
    megapixels: int = MOST_MEGAPIXELS

    @property
    def pixels(self) -> int:
        """The most pixels of an image and of its result."""
        return self.megapixels * 10**6


@dataclass(frozen=True)
class WebOptions:
    """The flags of `frex web`, by their names, with their defaults; see the help of the command.

    `model_path` are the checkpoints that the page offers besides the small FREx of the package.
    """

    host: str = HOST
    port: int = PORT
    model_path: tuple[str, ...] = ()
    param_key: str = 'params_ema'
    weights: Path | None = None
    device: str = 'auto'
    precision: str = 'auto'
    batch_size: int | None = None
    detection_model: str | None = None
    detection_size: int | None = None
    most_files: int = MOST_FILES
    most_megabytes: int = MOST_MEGABYTES
    most_megapixels: int = MOST_MEGAPIXELS

    def __post_init__(self) -> None:
        # Raises FRExError where it is out of its range.
        check_detection_size(self.detection_size)

    @property
    def limits(self) -> Limits:
        """What a session may hold."""
        return Limits(self.most_files, self.most_megabytes, self.most_megapixels)
