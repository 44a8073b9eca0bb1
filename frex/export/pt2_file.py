"""Write a graph as `.pt2`, PyTorch's own format, and run such a file."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

METADATA = 'frex.json'


def write_pt2(path: Path, program: ExportedProgram, metadata: Mapping[str, str]) -> None:
    """Write one file that includes the weights; `metadata` is its extra file `frex.json`."""
    with path.open('wb') as stream:
        torch.export.save(program, stream, extra_files={METADATA: json.dumps(metadata)})


def load_pt2(path: Path) -> Callable[[Tensor], Tensor]:
    """Return the network in the file as a function."""
    with path.open('rb') as stream:
        return torch.export.load(stream).module()
