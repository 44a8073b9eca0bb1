"""The one list of what FREx registers with BasicSR. Needs `frex.compat.install` first."""

from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.losses.camera_loss import CameraLoss
from frex.losses.pyramid_loss import PyramidLoss
from frex.models.frex_model import FRExModel
from frex_arch import EG3D, ArcFace, DualDiscriminator, FREx, LatentDiscriminator, MultiScaleDiscriminator, StyleGAN2

REGISTERED = (
    (ARCH_REGISTRY, (FREx, EG3D, StyleGAN2, DualDiscriminator, MultiScaleDiscriminator, LatentDiscriminator, ArcFace)),
    (DATASET_REGISTRY, (FaceDegradationDataset,)),
    (LOSS_REGISTRY, (CameraLoss, PyramidLoss)),
    (MODEL_REGISTRY, (FRExModel,)),
)


def register() -> None:
    """Register everything; a second call changes nothing."""
    for registry, entries in REGISTERED:
        for entry in entries:
            if entry.__name__ not in registry:
                registry.register(entry)
