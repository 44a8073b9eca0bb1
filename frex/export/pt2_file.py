"""`.pt2`: PyTorch's own file of a graph."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

METADATA = 'frex.json'


def write_pt2(path: Path, program: ExportedProgram, metadata: Mapping[str, str]) -> None:
    """`metadata` is its extra file `frex.json`."""
    with path.open('wb') as stream:
        torch.export.save(program, stream, extra_files={METADATA: json.dumps(metadata)})


def load_pt2(path: Path) -> Callable[[Tensor], Tensor]:
    """The network of the file."""
    with path.open('rb') as stream:
        return torch.export.load(stream).module()
