"""EG3D's tri-plane decoder, which turns the planes' features at a point into density and features to render (FREx, Eq. 2)."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from frex_arch.cpu.dense import decode_points
from frex_arch.cpu.rules import cpu_fast_path
from frex_arch.ops import EqualLinear

aten = torch.ops.aten


class TriPlaneDecoder(nn.Module):
    """Two dense layers from the sum of the planes' features at a point to its density and features; the viewing direction is not used."""

    def __init__(self, channels: int, feature_channels: int, hidden: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(EqualLinear(channels, hidden), nn.Softplus(), EqualLinear(hidden, 1 + feature_channels))

    def forward(
        self, sampled: Float[Tensor, 'batch *planes points channel']
    ) -> tuple[Float[Tensor, 'batch points feature'], Float[Tensor, 'batch points']]:
        """Return features in [0, 1], before `widen_sigmoid`, and raw densities, before softplus, of points.

        `sampled` holds the features of each plane, which are summed here, or their sum without the dimension of planes.
        """
        if sampled.ndim == 4 and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return self._with_gradient(sampled)
        features = sampled.sum(dim=1) if sampled.ndim == 4 else sampled
        if cpu_fast_path(features):
            first, last = self._layers()
            return decode_points(features, *first.scaled(), *last.scaled())
        decoded = self.net(features)
        return torch.sigmoid(decoded[..., 1:]), decoded[..., 0]

    def _layers(self) -> tuple[EqualLinear, EqualLinear]:
        first, last = (layer for layer in self.net if isinstance(layer, EqualLinear))
        return first, last

    def _with_gradient(self, sampled: Float[Tensor, 'batch planes points channel']) -> tuple[Tensor, Tensor]:
        first, last = self._layers()
        weight, bias = first.scaled()
        # The first layer gets its weights once per plane, so that its matrix product also sums over the planes.
        return _Decode.apply(sampled.transpose(2, 3).flatten(1, 2), weight.repeat(1, sampled.shape[1]), bias, *last.scaled())


class _Decode(torch.autograd.Function):
    """The decoder's layers with a backward pass of their own, which is exact and halves the memory traffic of autograd's.

    Nearly all memory traffic of rendering, which decodes millions of points, is here. The steps are dense layer, softplus, dense layer, and
    sigmoid of all outputs but the first, the density. Parameters get a gradient only where they require one.
    """

    @staticmethod
    def forward(
        ctx: Any,
        sampled: Float[Tensor, 'batch channel points'],
        weight1: Float[Tensor, 'hidden channel'],
        bias1: Float[Tensor, ' hidden'],
        weight2: Float[Tensor, 'decoded hidden'],
        bias2: Float[Tensor, ' decoded'],
    ) -> tuple[Float[Tensor, 'batch points feature'], Float[Tensor, 'batch points']]:
        linear = sampled.new_empty(sampled.shape[0], sampled.shape[2], len(weight1))
        for one, result in zip(sampled, linear, strict=True):
            torch.addmm(bias1, one.T, weight1.T, out=result)
        decoded = F.linear(F.softplus(linear), weight2, bias2)
        features = decoded[..., 1:].sigmoid()
        is_trained = any(ctx.needs_input_grad[1:])
        ctx.save_for_backward(linear, features, weight1, weight2, sampled if is_trained else None)
        return features, decoded[..., 0].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_features: Tensor, grad_densities: Tensor) -> tuple[Tensor | None, ...]:
        linear, features, weight1, weight2, sampled = ctx.saved_tensors
        grad_decoded = features.new_empty(*features.shape[:2], len(weight2))
        aten.sigmoid_backward.grad_input(grad_features, features, grad_input=grad_decoded[..., 1:])
        grad_decoded[..., 0] = grad_densities
        grad_linear = grad_decoded @ weight2
        aten.softplus_backward.grad_input(grad_linear, linear, 1, 20, grad_input=grad_linear)
        grad_sampled = torch.matmul(weight1.T, grad_linear.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        if sampled is None:
            return grad_sampled, None, None, None, None
        grad_weight1 = torch.einsum('bnh,bcn->hc', grad_linear, sampled)
        grad_weight2 = torch.einsum('bnd,bnh->dh', grad_decoded, F.softplus(linear))
        return grad_sampled, grad_weight1, grad_linear.sum(dim=(0, 1)), grad_weight2, grad_decoded.sum(dim=(0, 1))
