"""The network on many faces: in batches that fit the device, and again in float32 where its numbers did not hold."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from frex.errors import FRExError
from frex.restore.faces.restore_options import ExtraOutputs
from frex_arch import FREx, FRExOutput

NOT_FINITE = "the network's output is not finite"
T = TypeVar('T')

OUT_OF_MEMORY = ('DefaultCPUAllocator', 'out of memory', 'CUBLAS_STATUS_ALLOC_FAILED', 'CUDNN_STATUS_ALLOC_FAILED')
NO_MEMORY = 'out of memory, even for one face alone'


class BatchRunner:
    """A FREx on its device. `most` faces go at once; it is lowered where the device is too small."""

    def __init__(self, net: FREx, device: torch.device, precision: str, most: int) -> None:
        if most < 1:
            raise FRExError(f'faces at once: must be at least 1, not {most}')
        self.net, self.device, self.precision, self.most = net, device, precision, most

    def run(
        self, lq: Float[Tensor, 'batch 3 size size'], crop: Float[Tensor, 'batch 3'] | None, asked: ExtraOutputs
    ) -> Iterator[FRExOutput | str]:
        """For each face its own output, on the device, or what went wrong with it."""
        for name, weight in (('fidelity', asked.fidelity), ('structure', asked.structure)):
            if not 0 <= weight <= 1:
                raise FRExError(f'--{name}_weight {weight:g}: must lie in 0..1')
        start = 0
        while start < len(lq):
            part = slice(start, start + self.most)
            faces, crops = lq[part], None if crop is None else crop[part]
            output = self._attempt(faces, crops, asked, self.precision)
            if output is not None:
                for i, is_finite in enumerate(are_finite(output)):
                    yield one_of(output, i) if is_finite else self._again(faces[i : i + 1], crops, i, asked)
            elif len(faces) > 1:
                self.most = min(self.most, len(faces) // 2)
                continue
            else:
                yield NO_MEMORY
            start += len(faces)

    def _again(
        self, face: Float[Tensor, '1 3 size size'], crops: Float[Tensor, 'batch 3'] | None, place: int, asked: ExtraOutputs
    ) -> FRExOutput | str:
        """A face whose output is not finite in bfloat16, in float32."""
        if self.precision == 'fp32':
            return NOT_FINITE
        again = self._attempt(face, None if crops is None else crops[place : place + 1], asked, 'fp32')
        if again is None:
            return NO_MEMORY
        return again if all(are_finite(again)) else NOT_FINITE

    def _attempt(
        self, lq: Float[Tensor, 'batch 3 size size'], crop: Float[Tensor, 'batch 3'] | None, asked: ExtraOutputs, precision: str
    ) -> FRExOutput | None:
        """None where the device has too little memory. What had been calculated by then is given back first."""
        try:
            with self._autocast(precision):
                return self.net(
                    lq.to(self.device),
                    None if crop is None else crop.to(self.device),
                    image_3d=asked.details,
                    alphas=asked.details,
                    fidelity=asked.fidelity,
                    structure=asked.structure,
                )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()
        return None

    def _autocast(self, precision: str) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if precision == 'bf16' else nullcontext()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Of a GPU, or of the host; torch has a class of its own for some of them only."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


def with_memory(call: Callable[[], T]) -> T:
    """What `call` makes, at a second attempt with all unused memory given back where the first found too little."""
    try:
        return call()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return call()


def are_finite(output: FRExOutput) -> list[bool]:
    """For each face of a batch, whether image and camera are finite, and all that is shown of the 3D prior and the AWBs."""
    shown = (output.image, output.camera, output.depth, output.image_3d, *(output.alphas or ()))
    finite = [torch.isfinite(value).flatten(1).all(dim=1) for value in shown if value is not None]
    # One transfer from the device for the whole batch.
    return torch.stack(finite).all(dim=0).tolist()


def one_of(output: FRExOutput, place: int) -> FRExOutput:
    """The output of one face of a batch."""
    return each(output, lambda value: value[place : place + 1])


def each(output: FRExOutput, change: Callable[[Tensor], Tensor]) -> FRExOutput:
    """`change` of every tensor of an output."""
    changed: dict[str, Any] = {
        name: tuple(map(change, value)) if isinstance(value, tuple) else value if value is None else change(value)
        for name, value in output._asdict().items()
    }
    return FRExOutput(**changed)
