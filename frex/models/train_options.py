"""The `train` section of an option file, typed; losses are BasicSR's `type` and arguments."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

LossOptions = dict[str, Any]


@dataclass(frozen=True)
class OptimizerOptions:
    """One optimiser, as BasicSR writes it."""

    type: Literal['Adam', 'AdamW']
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0

    def build(self, parameters: list[nn.Parameter], share: float = 1.0) -> torch.optim.Optimizer:
        """The optimiser. `share` < 1 corrects rate and betas for a lazy regulariser (StyleGAN2, appendix B)."""
        kind = {'Adam': torch.optim.Adam, 'AdamW': torch.optim.AdamW}[self.type]
        betas = (self.betas[0] ** share, self.betas[1] ** share)
        return kind(parameters, lr=self.lr * share, betas=betas, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class TrainOptions:
    """What acts in training follows from which of the `_opt` are there."""

    optim_g: OptimizerOptions
    scheduler: dict[str, Any]
    total_iter: int
    optim_d: OptimizerOptions | None = None
    """That of the critics; the generator's if None."""
    warmup_iter: int = -1
    ema_decay: float = 0.99778
    """0.5 ** (batch of 32 / 10,000 images): StyleGAN2's."""
    pixel_opt: LossOptions | None = None
    pyramid_opt: LossOptions | None = None
    camera_opt: LossOptions | None = None
    dual_gan_opt: LossOptions | None = None
    multi_scale_gan_opt: LossOptions | None = None
    r1_reg_weight: float = 10.0
    net_d_reg_every: int = 16

    def __post_init__(self) -> None:
        if self.net_d_reg_every < 1:
            raise ValueError(f'net_d_reg_every counts steps from 1, not {self.net_d_reg_every}')
