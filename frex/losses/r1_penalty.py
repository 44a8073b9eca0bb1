"""R1, the gradient penalty of the critics (Mescheder et al. 2018)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def r1_penalty(logits: Float[Tensor, 'batch _'], real: Sequence[Float[Tensor, 'batch ...']]) -> Float[Tensor, '']:
    """Return the squared norm of the gradient of the critic's `logits` with respect to its `real` inputs, without the factor gamma / 2.

    It is summed over the inputs and averaged over the batch. The inputs must require a gradient, and the logits be computed from them.
    """
    gradients = torch.autograd.grad(logits.sum(), list(real), create_graph=True)
    norms = [gradient.flatten(1).square().sum(dim=1) for gradient in gradients]
    return torch.stack(norms).sum(dim=0).mean()
