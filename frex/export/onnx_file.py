"""Write a graph as `.onnx`, and run such a file."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from frex.errors import FRExError
from frex.export.graph import Interface
from frex.utils.extras import require_package

# The lowest opset that PyTorch's exporter writes, and the highest that FREx supports.
MIN_OPSET, MAX_OPSET = 18, 23

# The most bytes of weights: the limit of a protobuf file, minus room for the graph.
MAX_BYTES = 2**31 - 2**26


def require_onnx() -> None:
    """Raise FRExError where a package that writes or runs .onnx is not installed."""
    for package in ('onnx', 'onnxscript', 'onnxruntime'):
        require_package(package, 'writing .onnx')


def write_onnx(path: Path, program: ExportedProgram, metadata: Mapping[str, str], opset: int, interface: Interface) -> None:
    """Write one file that includes the weights, with the names of `interface`; `metadata` becomes its properties.

    Raises FRExError where the weights are larger than such a file can be.
    """
    from frex.export.translations import TRANSLATIONS

    size = sum(value.nbytes for value in program.state_dict.values())
    if size > MAX_BYTES:
        raise FRExError(f'{size / 1e9:.1f} GB of weights do not go into one .onnx, which holds 2 GB: export to .pt2')
    onnx_program = torch.onnx.export(
        program,
        dynamo=True,
        input_names=interface.inputs,
        output_names=[interface.output],
        dynamic_shapes={'lq': {0: 'batch'}},
        opset_version=opset,
        custom_translation_table=TRANSLATIONS,
        # onnxruntime optimizes more patterns when it loads the file.
        optimize=False,
        verbose=False,
    )
    assert onnx_program is not None
    _simplify(onnx_program.model)
    onnx_program.model.metadata_props.update(metadata)
    onnx_program.save(str(path), external_data=False)


def _simplify(model: Any) -> None:
    """Compute what does not depend on the input, and remove the source locations from the nodes; `model` is changed in place."""
    from onnxscript import optimizer

    # Without this, onnxscript logs every operator that it does not fold.
    logging.getLogger('onnxscript').setLevel(logging.ERROR)
    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)
    for node in model.graph:
        node.metadata_props.clear()


def load_onnx(path: Path) -> Callable[..., Tensor]:
    """Return the network in a file of `write_onnx` as a function from its inputs to its output.

    It is run by onnxruntime; inputs, in the file's order, and output are tensors on the CPU. Errors for a missing or damaged
    file are those of onnxruntime, not FRExError.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    names = [value.name for value in session.get_inputs()]
    return lambda *inputs: torch.from_numpy(session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})[0])
