"""Trace the restoration network into a graph by `torch.export`; write and run `.pt2`, PyTorch's own file of a graph."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from frex_arch import FREx

# The name of the extra file within a .pt2 that holds the metadata.
METADATA = 'frex.json'


class ExportWrapper(nn.Module):
    """FREx in evaluation mode as a function of `lq` alone that returns the restored image alone; both weights are fixed."""

    def __init__(self, net: FREx, fidelity: float = 1.0, structure: float = 1.0) -> None:
        super().__init__()
        self.net = net
        self.fidelity = fidelity
        self.structure = structure
        self.eval().requires_grad_(False)

    def forward(self, lq: Float[Tensor, 'batch 3 size size']) -> Float[Tensor, 'batch 3 size size']:
        """Restore a batch of faces in FFHQ alignment, RGB in [-1, 1]; the result is not clamped."""
        return self.net(lq, fidelity=self.fidelity, structure=self.structure).image


def trace(wrapper: ExportWrapper) -> ExportedProgram:
    """Return the graph from `lq` (batch, 3, size, size) to `image` of the same shape, for any batch size."""
    size = wrapper.net.out_size
    # Trace two faces: torch.export would treat a batch of one as a constant.
    lq = torch.zeros(2, 3, size, size)
    with torch.no_grad():
        program = torch.export.export(wrapper, (lq,), dynamic_shapes={'lq': {0: Dim('batch', min=1)}}, strict=False)
    # Stack traces name files of this machine, and are longer than the graph.
    for graph in program.graph_module.modules():
        for node in graph.graph.nodes:
            node.meta.pop('stack_trace', None)
    return program


def write_pt2(path: Path, program: ExportedProgram, metadata: Mapping[str, str]) -> None:
    """Write one file that includes the weights; `metadata` is its extra file `frex.json`."""
    with path.open('wb') as stream:
        torch.export.save(program, stream, extra_files={METADATA: json.dumps(metadata)})


def load_pt2(path: Path) -> Callable[[Tensor], Tensor]:
    """Return the network in the file as a function of `lq`."""
    with path.open('rb') as stream:
        return torch.export.load(stream).module()
