"""Set which parameters are trained, build optimisers, and make their steps: gradient accumulation, bfloat16, clipping.

A step whose losses or gradients are not finite in one of the processes is skipped in all.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from frex.errors import FRExError
from frex.models.objective import TERMS_3D
from frex.options.train import OptimizerOptions, TrainOptions
from frex_arch import FREx, FREx3D

T = TypeVar('T')


def choose_trained_parts(net: FREx | FREx3D, options: TrainOptions) -> None:
    """Set `requires_grad` of the parameters of `net`: `train_priors` trains the priors, too, and `frozen_parts` are not trained."""
    if options.train_priors:
        _unfreeze_priors(net, superresolution=any(key in options.losses for key in TERMS_3D))
    for part in options.frozen_parts:
        net.get_submodule(part).requires_grad_(False)


def _unfreeze_priors(net: FREx | FREx3D, superresolution: bool) -> None:
    """Train the synthesis of both generators, too; EG3D's super-resolution only with `superresolution`, where a loss uses its image."""
    if isinstance(net, FREx):
        net.stylegan2.requires_grad_(True)
        net.stylegan2.style_mlp.requires_grad_(False)
    if net.eg3d is not None:
        net.eg3d.requires_grad_(True)
        net.eg3d.backbone.mapping.requires_grad_(False)
        for name, parameter in net.eg3d.superresolution.named_parameters():
            # Super-resolution adds no noise.
            parameter.requires_grad_(superresolution and not name.endswith('noise_strength'))


def build_optimizer(
    options: OptimizerOptions, parameters: Iterable[nn.Parameter] | list[dict[str, Any]], lazy: float = 1.0
) -> torch.optim.Optimizer:
    """Build an optimiser; `lazy` < 1 corrects rate and betas for a lazy regulariser (StyleGAN2, appendix B).

    Each of its parameter groups has the key `type`, the optimiser's class by name, so that training states hold it.
    """
    kind = {'Adam': torch.optim.Adam, 'AdamW': torch.optim.AdamW}[options.type]
    betas = (options.betas[0] ** lazy, options.betas[1] ** lazy)
    # Fused: one kernel launch for all parameters.
    optimizer = kind(parameters, lr=options.lr * lazy, betas=betas, weight_decay=options.weight_decay, fused=True)
    for group in optimizer.param_groups:
        group['type'] = options.type
    return optimizer


class Stepper:
    """Accumulates gradients of a network and steps its optimiser, unless a loss or its gradient is not finite."""

    def __init__(self, net: nn.Module, optimizer: torch.optim.Optimizer, options: TrainOptions) -> None:
        self.net = net
        self.optimizer = optimizer
        self.options = options
        self.stepped = True
        self.bad_steps = 0
        """The number of steps skipped since the last one that was made."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass: autocast to bfloat16 by `train.bf16`."""
        device = next(self.net.parameters()).device.type
        return torch.autocast(device, dtype=torch.bfloat16) if self.options.bf16 else nullcontext()

    @contextmanager
    def step(self) -> 'Iterator[Callable[[Sequence[T]], Iterator[T]]]':
        """Step the optimiser at the end of the block, in which the yielded function iterates over the parts of a batch.

        Call `backward` on each part's fraction of the loss. `stepped` says afterwards whether the step was made: it is skipped in all
        processes where a loss or gradient of one of them is not finite.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self.finite = torch.ones([], dtype=torch.bool, device=next(self.net.parameters()).device)
        yield self._iterate_parts
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group['params']]
        norm = nn.utils.clip_grad_norm_(parameters, self.options.grad_clip or math.inf)
        self.stepped = self._holds_everywhere(self.finite & torch.isfinite(norm))
        self.bad_steps = 0 if self.stepped else self.bad_steps + 1
        if self.stepped:
            self.optimizer.step()

    def backward(self, loss: Float[Tensor, '']) -> None:
        """Add the gradient of `loss`, and note whether `loss` is finite, since its gradient may be finite where the loss is not.

        Raises FRExError where `loss` depends on no trained parameter.
        """
        if not loss.requires_grad:
            raise FRExError('train: no loss depends on a parameter that is trained; add a loss, or take a part out of frozen_parts')
        loss.backward()
        self.finite &= torch.isfinite(loss.detach())

    @staticmethod
    def _holds_everywhere(true: Bool[Tensor, '']) -> bool:
        """Return whether `true` holds in all processes, since they step together or not at all."""
        if dist.is_available() and dist.is_initialized():
            agreed = true.to(torch.uint8)
            dist.all_reduce(agreed, dist.ReduceOp.MIN)
            true = agreed.bool()
        return bool(true)

    def _iterate_parts(self, parts: Sequence[T]) -> Iterator[T]:
        """Yield the parts; in a distributed run gradients are exchanged with the last one only."""
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            with self.net.no_sync() if isinstance(self.net, DistributedDataParallel) and not last else nullcontext():
                yield part
