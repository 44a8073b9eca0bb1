"""Faster training steps: TF32, channels-last weights, compiled parts, and a context in which compiled parts run uncompiled.

TF32 rounds the inputs of convolutions and matrix products; the others compute the same up to rounding in float32.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from basicsr.utils import get_root_logger
from torch import nn

from frex.options.train import TrainOptions
from frex_arch import FREx, FREx3D
from frex_arch.cpu.weight_layout import channels_last


def set_tf32(tf32: bool | None) -> None:
    """Let GPUs round the inputs of float32 convolutions and matrix products to TF32 (10 bits), or not; None keeps torch's choice.

    The choice holds for the whole process. Where there is a GPU, it is logged.
    """
    if tf32 is not None:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    if torch.cuda.is_available():
        is_used = {'convolutions': torch.backends.cudnn.allow_tf32, 'matrix products': torch.backends.cuda.matmul.allow_tf32}
        precisions = ', '.join(f'{name} {"in TF32" if used else "in float32"}' for name, used in is_used.items())
        get_root_logger().info(f'train.tf32: {"not set" if tf32 is None else tf32}; {precisions}.')


def accelerate(net: nn.Module, options: TrainOptions) -> None:
    """Change `net`: put the weights of convolutions into channels-last order, and have parts compiled, where `options` say so."""
    if options.channels_last:
        for module in net.modules():
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if tensor.ndim >= 4:
                    tensor.data = channels_last(tensor.data, getattr(module, 'upsample', False) is True)
    if options.compile:
        for part in _compiled_parts(net):
            part.compile(dynamic=False)
        if isinstance(net, FREx):
            _compile_stylegan2(net)


def _compiled_parts(net: nn.Module) -> Iterator[nn.Module]:
    """Yield what is compiled: of FREx the 3D prior's networks and the renderer's decoder, else the whole network, a critic."""
    if not isinstance(net, FREx | FREx3D):
        yield net
    elif net.eg3d is not None:
        yield from (net.eg3d.backbone.synthesis, net.eg3d.superresolution, net.eg3d.decoder)


def _compile_stylegan2(net: FREx) -> None:
    """Compile the three methods of StyleGAN2 between which the priors are fused; each has a graph for each size of image and of batch."""
    graphs = 8 * len(net.stylegan2.sizes)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, graphs)
    for name in ('start', 'upsample', 'refine'):
        setattr(net.stylegan2, name, torch.compile(getattr(net.stylegan2, name), dynamic=False))


def uncompiled(options: TrainOptions) -> AbstractContextManager[None]:
    """Return a context in which compiled modules run uncompiled, since compiled code has no gradient of a gradient."""
    return _eager() if options.compile else nullcontext()


@contextmanager
def _eager() -> Iterator[None]:
    with torch.compiler.set_stance('force_eager'):
        yield
