"""`.onnx`: written from a graph, and run."""

import logging
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from frex.errors import FRExError

# The least that PyTorch's exporter writes, and the most that is offered.
LEAST_OPSET, MOST_OPSET = 18, 23

# What protobuf holds in one file, less room for the graph.
MOST_BYTES = 2**31 - 2**26


def need_onnx() -> None:
    """Raise FRExError where a package is missing."""
    for package in ('onnx', 'onnxscript', 'onnxruntime'):
        try:
            import_module(package)
        except ImportError:
            raise FRExError(f"{package}, which .onnx needs, is missing: pip install 'frex[export]'") from None


def write_onnx(path: Path, program: ExportedProgram, metadata: Mapping[str, str], opset: int) -> None:
    """One file, weights and all; raises FRExError where they are more than such a file holds."""
    from frex.export.translations import TRANSLATIONS

    size = sum(value.nbytes for value in program.state_dict.values())
    if size > MOST_BYTES:
        raise FRExError(f'{size / 1e9:.1f} GB of weights do not go into one .onnx, which holds 2 GB: export to .pt2')
    onnx_program = torch.onnx.export(
        program,
        dynamo=True,
        output_names=['image'],
        dynamic_shapes={'lq': {0: 'batch'}},
        opset_version=opset,
        custom_translation_table=TRANSLATIONS,
        # Patterns are left to onnxruntime, which knows more of them.
        optimize=False,
        verbose=False,
    )
    assert onnx_program is not None
    _tidy(onnx_program.model)
    onnx_program.model.metadata_props.update(metadata)
    onnx_program.save(str(path), external_data=False)


def _tidy(model: Any) -> None:
    """Calculate what does not depend on the input; forget where in whose files each node was traced."""
    from onnxscript import optimizer

    # It tells of every operator that it leaves as it is.
    logging.getLogger('onnxscript').setLevel(logging.ERROR)
    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)
    for node in model.graph:
        node.metadata_props.clear()


def load_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    """The network of the file in onnxruntime, on the processor."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return lambda lq: torch.from_numpy(session.run(['image'], {'lq': lq.numpy()})[0])
