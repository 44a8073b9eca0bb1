"""The critics of training: one class for the three; `COMPARISONS` says which images or codes each compares (FREx, Eqs. 5, 11, 15)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from frex.losses.pyramid_loss import image_pyramid
from frex.models.acceleration import uncompiled
from frex.models.batch import Batch
from frex.models.latents import LatentPool
from frex.models.objective import Output, active_losses
from frex.models.optimization import Stepper, build_optimizer
from frex.options import FRExConfig
from frex.options.convert import ComponentOptions
from frex.options.train import TrainOptions

Images = tuple[Tensor, ...]
Sizes = Sequence[int]


class Comparison(NamedTuple):
    """Two functions that return what a critic judges: the real and the generated images or codes, one per size where it has several."""

    real: Callable[[Batch, Sizes], Images]
    fake: Callable[[Output, Batch, Sizes], Images]


def _by_size(images: Images) -> dict[int, Tensor]:
    """Return batches of images by their width in pixels."""
    return {image.shape[-1]: image for image in images}


# Key `network_d_KEY` of the option file -> what that critic compares.
COMPARISONS = {
    # Eq. 15: an image together with the degraded one.
    'dual': Comparison(
        real=lambda batch, sizes: (torch.cat([batch.gt, batch.lq], dim=1),),
        fake=lambda output, batch, sizes: (torch.cat([output.image, batch.lq], dim=1),),
    ),
    # Eq. 5: the decoder's images, size by size.
    'multi_scale': Comparison(
        real=lambda batch, sizes: tuple(image_pyramid(batch.gt, sizes)),
        fake=lambda output, batch, sizes: tuple(_by_size(output.images_3d)[size] for size in sizes),
    ),
    # Eq. 11: the base code, which has no offset; w_avg + Z_3D.
    'latent': Comparison(
        real=lambda batch, sizes: () if batch.latents is None else (batch.latents,),
        fake=lambda output, batch, sizes: (output.ws[:, 0],),
    ),
}


class Critic:
    """One critic: its network, loss, optimiser and lazy R1.

    `name` is a key of `COMPARISONS`. `net` is on its device already. `sizes` are the multi-scale critic's, empty for other critics.
    """

    def __init__(self, name: str, net: nn.Module, loss: nn.Module, options: TrainOptions, sizes: Sizes = ()) -> None:
        self.name = name
        self.net = net
        self.sizes = sizes
        self.compares = COMPARISONS[name]
        self.loss = loss
        self.options = options
        self.pool = LatentPool() if name == 'latent' else None
        self.r1 = torch.zeros([], device=next(net.parameters()).device)
        every = options.net_d_reg_every
        optimizer = (options.optim_d_latent if name == 'latent' else None) or options.optim_d or options.optim_g
        # Lazy R1 acts in one step of `every`, for which rate and betas are corrected.
        self.stepper = Stepper(net, build_optimizer(optimizer, list(net.parameters()), lazy=every / (every + 1)), options)

    def generator_loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the generator's loss, softplus(-D(fake)) with BasicSR's `wgan_softplus`, times its loss weight, summed over scales."""
        return self._loss(self.net(*self.compares.fake(output, batch, self.sizes)), True, is_disc=False)

    def step(self, outputs: Sequence[Output], batches: Sequence[Batch], current_iter: int) -> dict[str, Tensor]:
        """Train the critic on what the generator made of each part of a batch; return its losses for the log.

        R1 is computed where `net_d_reg_every` divides `current_iter`; the log has the last R1 in the other iterations, too.
        """
        regularize = bool(self.options.r1_reg_weight) and current_iter % self.options.net_d_reg_every == 0
        logs = []
        with self.stepper.step() as parts:
            for output, batch in parts(list(zip(outputs, batches, strict=True))):
                logs.append(self._backpropagate(output, batch, len(batches)))
                if regularize:
                    self._regularize(batch, len(batches))
        means = {key: torch.stack([log[key] for log in logs]).mean() for key in logs[0]}
        return means | {f'l_d_{self.name}_r1': self.r1}

    def _loss(self, logits: Float[Tensor, 'batch scales'], target_is_real: bool, is_disc: bool) -> Float[Tensor, '']:
        """Return the sum over scales of each scale's mean (Eqs. 5, 18); BasicSR's losses average over both."""
        return logits.shape[1] * self.loss(logits, target_is_real, is_disc=is_disc)

    def _backpropagate(self, output: Output, batch: Batch, parts: int) -> dict[str, Tensor]:
        """Add the gradient of the critic's loss, softplus(-D(real)) + softplus(D(fake)) in the paper, on one of `parts` parts of a batch.

        Returns the loss and the mean logits of real and fake images, for the log.
        """
        images = tuple(image.detach() for image in self.compares.fake(output, batch, self.sizes))
        if self.pool is not None:
            images = tuple(self.pool.exchange(codes) for codes in images)
        with self.stepper.autocast():
            # Fake and real in one pass.
            pairs = zip(images, self.compares.real(batch, self.sizes), strict=True)
            fake, real = self.net(*(torch.cat(pair) for pair in pairs), joined=2).chunk(2)
            loss = self._loss(real, True, is_disc=True) + self._loss(fake, False, is_disc=True)
        self.stepper.backward(loss / parts)
        scores = {f'real_score_{self.name}': real.detach().mean(), f'fake_score_{self.name}': fake.detach().mean()}
        return {f'l_d_{self.name}': loss.detach(), **scores}

    def _regularize(self, batch: Batch, parts: int) -> None:
        """Add the gradient of lazy R1 on one of `parts` parts, in float32, since it is the gradient of a gradient."""
        images = tuple(image.detach().requires_grad_() for image in self.compares.real(batch, self.sizes))
        with uncompiled(self.options):
            logits = self.net(*images)
        penalty = r1_penalty(logits, images)
        weight = self.options.r1_reg_weight / 2 * self.options.net_d_reg_every / parts
        # R1 has no gradient for the last bias, for which distributed training would wait; 0 times the logits has one of 0.
        self.stepper.backward(weight * penalty + 0 * logits.sum())
        self.r1 = penalty.detach()


@contextmanager
def frozen(critics: Sequence[Critic]) -> Iterator[None]:
    """Keep gradients from the critics' parameters within a block; after it all of them require a gradient."""
    for critic in critics:
        critic.net.requires_grad_(False)
    try:
        yield
    finally:
        for critic in critics:
            critic.net.requires_grad_(True)


def active_critics(config: FRExConfig) -> dict[str, ComponentOptions]:
    """Return the options of the critics by their names, without those that would train nothing (`active_losses`)."""
    if config.train is None:
        return {}
    idle = config.train.losses.keys() - active_losses(config.train).keys()
    return {name: critic for name, critic in config.critics.items() if f'{name}_gan_opt' not in idle}


def r1_penalty(logits: Float[Tensor, 'batch _'], real: Sequence[Float[Tensor, 'batch ...']]) -> Float[Tensor, '']:
    """Return the squared norm of the gradient of the critic's `logits` with respect to its `real` inputs, without the factor gamma / 2.

    This is R1 (Mescheder et al. 2018). It is summed over the inputs and averaged over the batch. The inputs must require a gradient, and
    the logits be computed from them.
    """
    gradients = torch.autograd.grad(logits.sum(), list(real), create_graph=True)
    norms = [gradient.flatten(1).square().sum(dim=1) for gradient in gradients]
    return torch.stack(norms).sum(dim=0).mean()
