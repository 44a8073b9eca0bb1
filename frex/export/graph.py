"""Trace the restoration network into a graph by `torch.export`; write and run `.pt2`, PyTorch's own file of a graph."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from frex_arch import FREx

# The name of the extra file within a .pt2 that holds the metadata.
METADATA = 'frex.json'


class Interface(NamedTuple):
    """The names of a file's inputs and of its output. The second input, if any, is the fidelity weight, (1,) float64."""

    inputs: tuple[str, ...]
    output: str


# The program for which a file is written -> its interface. facefusion knows the inputs of face enhancers by these names.
INTERFACES = {'frex': Interface(('lq',), 'image'), 'facefusion': Interface(('input', 'weight'), 'output')}


class ExportWrapper(nn.Module):
    """FREx as a function that returns the restored image alone; a `fidelity` of None makes that weight an input.

    `net` itself is put into evaluation mode, and its parameters get no gradients any more.
    """

    def __init__(self, net: FREx, fidelity: float | None = 1.0, structure: float = 1.0) -> None:
        super().__init__()
        self.net = net
        self.fidelity = fidelity
        self.structure = structure
        self.eval().requires_grad_(False)

    def forward(
        self, lq: Float[Tensor, 'batch 3 size size'], weight: Float64[Tensor, '1'] | None = None
    ) -> Float[Tensor, 'batch 3 size size']:
        """Restore a batch of faces in FFHQ alignment, RGB in [-1, 1]; the result is not clamped.

        `weight` is the fidelity weight, from 0 to 1, given just where it is an input.
        """
        fidelity = self.fidelity if weight is None else weight.to(lq.dtype)
        assert fidelity is not None
        return self.net(lq, fidelity=fidelity, structure=self.structure).image


def example_inputs(wrapper: ExportWrapper, batch: int) -> tuple[Tensor, ...]:
    """Return inputs of the wrapper: `batch` random faces, on the CPU, and the fidelity weight where it is an input.

    They are the same at each call with the same `batch`.
    """
    size = wrapper.net.out_size
    lq = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(batch)) * 2 - 1
    return (lq, torch.tensor([0.5], dtype=torch.float64)) if wrapper.fidelity is None else (lq,)


def trace(wrapper: ExportWrapper) -> ExportedProgram:
    """Return the graph from `lq` (batch, 3, size, size) to the image of the same shape, for any batch size.

    Where the fidelity weight is an input of the wrapper, it is one of the graph.
    """
    # Trace two faces: torch.export would treat a batch of one as a constant.
    inputs = example_inputs(wrapper, 2)
    shapes = {'lq': {0: Dim('batch', min=1)}} | ({'weight': None} if wrapper.fidelity is None else {})
    with torch.no_grad():
        program = torch.export.export(wrapper, inputs, dynamic_shapes=shapes, strict=False)
    # Stack traces name files of this machine, and are longer than the graph.
    for graph in program.graph_module.modules():
        for node in graph.graph.nodes:
            node.meta.pop('stack_trace', None)
    return program


def write_pt2(path: Path, program: ExportedProgram, metadata: Mapping[str, str]) -> None:
    """Write one file that includes the weights, with `metadata` as its extra file `frex.json`; an existing file is overwritten."""
    with path.open('wb') as stream:
        torch.export.save(program, stream, extra_files={METADATA: json.dumps(metadata)})


def load_pt2(path: Path) -> Callable[..., Tensor]:
    """Return the network in a file of `write_pt2` as a function from its inputs to the restored image, as in `ExportWrapper.forward`.

    `weight` is an input only where it was one of the wrapper. Errors for a missing or damaged file are those of Python and PyTorch, not
    FRExError.
    """
    with path.open('rb') as stream:
        return torch.export.load(stream).module()
