"""The list of all that FREx registers with BasicSR. Importing this module patches basicsr and registers everything."""

from frex import compat

compat.install()

from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

from frex.data.face_degradation_dataset import FaceDegradationDataset
from frex.losses.arcface_losses import IdentityLoss, StructureLoss
from frex.losses.encoder_3d_losses import CameraLoss, OffsetNormLoss
from frex.losses.lpips_loss import LPIPSLoss
from frex.losses.pyramid_loss import PyramidLoss
from frex.losses.stlpips_loss import STLPIPSLoss
from frex.losses.vgg_losses import StyleLoss, VGGPerceptualLoss
from frex.metrics.basicsr_functions import calculate_deg, calculate_landmark_distance, calculate_lpips, calculate_stlpips
from frex.metrics.fid import FID
from frex.models.frex_model import FRExModel
from frex_arch import EG3D, ArcFace, DualDiscriminator, FREx, FREx3D, LatentDiscriminator, MultiScaleDiscriminator, StyleGAN2

REGISTERED = (
    (ARCH_REGISTRY, (FREx, FREx3D, EG3D, StyleGAN2, DualDiscriminator, MultiScaleDiscriminator, LatentDiscriminator, ArcFace)),
    (DATASET_REGISTRY, (FaceDegradationDataset,)),
    (
        LOSS_REGISTRY,
        (CameraLoss, IdentityLoss, LPIPSLoss, OffsetNormLoss, PyramidLoss, STLPIPSLoss, StructureLoss, StyleLoss, VGGPerceptualLoss),
    ),
    (METRIC_REGISTRY, (FID, calculate_lpips, calculate_stlpips, calculate_deg, calculate_landmark_distance)),
    (MODEL_REGISTRY, (FRExModel,)),
)


def register() -> None:
    """Register everything that is not registered yet."""
    for registry, entries in REGISTERED:
        for entry in entries:
            if entry.__name__ not in registry:
                registry.register(entry)


register()
