"""The options of `frex restore`, as the command line and `restore_folder` exchange them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from frex.heads.files import check_formats
from frex.restore.detection.pyramid import check_detection_size
from frex.restore.detection.selection import Selection


@dataclass(frozen=True)
class RestoreOptions:
    """The flags of `frex restore` and `inference_frex.py`, by their names, with their defaults; see the help of these commands.

    All of them are written to the report as the settings of the run. `save_head` adds files to those of `save_3d`, and writes none
    without it. Raises FRExError for a `det_threshold`, `min_face` or `detection_size` out of range, for an unknown format in `save_head`,
    and where a package is missing that such a format needs. The other values are not checked here.
    """

    input: tuple[str, ...]
    recursive: bool = False
    output: Path = Path('results')
    upscale: float = 1.0
    suffix: str = ''
    ext: str = 'auto'
    exist: Literal['skip', 'overwrite', 'rename'] = 'skip'
    bg_upsampler: str = 'none'
    bg_tile: int = 400
    face_upsample: bool = False
    save_3d: bool = False
    save_head: tuple[str, ...] = ()
    save_weights_map: bool = False
    model_path: Path | None = None
    param_key: str = 'params_ema'
    weights: Path | None = None
    fidelity_weight: float = 1.0
    structure_weight: float = 1.0
    device: str = 'auto'
    precision: str = 'auto'
    batch_size: int | None = None
    aligned: bool = False
    only_center_face: bool = False
    detection_model: str | None = None
    det_threshold: float = 0.8
    detection_size: int | None = None
    min_face: float = 0.0
    any_turn: bool = False
    force: bool = False
    no_face: Literal['copy', 'skip'] = 'copy'
    frames: bool = False
    no_tracking: bool = False
    video_codec: str = 'h264'
    crf: int | None = None

    def __post_init__(self) -> None:
        # Raises FRExError where a limit is out of its range.
        Selection(self.det_threshold, self.min_face)
        check_formats(self.save_head, '--save_head')
        check_detection_size(self.detection_size)

    @property
    def has_bg_upsampler(self) -> bool:
        """Whether a network enlarges the background."""
        return self.bg_upsampler.lower() != 'none'

    @property
    def details(self) -> bool:
        """Whether the network also has to return the 3D prior's image and the AWB's alphas, for `save_3d` or `save_weights_map`."""
        return self.save_3d or self.save_weights_map

    @property
    def selection(self) -> Selection:
        """The rule by which faces are chosen."""
        return Selection(self.det_threshold, self.min_face, 'center' if self.only_center_face else 'all', self.any_turn)
