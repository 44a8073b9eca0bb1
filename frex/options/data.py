"""The keys of an entry of `datasets` in option files, typed."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class IoBackend:
    """BasicSR's key for the kind of `dataroot_gt`, which its name says, too."""

    type: str


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """The keys of a data set of any model that FREx reads."""

    type: str = ''
    batch_size_per_gpu: int = 1


@dataclass(frozen=True, kw_only=True)
class FaceSetOptions:
    """The options of one set of images: where they are, their labels and their crop."""

    dataroot_gt: str
    """A folder, `NAME.lmdb` or `NAME.zip`."""
    io_backend: IoBackend | None = None
    camera_labels: str | None = None
    """EG3D's `dataset.json`; in a zip: `NAME.zip/dataset.json`."""
    crop: tuple[float, float, float] | None = None
    """The crop (s, t_x, t_y) from the frame of all images to EG3D's; (1, 0, 0) for images that are in EG3D's crop already.

    None: each image's own where the labels hold crops, else that of a frontal face.
    """
    use_hflip: bool = False


@dataclass(frozen=True, kw_only=True)
class MixOptions(FaceSetOptions):
    """Images, e.g. made by EG3D, which replace the data set's own in the fraction `ratio` of the visits."""

    ratio: float
    balance_yaw: bool = True
    """Whether to draw each bin of 5 degrees of |yaw| equally often."""


@dataclass(frozen=True, kw_only=True)
class FaceDegradationOptions(DatasetOptions, FaceSetOptions):
    """All keys of a data set of degraded faces; those of the loader (workers, prefetching, ...) are BasicSR's."""

    name: str
    gt_size: int
    phase: str = 'train'
    seed: int = 0
    mix: MixOptions | None = None
    degradation: dict[str, Any] = field(default_factory=lambda: {'preset': 'paper'})
    num_worker_per_gpu: int = 0
    dataset_enlarge_ratio: int = 1
    prefetch_mode: str | None = None
    num_prefetch_queue: int = 1
    pin_memory: bool = False
    persistent_workers: bool = False
    scale: int = 1
