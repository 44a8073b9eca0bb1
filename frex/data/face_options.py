"""Keys of a `datasets` entry."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class IoBackend:
    """BasicSR's word for what `dataroot_gt` is; its name says it too."""

    type: str


@dataclass(frozen=True, kw_only=True)
class FaceSetOptions:
    """Where images are, and what is known of them."""

    dataroot_gt: str
    """A folder, `NAME.lmdb` or `NAME.zip`."""
    io_backend: IoBackend | None = None
    camera_labels: str | None = None
    """EG3D's `dataset.json`; in a zip: `NAME.zip/dataset.json`."""
    crop: tuple[float, float, float] | None = None
    """From all images' frame to EG3D's; (1, 0, 0) for images that are in EG3D's crop already.

    None: each image's own where the labels hold crops, else that of a frontal face.
    """
    use_hflip: bool = False


@dataclass(frozen=True, kw_only=True)
class MixOptions(FaceSetOptions):
    """Images, as of EG3D, that take the place of the data set's own in the share `ratio` of the visits."""

    ratio: float
    balance_yaw: bool = True
    """Each 5 degrees of |yaw| equally often."""


@dataclass(frozen=True, kw_only=True)
class FaceDegradationOptions(FaceSetOptions):
    """The loader's own keys (workers, batch size, ...) are BasicSR's."""

    name: str
    type: str
    gt_size: int
    phase: str = 'train'
    seed: int = 0
    mix: MixOptions | None = None
    degradation: dict[str, Any] = field(default_factory=lambda: {'preset': 'paper'})
    num_worker_per_gpu: int = 0
    batch_size_per_gpu: int = 1
    dataset_enlarge_ratio: int = 1
    prefetch_mode: str | None = None
    num_prefetch_queue: int = 1
    pin_memory: bool = False
    persistent_workers: bool = False
    scale: int = 1
