"""Run the network on many faces, at most `batch_size` at a time.

When memory runs out, the batch is halved and tried again. A face whose output in bfloat16 is not finite is run again in float32.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from frex.errors import FRExError
from frex_arch import FREx, FRExOutput
from frex_arch.encoder_3d import Encoding3D

NOT_FINITE = "the network's output is not finite"
T = TypeVar('T')

# Words in the messages of torch's errors that report too little memory.
OUT_OF_MEMORY = ('DefaultCPUAllocator', 'out of memory', 'CUBLAS_STATUS_ALLOC_FAILED', 'CUDNN_STATUS_ALLOC_FAILED')
NO_MEMORY = 'out of memory, even for one face alone'


class NetworkOptions(NamedTuple):
    """The weights `fidelity` and `structure`, 0 to 1, of `FREx.forward`; with `details` its 3D image and alphas are returned as well."""

    fidelity: float = 1.0
    structure: float = 1.0
    details: bool = False


class NetworkInput(NamedTuple):
    """Faces `lq`, RGB in [-1, 1], as `FREx.forward` takes them.

    `crop`, with a row (s, t_x, t_y) for each face, maps its frame to EG3D's crop; None is the crop of a frontal face. `code` takes the
    place of Enc_3D's prediction for these faces.
    """

    lq: Float[Tensor, 'batch 3 size size']
    crop: Float[Tensor, 'batch 3'] | None = None
    code: Encoding3D | None = None

    def select(self, faces: slice) -> 'NetworkInput':
        """Return the input of some of the faces."""
        return self._change(lambda value: value[faces])

    def to(self, device: torch.device) -> 'NetworkInput':
        """Return the input on a device."""
        return self._change(lambda value: value.to(device))

    def _change(self, change: Callable[[Tensor], Tensor]) -> 'NetworkInput':
        crop, code = self.crop, self.code
        return NetworkInput(change(self.lq), None if crop is None else change(crop), None if code is None else map_code(code, change))


class BatchRunner:
    """A FREx on its device, in evaluation mode, which restores at most `batch_size` faces at a time.

    `precision` is `fp32` or `bf16`. When a batch does not fit into memory, `batch_size` is halved, and it stays so for all later calls
    of `run` and `encode`: this is the only state that a call leaves behind. It never grows again, also where memory becomes free later.
    Callers turn gradients off. Raises FRExError for a batch size below 1.
    """

    def __init__(self, net: FREx, device: torch.device, precision: str, batch_size: int) -> None:
        if batch_size < 1:
            raise FRExError(f'the batch size must be at least 1, not {batch_size}')
        self.net, self.device, self.precision, self.batch_size = net, device, precision, batch_size

    def run(self, given: NetworkInput, options: NetworkOptions) -> Iterator[FRExOutput | str]:
        """Yield for each face its own output (a batch of one, on the device), or the reason why it failed, in the order of the faces.

        Raises FRExError where `options` holds a number outside of 0..1, when the first result is asked for.
        """
        for name, weight in (('fidelity', options.fidelity), ('structure', options.structure)):
            if not 0 <= weight <= 1:
                raise FRExError(f'--{name}_weight {weight:g}: must lie in 0..1')
        start = 0
        while start < len(given.lq):
            batch = given.select(slice(start, start + self.batch_size))
            output = self._attempt(batch, options, self.precision)
            if output is not None:
                for i, is_finite in enumerate(are_finite(output)):
                    yield select_face(output, i) if is_finite else self._retry_in_fp32(batch.select(slice(i, i + 1)), options)
            elif not self._halve(len(batch.lq)):
                yield NO_MEMORY
            else:
                continue
            start += len(batch.lq)

    def encode(self, given: NetworkInput) -> Encoding3D:
        """Return what Enc_3D predicts for one or more faces, in float32 on the CPU; raise FRExError where memory is too small for one."""
        parts: list[Encoding3D] = []
        start = 0
        while start < len(given.lq):
            batch = given.select(slice(start, start + self.batch_size)).to(self.device)
            code = self._unless_out_of_memory(partial(self.net.encode_3d, batch.lq, batch.crop), self.precision)
            if code is not None:
                parts.append(map_code(code, lambda value: value.float().cpu()))
                start += len(batch.lq)
            elif not self._halve(len(batch.lq)):
                raise FRExError(NO_MEMORY)
        return join_codes(parts)

    def _halve(self, faces: int) -> bool:
        """Halve the batch size after a batch of so many faces did not fit into memory; return False where it was one face."""
        if faces > 1:
            self.batch_size = min(self.batch_size, faces // 2)
        return faces > 1

    def _retry_in_fp32(self, face: NetworkInput, options: NetworkOptions) -> FRExOutput | str:
        """Run one face in float32, after its output in bfloat16 was not finite; return its output, or the reason why it failed."""
        if self.precision == 'fp32':
            return NOT_FINITE
        output = self._attempt(face, options, 'fp32')
        if output is None:
            return NO_MEMORY
        return output if all(are_finite(output)) else NOT_FINITE

    def _attempt(self, batch: NetworkInput, options: NetworkOptions, precision: str) -> FRExOutput | None:
        """Run the network once on a batch; return None where memory does not suffice, after the memory of the attempt is freed."""

        def run() -> FRExOutput:
            faces = batch.to(self.device)
            return self.net(
                faces.lq,
                faces.crop,
                image_3d=options.details,
                alphas=options.details,
                fidelity=options.fidelity,
                structure=options.structure,
                code=faces.code,
            )

        return self._unless_out_of_memory(run, precision)

    def _unless_out_of_memory(self, call: Callable[[], T], precision: str) -> T | None:
        try:
            with self._autocast(precision):
                return call()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()
        return None

    def _autocast(self, precision: str) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if precision == 'bf16' else nullcontext()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error reports too little memory of a GPU or of the host; torch has an own class for some of these only."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(phrase in str(error) for phrase in OUT_OF_MEMORY)


def retry_out_of_memory(call: Callable[[], T]) -> T:
    """Return what `call` returns; where it runs out of memory, free torch's unused GPU memory and call it once more."""
    try:
        return call()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return call()


def are_finite(output: FRExOutput) -> list[bool]:
    """Return for each face of a batch whether its image, camera and, where present, depth, 3D image and alphas are all finite."""
    shown = (output.image, output.camera, output.depth, output.image_3d, *(output.alphas or ()))
    finite = [torch.isfinite(value).flatten(1).all(dim=1) for value in shown if value is not None]
    # One transfer from the device for the whole batch.
    return torch.stack(finite).all(dim=0).tolist()


def select_face(output: FRExOutput, index: int) -> FRExOutput:
    """Return the output of face `index` of a batch, as a batch of one."""
    return map_output(output, lambda value: value[index : index + 1])


def map_output(output: FRExOutput, change: Callable[[Tensor], Tensor]) -> FRExOutput:
    """Return a copy of `output` with `change` applied to every tensor, also to those in tuples; None stays None."""
    changed: dict[str, Any] = {
        name: tuple(map(change, value)) if isinstance(value, tuple) else value if value is None else change(value)
        for name, value in output._asdict().items()
    }
    return FRExOutput(**changed)


def map_code(code: Encoding3D, change: Callable[[Tensor], Tensor]) -> Encoding3D:
    """Return a copy of Enc_3D's prediction `code` with `change` applied to every tensor; None stays None."""
    z_3d, offsets, camera = code
    return Encoding3D(None if z_3d is None else change(z_3d), None if offsets is None else change(offsets), change(camera))


def join_codes(codes: Sequence[Encoding3D]) -> Encoding3D:
    """Return the predictions of Enc_3D for several batches, of which there is at least one, as one."""
    z_3d = [code.z_3d for code in codes if code.z_3d is not None]
    offsets = [code.offsets for code in codes if code.offsets is not None]
    cameras = torch.cat([code.camera for code in codes])
    return Encoding3D(torch.cat(z_3d) if z_3d else None, torch.cat(offsets) if offsets else None, cameras)
