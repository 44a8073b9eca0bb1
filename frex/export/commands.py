"""`frex export`: write the restoration network to a file of its own, and check that the file gives the same images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.export import ExportedProgram

from frex.errors import FRExError
from frex.export.graph import INTERFACES, ExportWrapper, example_inputs, load_pt2, trace, write_pt2
from frex.export.onnx_file import MAX_OPSET, MIN_OPSET, load_onnx, require_onnx, write_onnx
from frex.utils.files import check_output_path, write_atomically
from frex.weights.network_file import build_frex, read_network
from frex.weights.small_model import find_model

Metadata = dict[str, str]

# The tolerance relative to the largest value: an eighth of the step between two of an image's 256 levels.
TOLERANCE = 1e-3
# The batch sizes with which an exported file is checked.
BATCHES = (1, 2)


class Format(NamedTuple):
    """How files of one format are written and loaded, and the name of the program that runs them."""

    write: Callable[[Path, ExportedProgram, Metadata], None]
    load: Callable[[Path], Callable[..., Tensor]]
    runs_in: str


@dataclass(frozen=True)
class ExportOptions:
    """The checkpoint `model_path`, the file `output` to write, and the fidelity and structure weight that are fixed in it.

    `model_path` is a file or `owner/name` on the Hub. `program` is one of INTERFACES, for which inputs and output are named; with
    'facefusion' the fidelity weight is an input, and `fidelity_weight` must be None. Otherwise None means 1. `param_key` is the entry of a
    `.pth` to use. `opset` is that of ONNX; None means the lowest that is supported. With `check` the file is run and compared with the
    network. With `overwrite` an existing file is replaced, else it is an error.
    """

    model_path: Path
    output: Path
    param_key: str = 'params_ema'
    overwrite: bool = False
    program: str = 'frex'
    fidelity_weight: float | None = None
    structure_weight: float = 1.0
    opset: int | None = None
    check: bool = True


def export(options: ExportOptions) -> None:
    """Write the file and print its input and output.

    Raises FRExError where options or files are invalid, packages are missing, or the check fails. Then nothing is written, and an existing
    file stays.
    """
    form = choose_format(options)
    check_output_path(options.output, options.overwrite)
    net = build_frex(read_network(find_model(options.model_path), options.param_key), str(options.model_path))
    fixed = 1.0 if options.fidelity_weight is None else options.fidelity_weight
    wrapper = ExportWrapper(net, None if options.program == 'facefusion' else fixed, options.structure_weight)
    try:
        with write_atomically(options.output) as part:
            form.write(part, trace(wrapper), make_metadata(wrapper))
            difference = check_difference(form.load(part), wrapper) if options.check else None
    except OSError as error:
        raise FRExError(f'{options.output}: cannot be written ({error})') from None
    size, megabytes, (inputs, output) = net.out_size, options.output.stat().st_size / 1e6, INTERFACES[options.program]
    weight = f', {inputs[1]} (1), float64,' if inputs[1:] else ''
    print(f'{options.output}: {megabytes:,.1f} MB, {inputs[0]} (batch, 3, {size}, {size}){weight} -> {output}, RGB in [-1, 1], float32')
    if difference is None:
        print('not checked (--no_check)')
    else:
        batches = ' and '.join(map(str, BATCHES))
        print(f'checked in {form.runs_in} on {batches} random faces: largest difference {difference:.1e} (allowed: {TOLERANCE:g})')


def choose_format(options: ExportOptions) -> Format:
    """Choose the format by the suffix of `options.output`.

    Raises FRExError for another suffix, for options that do not fit the format or the program, and for missing packages.
    """
    path, opset, fixed = options.output, options.opset, options.fidelity_weight
    if options.program == 'facefusion' and fixed is not None:
        raise FRExError(f'-w {fixed:g}: facefusion gives the weight with each face; leave it out')
    if options.program == 'facefusion' and path.suffix != '.onnx':
        raise FRExError(f'-o {path}: facefusion loads .onnx only; give a name that ends in .onnx')
    if path.suffix == '.pt2':
        if opset is not None:
            raise FRExError(f'--opset {opset}: is for .onnx; a .pt2 has none')
        return Format(write_pt2, load_pt2, 'torch.export')
    if path.suffix != '.onnx':
        raise FRExError(f'-o {path}: the name must end in .onnx or .pt2')
    opset = MIN_OPSET if opset is None else opset
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise FRExError(f'--opset {opset}: {MIN_OPSET} to {MAX_OPSET} can be written')
    require_onnx()
    return Format(partial(write_onnx, opset=opset, interface=INTERFACES[options.program]), load_onnx, 'onnxruntime')


def make_metadata(wrapper: ExportWrapper) -> Metadata:
    """Return what a program must know to use the file: FREx's version, size and colours of the images, range of values, fixed weights."""
    return {
        'frex_version': version('frex'),
        'size': str(wrapper.net.out_size),
        'colours': 'RGB',
        'range': '-1 1',
        'fidelity_weight': 'input' if wrapper.fidelity is None else str(wrapper.fidelity),
        'structure_weight': str(wrapper.structure),
    }


@torch.inference_mode()
def compute_largest_difference(exported: Callable[..., Tensor], wrapper: ExportWrapper) -> float:
    """Return the largest difference between two networks' images of random faces, divided by the largest value or by 1 if that is greater.

    Both networks take `example_inputs` of each size in BATCHES.
    """
    differences = []
    for inputs in (example_inputs(wrapper, batch) for batch in BATCHES):
        image = wrapper(*inputs)
        difference = (exported(*inputs) - image).abs().max() / image.abs().max().clamp(min=1)
        differences.append(difference.item())
    return max(differences)


def check_difference(exported: Callable[..., Tensor], wrapper: ExportWrapper) -> float:
    """Return `compute_largest_difference`; raise FRExError unless it is at most TOLERANCE."""
    difference = compute_largest_difference(exported, wrapper)
    if not difference <= TOLERANCE:
        raise FRExError(f'the exported network differs by {difference:.1e} from FREx, more than {TOLERANCE:g}: nothing written')
    return difference
