"""The critics: one class for all of them, told apart by what they look at."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frex.losses.pyramid_loss import image_pyramid
from frex.losses.r1_penalty import r1_penalty
from frex.models.batch import Batch
from frex.models.train_options import OptimizerOptions
from frex_arch import FRExOutput

Images = tuple[Tensor, ...]


Sizes = Sequence[int]


class Comparison(NamedTuple):
    """The real and the generated images that a critic tells apart, at its sizes where it has several."""

    real: Callable[[Batch, Sizes], Images]
    fake: Callable[[FRExOutput, Batch, Sizes], Images]


def _by_size(images: Images) -> dict[int, Tensor]:
    return {image.shape[-1]: image for image in images}


# Key `network_d_KEY` of the option file -> what that critic looks at.
COMPARISONS = {
    # Eq. 15: a picture together with the degraded one.
    'dual': Comparison(
        real=lambda batch, sizes: (torch.cat([batch.gt, batch.lq], dim=1),),
        fake=lambda output, batch, sizes: (torch.cat([output.image, batch.lq], dim=1),),
    ),
    # Eq. 5: the decoder's pictures, size by size.
    'multi_scale': Comparison(
        real=lambda batch, sizes: tuple(image_pyramid(batch.gt, sizes)),
        fake=lambda output, batch, sizes: tuple(_by_size(output.images_3d)[size] for size in sizes),
    ),
}


class Critic:
    """One critic: its network, loss, optimiser and lazy R1."""

    def __init__(self, name: str, net: nn.Module, loss: nn.Module, *, r1_weight: float, r1_every: int, sizes: Sizes = ()) -> None:
        self.name = name
        self.net = net
        self.sizes = sizes
        self.compares = COMPARISONS[name]
        self.loss = loss
        self.r1_weight = r1_weight
        self.r1_every = r1_every
        self.r1 = torch.zeros([])
        self.optimizer: torch.optim.Optimizer

    def set_optimizer(self, options: OptimizerOptions) -> None:
        """Lazy R1 is one more step in `r1_every`, for which rate and betas are corrected."""
        self.optimizer = options.build(list(self.net.parameters()), share=self.r1_every / (self.r1_every + 1))

    def generator_loss(self, output: FRExOutput, batch: Batch) -> Tensor:
        """softplus(-D(fake)): what the generator pays for being told apart."""
        return self.loss(self.net(*self.compares.fake(output, batch, self.sizes)), True, is_disc=False)

    def step(self, output: FRExOutput, batch: Batch, current_iter: int) -> dict[str, Tensor]:
        """Train the critic on one batch; returns its losses for the log."""
        self.optimizer.zero_grad(set_to_none=True)
        fake = self.net(*(image.detach() for image in self.compares.fake(output, batch, self.sizes)))
        real = self.net(*self.compares.real(batch, self.sizes))
        loss = self.loss(real, True, is_disc=True) + self.loss(fake, False, is_disc=True)
        loss.backward()
        if self.r1_weight and current_iter % self.r1_every == 0:
            self._regularize(batch)
        self.optimizer.step()
        return {
            f'l_d_{self.name}': loss.detach(),
            f'l_d_{self.name}_r1': self.r1.to(loss.device),
            f'real_score_{self.name}': real.detach().mean(),
            f'fake_score_{self.name}': fake.detach().mean(),
        }

    def _regularize(self, batch: Batch) -> None:
        images = tuple(image.detach().requires_grad_() for image in self.compares.real(batch, self.sizes))
        logits = self.net(*images)
        penalty = r1_penalty(logits, images)
        # Without the logits themselves their last bias has no gradient, for which distributed training would wait.
        (self.r1_weight / 2 * self.r1_every * penalty + 0 * logits.sum()).backward()
        self.r1 = penalty.detach()


@contextmanager
def frozen(critics: Sequence[Critic]) -> Iterator[None]:
    """No gradient for the critics' parameters within."""
    for critic in critics:
        critic.net.requires_grad_(False)
    try:
        yield
    finally:
        for critic in critics:
            critic.net.requires_grad_(True)


def critic_names(opt: dict[str, Any]) -> list[str]:
    """The critics that an option file configures."""
    return [name for name in COMPARISONS if opt.get(f'network_d_{name}')]
