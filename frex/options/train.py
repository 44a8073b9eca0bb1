"""The section `train` of option files, typed."""

from dataclasses import dataclass, field
from typing import Literal

from frex.options.convert import ComponentOptions


@dataclass(frozen=True)
class OptimizerOptions:
    """The options of one optimiser, with BasicSR's keys."""

    type: Literal['Adam', 'AdamW']
    """`Adam` or `AdamW`."""
    lr: float
    """Learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running means of gradients and of their squares."""
    weight_decay: float = 0.0
    """Factor of the weights' decay."""


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """The keys of `train` of any model that FREx reads."""

    total_iter: int
    """Number of iterations."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(LoopOptions):
    """The `train` section; a loss acts where its `_opt` is given."""

    optim_g: OptimizerOptions
    """The generator's optimiser."""
    scheduler: ComponentOptions
    """BasicSR's: `MultiStepLR` or `CosineAnnealingRestartLR` with its arguments."""
    optim_d: OptimizerOptions | None = None
    """The critics' optimiser; the generator's if None."""
    optim_d_latent: OptimizerOptions | None = None
    """The latent critic's optimiser; `optim_d` if None."""
    encoder_3d_lr: float | None = None
    """Enc_3D's own rate: that of `optim_g` is for equalised layers, which Enc_3D's are not."""
    warmup_iter: int = -1
    """Iterations in which the learning rate rises from 0; -1: none."""
    ema_decay: float = 0.99778
    """0.5 ** (batch of 32 / 10,000 images): StyleGAN2's."""
    frozen_parts: list[str] = field(default_factory=list)
    """Parts of net_g that are not trained, in addition to the two generators; e.g. encoder_3d."""
    train_priors: bool = False
    """Train the two generators, too, without their mapping networks; for users who have no weights of them."""

    # L_3D (Eqs. 10-13)
    pixel_3d_opt: ComponentOptions | None = None
    """Pixel loss of the 3D prior's image (Eq. 10)."""
    perceptual_3d_opt: ComponentOptions | None = None
    """Perceptual loss of the 3D prior's image (Eq. 10)."""
    identity_3d_opt: ComponentOptions | None = None
    """Identity loss of the 3D prior's image (Eq. 10)."""
    offset_norm_opt: ComponentOptions | None = None
    """Norm of Enc_3D's offsets (Eq. 13)."""
    latent_gan_opt: ComponentOptions | None = None
    """Adversarial loss of Enc_3D's codes (Eq. 11); needs `network_d_latent`."""
    # L_2D (Eqs. 14-16)
    pixel_opt: ComponentOptions | None = None
    """Pixel loss of the result (Eq. 14)."""
    perceptual_opt: ComponentOptions | None = None
    """Perceptual loss of the result (Eq. 14)."""
    identity_opt: ComponentOptions | None = None
    """Identity loss of the result (Eq. 14)."""
    dual_gan_opt: ComponentOptions | None = None
    """Adversarial loss of the result (Eq. 15); needs `network_d_dual`."""
    # Eqs. 17 and 5, the camera, and the authors' extras
    structure_opt: ComponentOptions | None = None
    """Facial structure loss (Eq. 17)."""
    multi_scale_gan_opt: ComponentOptions | None = None
    """Adversarial loss of the decoder's images (Eq. 5); needs `network_d_multi_scale`."""
    camera_opt: ComponentOptions | None = None
    """Loss of the predicted camera (Eq. 12)."""
    style_opt: ComponentOptions | None = None
    """Style loss, as in the authors' code."""
    pyramid_opt: ComponentOptions | None = None
    """Pixel loss of the decoder's images, as in the authors' code."""
    r1_reg_weight: float = 10.0
    """The critics' gamma of R1."""
    net_d_reg_every: int = 16
    """Iterations between steps of the critics with R1."""

    bf16: bool = False
    """Autocast to bfloat16; the renderer and the cameras stay in float32."""
    tf32: bool | None = None
    """Whether float32 convolutions and matrix products may round their inputs to TF32; None: as torch has it, convolutions only."""
    channels_last: bool = False
    """Keep images and the weights of convolutions in channels-last order."""
    compile: bool = False
    """Compile the frozen generators, the renderer's decoder and the critics, but for the critics' pass for R1."""
    accumulate: int = 1
    """Number of equal parts in which a batch is computed, one after the other, for less memory."""
    grad_clip: float | None = None
    """Largest norm of the generator's and of each critic's gradient."""
    checkpoint_renderer: bool = False
    """Render again in the backward pass instead of keeping what it needs."""
    most_bad_steps: int = 10
    """Consecutive steps without finite losses and gradients after which training stops."""

    def __post_init__(self) -> None:
        if self.compile:
            import torch

            if not hasattr(torch.compiler, 'set_stance'):
                raise ValueError(f'compile needs torch 2.6 or newer, this is {torch.__version__}')
        for name in ('net_d_reg_every', 'accumulate', 'most_bad_steps'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, not {getattr(self, name)}')
        if self.encoder_3d_lr is not None and self.encoder_3d_lr <= 0:
            raise ValueError(f'encoder_3d_lr must be above 0, not {self.encoder_3d_lr}')
        if self.grad_clip is not None and self.grad_clip <= 0:
            raise ValueError(f'grad_clip must be above 0, not {self.grad_clip}')

    @property
    def losses(self) -> dict[str, ComponentOptions]:
        """The configured losses by their keys."""
        return {key: loss for key, loss in vars(self).items() if key.endswith('_opt') and loss is not None}
