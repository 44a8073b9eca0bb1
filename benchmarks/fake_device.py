"""A fake CUDA device: tensors have its device, shapes and dtypes, but no storage, and no GPU is needed.

    sys.exit(run_without_accelerator())  # once, unless `is_without_accelerator()`
    with fake_cuda() as recorder:
        ...                              # build and run on the device 'cuda'
    recorder.kernels

`torch._subclasses.FakeTensorMode` runs every operation on shapes alone and raises where devices do not agree. `Recorder` also finds what a
GPU would refuse or wait for, and models the cost of every kernel.
"""

import os
import shutil
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils import _foreach_utils
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import flop_registry

SOURCE = Path(__file__).with_name('no_accelerator.c')

# The modelled chip: operations and bytes a second, the fractions of both that kernels reach, and the shortest kernel in seconds.
RATES = {'bfloat16': 790e12, 'tf32': 395e12, 'float32': 67e12}
BANDWIDTH = 4.3e12
REACHED_RATE, REACHED_BANDWIDTH = 0.6, 0.85
SHORTEST = 2.5e-6

aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default, aten._foreach_copy_.default}
# Operations that launch no kernel, beside views.
FREE = {
    *(
        aten.empty.memory_format,
        aten.empty_like.default,
        aten.empty_strided.default,
        aten.new_empty.default,
        aten.new_empty_strided.default,
    ),
    *(aten._unsafe_view.default, aten.lift_fresh.default, aten.detach.default, aten.set_.source_Storage_storage_offset),
}
MATRIX_PRODUCTS = {'mm', 'addmm', 'bmm', 'baddbmm', 'addbmm', 'mv', 'addmv', 'dot'}
CONVOLUTIONS = {'convolution', 'convolution_backward'}
# CUDA's kernels of these end with an error where their floating-point inputs differ in dtype; others convert or promote.
ONE_DTYPE = {
    *MATRIX_PRODUCTS,
    *CONVOLUTIONS,
    *('grid_sampler_2d', 'grid_sampler_2d_backward', 'index_put', 'index_put_', '_index_put_impl_', 'scatter', 'lerp', 'searchsorted'),
    *('_scaled_dot_product_flash_attention', '_scaled_dot_product_efficient_attention'),
}


# --- The library


def is_without_accelerator() -> bool:
    """Return whether this process was started by `run_without_accelerator`."""
    return SOURCE.stem in os.environ.get('LD_PRELOAD', '')


def run_without_accelerator(command: list[str] | None = None) -> int:
    """Run `command`, by default this process's own, with the library of `no_accelerator.c` loaded first; return its exit status."""
    compiler = next(filter(None, map(shutil.which, ('cc', 'gcc', 'clang'))), None)
    if compiler is None:
        raise SystemExit('A C compiler is needed to rehearse without a GPU: install cc, gcc or clang.')
    with TemporaryDirectory() as folder:
        library = Path(folder) / f'{SOURCE.stem}.so'
        subprocess.run([compiler, '-shared', '-fPIC', str(SOURCE), '-o', str(library)], check=True)
        return subprocess.run(
            command or [sys.executable, *sys.orig_argv[1:]], env=os.environ | {'LD_PRELOAD': str(library), 'CUDA_VISIBLE_DEVICES': ''}
        ).returncode


# --- The device


@contextmanager
def fake_cuda(roots: tuple[Path, ...] = (), frames: int = 1) -> 'Iterator[Recorder]':
    """Make tensors fake during the `with` block; yield the recorder of what runs on the device `cuda`.

    `roots` are the folders whose source lines kernels are attributed to, each to the innermost `frames` of them.
    """
    recorder = Recorder(roots, frames)
    with ExitStack() as stack:
        for patch in _patches():
            stack.enter_context(patch)
        # A model may set them.
        stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        stack.callback(setattr, torch.backends.cudnn, 'allow_tf32', torch.backends.cudnn.allow_tf32)
        # All of a backward pass runs in this thread, where the modes are.
        for mode in (FakeTensorMode(), torch.autograd.set_multithreading_enabled(False), AttentionChoice(), recorder):
            stack.enter_context(mode)
        yield recorder


def _patches() -> list[Any]:
    """Return patches of what torch asks a CUDA driver, so that it answers as on a machine with one GPU."""
    supported = [*_foreach_utils._foreach_supported_types, FakeTensor]
    return [
        mock.patch('torch.cuda.device_count', return_value=1),
        # Otherwise autocast switches itself off.
        mock.patch('torch.cuda.amp.common.amp_definitely_not_available', return_value=False),
        mock.patch('torch.cuda.is_bf16_supported', return_value=True),
        # Clipping and averaging take one kernel for many tensors.
        mock.patch.object(_foreach_utils, '_foreach_supported_types', supported),
        # Fake storages have no address, but an identity.
        mock.patch.object(torch.UntypedStorage, 'data_ptr', lambda storage: storage._cdata),
        # Torch's own swaps the contents of parameters, which fake ones do not allow.
        mock.patch.object(nn.Module, '_apply', _apply),
        # Torch's own draws until all numbers are within bounds, which is never known of fake ones.
        mock.patch('torch.nn.init.trunc_normal_', lambda tensor, *_, **__: tensor),
        # Fake tensors of a file have nothing to be filled with.
        mock.patch('frex.weights.torch_file.Storage.fill'),
    ]


def _apply(module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Change all parameters and buffers as `nn.Module._apply` does; parameters are replaced by new ones."""
    for child in module.children() if recurse else ():
        child._apply(function)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            changed = function(parameter.detach())
            if changed.device != parameter.device or changed.dtype != parameter.dtype or changed.stride() != parameter.stride():
                module._parameters[name] = nn.Parameter(changed, parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = function(buffer)
    return module


def with_real_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` run without the fake device, and the tensors of its result made fake: for functions that read files."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with unset_fake_temporarily() as mode:
            result = function(*args, **kwargs)
        return result if mode is None else tree_map_only(Tensor, mode.from_tensor, result)

    return run


class AttentionChoice(TorchFunctionMode):
    """Chooses the attention kernel as CUDA does, which would ask the driver: flash attention in 16 bits, memory-efficient in float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function of torch."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and args[0].device.type == 'cuda':
            return self._attend(*args, **kwargs)
        return func(*args, **kwargs)

    @staticmethod
    def _attend(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, scale: float | None = None) -> Tensor:
        if torch.is_autocast_enabled('cuda'):
            query, key, value = (tensor.to(torch.get_autocast_dtype('cuda')) for tensor in (query, key, value))
        # Flash attention takes no mask.
        if query.dtype == torch.float32 or attn_mask is not None:
            recorded = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value))
            return aten._scaled_dot_product_efficient_attention(query, key, value, attn_mask, recorded, scale=scale)[0]
        return aten._scaled_dot_product_flash_attention(query, key, value, scale=scale)[0]


# --- Recording


class MismatchError(RuntimeError):
    """An operation that a GPU would refuse, or in which it would wait for the host's memory."""


class Kernel(NamedTuple):
    """One operation on the device, in truth one kernel or a few.

    `shapes` are those of the first three tensors that go in; `seconds` is the modelled time. `part` is the part of the step, outermost
    first; `line` is the source line that calls the operation, or whose gradient it is.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    flops: int
    bytes: int
    seconds: float
    part: tuple[str, ...]
    line: str


# The fields of a Kernel before `part`.
Cost = tuple[str, tuple[tuple[int, ...], ...], str, int, int, float]


class Recorder(TorchDispatchMode):
    """Records the kernels, transfers and memory of the fake device; raises MismatchError for what a GPU would refuse."""

    def __init__(self, roots: tuple[Path, ...] = (), frames: int = 1) -> None:
        super().__init__()
        self.roots = tuple(f'{root}{os.sep}' for root in roots)
        self.frames = frames
        self.parts: list[str] = []
        self.memory = Memory()
        self.known = KnownResults()
        # Sequence number of an autograd node -> part and line of the operation that it belongs to.
        self.origins: dict[int, tuple[tuple[str, ...], str]] = {}
        self.stop()

    def stop(self) -> None:
        """Discard all records, and record nothing until `start`."""
        self.start()
        self.is_recording = False

    def start(self) -> None:
        """Discard the kernels and transfers so far and record from here on; the peak of memory begins at what is allocated now."""
        self.is_recording = True
        self.kernels: list[Kernel] = []
        self.transfers: Counter[str] = Counter()
        self.promotions: Counter[str] = Counter()
        self.memory.start()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Assign the kernels in the `with` block to the part `name`, within the current part."""
        self.parts.append(name)
        try:
            yield
        finally:
            self.parts.pop()

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` with its kernels assigned to the part `name`."""

        def within_part(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return within_part

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled here, and to say so for every operation takes time.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run and record one operation."""
        # Each operation asks for it several times.
        if func is torch.ops.prim.device.default:
            return args[0].fake_device
        kwargs = kwargs or {}
        if not self.is_recording and func is not aten._local_scalar_dense.default:
            return func(*args, **kwargs)
        part, line = self._origin()
        if func is aten._local_scalar_dense.default:
            return self._read_scalar(args[0], line)
        inputs = [*tensors_in((args, *kwargs.values()))]
        on_device = any(tensor.device.type == 'cuda' for tensor in inputs)
        if on_device:
            self._check(func, inputs, line)
        result, cost = self._run(func, args, kwargs, line)
        outputs = [*tensors_in(result)]
        if not on_device and all(tensor.device.type != 'cuda' for tensor in outputs):
            return result
        for tensor in outputs:
            self.memory.add(tensor, part)
        if func in COPIES and any(tensor.device.type == 'cpu' for tensor in (*inputs, *outputs)):
            target = (outputs or inputs)[0]
            self._transfer('to the device' if target.device.type == 'cuda' else 'to the host', line)
        elif not func.is_view and func not in FREE:
            if cost is None:
                cost = _estimate_cost(func, args, kwargs, inputs, result, outputs)
                self.known.add(func, args, kwargs, result, cost)
            self.kernels.append(Kernel(*cost, part, line))
        return result

    def _run(self, func: Any, args: Any, kwargs: Any, line: str) -> tuple[Any, Cost | None]:
        """Run an operation; return its result, and its cost where that is known from an equal operation, else None."""
        known = self.known.get(func, args, kwargs)
        if known is not None:
            return known
        try:
            return func(*args, **kwargs), None
        except RuntimeError as error:
            raise MismatchError(f'{func} at {line}: {error}') from error

    def _check(self, func: Any, inputs: list[Tensor], line: str) -> None:
        """Raise MismatchError for inputs in the host's memory, and for inputs of several dtypes where the kernel takes one."""
        if func in COPIES:
            return
        if any(tensor.device.type == 'cpu' and tensor.ndim for tensor in inputs):
            raise MismatchError(f'{func} at {line}: an input is on the CPU: {_describe_tensors(inputs)}')
        if len({tensor.dtype for tensor in inputs if tensor.is_floating_point() and tensor.ndim}) > 1:
            if _name(func) in ONE_DTYPE:
                raise MismatchError(f'{func} at {line}: inputs of different dtypes: {_describe_tensors(inputs)}')
            self.promotions[f'{_name(func)} {line}'] += 1

    def _read_scalar(self, tensor: Tensor, line: str) -> bool | int | float:
        """Return 1 for `.item()`, and record that the host waits for it."""
        if tensor.device.type == 'cuda':
            self._transfer('synchronization', line)
        return True if tensor.dtype == torch.bool else 1.0 if tensor.is_floating_point() else 1

    def _transfer(self, kind: str, line: str) -> None:
        self.transfers[f'{kind}, {line}'] += 1

    # --- Where an operation comes from

    def _origin(self) -> tuple[tuple[str, ...], str]:
        """Return part and source line of the running operation; in a backward pass, those of the operation whose gradient it is."""
        part = tuple(self.parts)
        node = torch._C._current_autograd_node()
        if node is None:
            line = self._line(sys._getframe(2))
        else:
            forward_part, forward_line = self.origins.get(node._sequence_nr(), ((), ''))
            line = f'backward of {forward_line.removeprefix("backward of ")}' if forward_line else f'backward, {node.name()}'
            if part[:1] == ('backward',):
                part = ('backward', *forward_part[1:]) if forward_part[:1] != ('backward',) else forward_part
        # An operation's node is made just before the operation runs.
        self.origins.setdefault(torch._C._autograd._get_sequence_nr() - 1, (part, line))
        return part, line

    def _line(self, frame: FrameType | None) -> str:
        """Return the innermost frames below the roots, as `package/module.py:line`, the innermost first."""
        found: list[str] = []
        while frame is not None and len(found) < self.frames:
            file = frame.f_code.co_filename
            root = next((root for root in self.roots if file.startswith(root)), None)
            if root is not None:
                found.append(f'{Path(root).name}/{file.removeprefix(root)}:{frame.f_lineno}')
            frame = frame.f_back
        return ' < '.join(found) or 'elsewhere'


class Memory:
    """The bytes of live storages on the device, in blocks of 512 bytes as CUDA's allocator rounds them."""

    def __init__(self) -> None:
        self.live = 0
        self.storages: dict[int, Any] = {}
        self.start()

    def start(self) -> None:
        """Begin the peak at what is allocated now."""
        self.peak = self.live
        self.peak_part: tuple[str, ...] = ()

    def add(self, tensor: Tensor, part: tuple[str, ...] = ()) -> None:
        """Count the storage of `tensor` until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if tensor.device.type != 'cuda' or key in self.storages:
            return
        size = -(-storage.nbytes() // 512) * 512

        def freed(_: Any) -> None:
            self.live -= size
            del self.storages[key]

        self.storages[key] = weakref.ref(storage, freed)
        self.live += size
        if self.live > self.peak:
            self.peak, self.peak_part = self.live, part


class KnownResults:
    """Results and costs of operations, by the shapes, strides, dtypes and devices of their inputs.

    FakeTensorMode has a cache, too, but most of a rehearsal's time is spent in it. Only operations that return new tensors are stored.
    """

    def __init__(self) -> None:
        self.known: dict[Any, tuple[Any, Cost]] = {}

    def get(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Cost] | None:
        """Return a new result and the cost of an operation; None where it is not stored."""
        try:
            form, cost = self.known[func, _signature(args), _signature(kwargs)]
        except (KeyError, TypeError):
            return None
        return _make_fake_result(form), cost

    def add(self, func: Any, args: Any, kwargs: Any, result: Any, cost: Cost) -> None:
        """Store an operation that has been run, where its result is nothing but new tensors."""
        if func._schema.is_mutable or any(returned.alias_info for returned in func._schema.returns):
            return
        with suppress(TypeError):
            self.known[func, _signature(args), _signature(kwargs)] = _describe_result(result), cost


def _signature(value: Any) -> Any:
    """Return what the result of an operation depends on, as a key; its use raises TypeError for what cannot be compared."""
    if isinstance(value, Tensor):
        if not isinstance(value, FakeTensor):
            raise TypeError
        return value.shape, value.stride(), value.dtype, value.fake_device
    if isinstance(value, list | tuple):
        return tuple(map(_signature, value))
    if isinstance(value, dict):
        return tuple((key, _signature(item)) for key, item in value.items())
    return type(value), value


def _describe_result(result: Any) -> Any:
    """Return shapes, strides, dtypes and devices of a result; raise TypeError where it is more than new tensors."""
    if isinstance(result, FakeTensor) and result.untyped_storage().nbytes() == _extent(result) * result.element_size():
        return result.fake_mode, result.shape, result.stride(), result.dtype, result.fake_device
    if isinstance(result, list | tuple):
        return [None if item is None else _describe_result(item) for item in result]
    raise TypeError


def _extent(tensor: Tensor) -> int:
    """Return how many numbers the storage of a new tensor holds."""
    if not tensor.numel():
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _make_fake_result(form: Any) -> Any:
    """Return new fake tensors as `_describe_result` described them."""
    if isinstance(form, list):
        return tuple(None if item is None else _make_fake_result(item) for item in form)
    mode, shape, stride, dtype, device = form
    with no_dispatch():
        return FakeTensor(mode, torch.empty_strided(shape, stride, dtype=dtype, device='meta'), device)


# --- The cost of a kernel


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in an argument or result of an operation."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def _estimate_cost(func: Any, args: Any, kwargs: Any, inputs: list[Tensor], result: Any, outputs: list[Tensor]) -> Cost:
    """Return name, shapes, dtype, floating-point operations, bytes and modelled seconds of an operation."""
    counter = flop_registry.get(func._overloadpacket)
    flops = counter(*args, **kwargs, out_val=result) if counter else 0
    on_device = [tensor for tensor in (*inputs, *outputs) if tensor.device.type == 'cuda']
    written = _written_tensors(func, args, kwargs) if not outputs else []
    touched = sum(map(touched_bytes, (*on_device, *written)))
    dtype = next((tensor.dtype for tensor in on_device if tensor.dtype == torch.bfloat16), on_device[0].dtype)
    seconds = max(flops / (REACHED_RATE * rate(_name(func), dtype)), touched / (REACHED_BANDWIDTH * BANDWIDTH), SHORTEST)
    shapes = tuple(tuple(tensor.shape) for tensor in inputs[:3])
    return _name(func), shapes, str(dtype).removeprefix('torch.'), flops, touched, seconds


def touched_bytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor that a kernel reads or writes; an expanded tensor counts with its storage."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _written_tensors(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """Return the tensors that an operation without a result changes, as those on lists of tensors do."""
    named = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)} | kwargs
    changed = [named.get(argument.name) for argument in func._schema.arguments if argument.alias_info and argument.alias_info.is_write]
    return [*tensors_in(changed)]


def rate(name: str, dtype: torch.dtype) -> float:
    """Return the floating-point operations a second that the chip can do in operation `name`; in float32, TF32's where torch may use it."""
    if dtype == torch.bfloat16:
        return RATES['bfloat16']
    allowed = torch.backends.cudnn.conv.fp32_precision if name in CONVOLUTIONS else torch.backends.cuda.matmul.fp32_precision
    return RATES['tf32' if name in CONVOLUTIONS | MATRIX_PRODUCTS and allowed == 'tf32' else 'float32']


def _name(func: Any) -> str:
    return func._schema.name.partition('::')[2]


def _describe_tensors(tensors: list[Tensor]) -> str:
    return ', '.join(f'{str(tensor.dtype).removeprefix("torch.")} {tuple(tensor.shape)} on {tensor.device.type}' for tensor in tensors)
