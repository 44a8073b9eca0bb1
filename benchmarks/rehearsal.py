"""Run training steps and restoring at full size on a fake GPU: find what would fail on a real one, and model what a step would cost.

    make rehearse
    python benchmarks/rehearsal.py --options options/train_frex.yml --iterations 2 16 --precision bf16 --top 40

Tensors are fake (see `fake_device.py`): devices, dtypes and shapes are checked, nothing is calculated. A device or dtype mismatch ends the
rehearsal of an option file with its source line, and the command with status 1. Each kernel is modelled to take the largest of three times:
its floating-point operations at 60 % of the chip's rate, its bytes at 85 % of 4.3 TB/s, and 2.5 microseconds.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest import mock

import fake_device
import lpips
import timing
import torch
import torchvision
import training
from fake_device import Kernel, MismatchError, Recorder
from torch import nn

import frex
import frex_arch
from frex.models.frex_model import FRExModel
from frex.options import SHIPPED_FOLDER, RunOptions
from frex.options.train import TrainOptions
from frex.restore.faces.batches import BatchRunner, NetworkInput, NetworkOptions
from frex.utils.text import in_columns
from frex.weights.torch_file import read_torch_file
from frex_arch import FREx

ROOTS = tuple(Path(package.__file__).resolve().parent for package in (frex, frex_arch, torchvision, lpips))
GIB = 1 << 30
R1 = 'with R1'
RESTORING = 'restoring'
CHIP = {
    'FLOP a second': fake_device.RATES,
    'bytes a second': fake_device.BANDWIDTH,
    'reached of both': [fake_device.REACHED_RATE, fake_device.REACHED_BANDWIDTH],
    'shortest kernel in seconds': fake_device.SHORTEST,
}


class Rehearsal(NamedTuple):
    """An option file, and the kinds of its steps that are rehearsed: plain ones, and those with R1."""

    name: str
    options: str
    kinds: tuple[str, ...] = ('',)


def list_rehearsals() -> list[Rehearsal]:
    """Return a rehearsal of each option file of full size in the checkout from which `frex` is imported."""
    folder = SHIPPED_FOLDER
    return [
        Rehearsal('stage A', str(folder / 'train_frex_3d.yml')),
        Rehearsal('stage B', str(folder / 'train_frex.yml'), ('', R1)),
        Rehearsal('release options', str(folder / 'train_frex_release.yml')),
        *(Rehearsal(path.stem.replace('_', ' '), str(path)) for path in sorted((folder / 'ablations').glob('*.yml'))),
    ]


# --- Steps


def rehearse_training(rehearsal: Rehearsal, iterations: Sequence[int], precision: str, args: Namespace) -> Iterator[dict[str, Any]]:
    """Run the training steps `iterations` (empty: one of each kind) on the fake device, and yield the record of each."""
    with TemporaryDirectory() as folder, fake_device.fake_cuda(ROOTS, args.frames) as recorder:
        model = build_model(rehearsal.options, precision, Path(folder), args.force_yml)
        steppers = [model.stepper, *(critic.stepper for critic in model.critics)]
        for stepper in steppers:
            for state in make_optimizer_states(stepper.optimizer):
                recorder.memory.add(state)
        for tensor in list_tensors(model.net_g, model.net_g_ema, model.objective, *(critic.net for critic in model.critics)):
            recorder.memory.add(tensor)
        batch = training.make_batch(model.opt['network_g'].get('out_size', 512), args.batch_size)
        # In training the prefetcher moves the batch to the GPU.
        model.feed_data({key: value.to('cuda') for key, value in batch.items()})
        with record_parts(model, recorder):
            for iteration in iterations or [2 if kind != R1 else model.train_options.net_d_reg_every for kind in rehearsal.kinds]:
                recorder.start()
                model.optimize_parameters(iteration)
                has_r1 = iteration % model.train_options.net_d_reg_every == 0
                name = f'{rehearsal.name} {R1}' if has_r1 else rehearsal.name
                yield make_record(name, recorder, precision, args.batch_size, args)


def build_model(options: str, precision: str, root: Path, force: Sequence[str]) -> FRExModel:
    """Return the model of an option file on the fake device; it is never compiled."""
    entries = [f'train:bf16={str(precision == "bf16").lower()}', *force]
    if 'compile' in TrainOptions.__dataclass_fields__:
        entries.append('train:compile=false')
    with mock.patch('frex.losses.lpips_loss.read_torch_file', fake_device.with_real_tensors(read_torch_file)):
        return training.build_model(RunOptions(options, force_yml=entries), root)


def make_optimizer_states(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Return the gradients and the optimizer's state as they are after a step: both stay in memory until the next."""
    for group in optimizer.param_groups:
        for parameter in group['params']:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    gradients = [parameter.grad for group in optimizer.param_groups for parameter in group['params']]
    return gradients + [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]


def list_tensors(*networks: nn.Module) -> Iterator[torch.Tensor]:
    """Yield all parameters and buffers of the networks."""
    for net in networks:
        yield from net.parameters()
        yield from net.buffers()


@contextmanager
def record_parts(model: FRExModel, recorder: Recorder) -> Iterator[None]:
    """Assign kernels in the `with` block to the parts of a step: forward, losses, backward, each critic, moving average."""
    methods: list[tuple[str, Any, str]] = [
        ('forward', model.net_g, 'forward'),
        ('losses', model, 'generator_losses'),
        *((name, loss, 'forward') for name, loss in model.objective.losses.items()),
        *((f'critic {critic.name}', critic, 'generator_loss') for critic in model.critics),
        ('backward', model.stepper, 'backward'),
        ('optimizer', model.stepper.optimizer, 'step'),
        *((f'critic {critic.name}', critic, 'step') for critic in model.critics),
        *(('R1', critic, '_regularize') for critic in model.critics),
        *(('optimizer', critic.stepper.optimizer, 'step') for critic in model.critics),
        ('moving average', model, 'model_ema'),
    ]
    with patch_methods(recorder, [*methods, *list_network_parts(model.get_bare_model(model.net_g))]):
        yield


def list_network_parts(net: nn.Module) -> list[tuple[str, Any, str]]:
    """Return (name of the part, owner, method) of the parts of a FREx or FREx3D."""
    methods = [
        (name, getattr(net, name), 'forward') for name in ('encoder_3d', 'encoder_2d', 'pyramid_3d', 'decoder_2d') if hasattr(net, name)
    ]
    if net.eg3d is not None:
        methods += [
            (name, net.eg3d, method) for name, method in (('planes', 'planes'), ('rendering', 'render'), ('image_3d', 'super_resolve'))
        ]
    if hasattr(net, 'stylegan2'):
        methods += [('stylegan2', net.stylegan2, method) for method in ('start', 'upsample', 'refine')]
        methods += [('fusion', fusion, 'forward') for fusion in net.fusion.values()]
    return methods


@contextmanager
def patch_methods(recorder: Recorder, methods: Iterable[tuple[str, Any, str]]) -> Iterator[None]:
    """Assign the kernels of `methods`, (name of the part, owner, method), to parts during the `with` block."""
    with ExitStack() as patches:
        for name, owner, method in methods:
            patches.enter_context(mock.patch.object(owner, method, recorder.around(name, getattr(owner, method))))
        yield


def rehearse_restoring(precision: str, args: Namespace, count: int = 16) -> Iterator[dict[str, Any]]:
    """Run `count` faces through the network at once, as the restorer does, and yield one record."""
    # The restorer's `inference_mode` runs the same kernels, but shows them to no dispatch mode.
    with fake_device.fake_cuda(ROOTS, args.frames) as recorder, torch.no_grad():
        net = FREx().to('cuda').eval()
        for tensor in list_tensors(net):
            recorder.memory.add(tensor)
        faces = torch.rand(count, 3, net.out_size, net.out_size)
        recorder.start()
        with patch_methods(recorder, [('forward', net, 'forward'), *list_network_parts(net)]):
            outputs = list(BatchRunner(net, torch.device('cuda'), precision, batch_size=count).run(NetworkInput(faces), NetworkOptions()))
        failed = [output for output in outputs if isinstance(output, str)]
        if failed:
            raise MismatchError(f'{RESTORING}: {failed[0]}')
        yield make_record(RESTORING, recorder, precision, count, args)


# --- Records


def make_record(name: str, recorder: Recorder, precision: str, batch_size: int, args: Namespace) -> dict[str, Any]:
    """Return the figures of the kernels since the recorder's start; print the most expensive ones where --top is given."""
    if args.top:
        print_most_expensive(f'{name}, {precision}', recorder, args.top)
    return {
        'step': name,
        'precision': precision,
        'batch size': batch_size,
        **sum_kernels(recorder.kernels),
        'peak GiB': recorder.memory.peak / GIB,
        'peak in': ' / '.join(recorder.memory.peak_part),
        'parts': {
            part: sum_kernels(kernels)
            | {'parts': {name: sum_kernels(group) for name, group in group_kernels(kernels, make_part_key(1)).items()}}
            for part, kernels in group_kernels(recorder.kernels, make_part_key(0)).items()
        },
        'transfers': dict(recorder.transfers),
    }


def sum_kernels(kernels: Sequence[Kernel]) -> dict[str, float]:
    """Return the number, operations, bytes and modelled time of kernels."""
    return {
        'kernels': len(kernels),
        'TFLOP': sum(kernel.flops for kernel in kernels) / 1e12,
        'GB moved': sum(kernel.bytes for kernel in kernels) / 1e9,
        'modelled ms': sum(kernel.seconds for kernel in kernels) * 1e3,
    }


def group_kernels(kernels: Iterable[Kernel], key: Callable[[Kernel], Any]) -> dict[Any, list[Kernel]]:
    """Return the kernels by `key(kernel)`, the groups with the longest modelled time first."""
    groups: dict[Any, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        groups[key(kernel)].append(kernel)
    return dict(sorted(groups.items(), key=lambda item: -sum(kernel.seconds for kernel in item[1])))


def make_part_key(depth: int) -> Callable[[Kernel], str]:
    """Return a function that gives a kernel's part of the step at one depth, 0 for the outermost; `rest` outside of all parts."""
    return lambda kernel: kernel.part[depth] if len(kernel.part) > depth else 'rest'


# --- Tables


def print_most_expensive(title: str, recorder: Recorder, count: int) -> None:
    """Print the `count` most expensive parts, source lines, operations, and operations by line and shape."""
    tables: list[tuple[str, Callable[[Kernel], str]]] = [
        ('parts', lambda kernel: ' / '.join(kernel.part[:2]) or 'rest'),
        ('source lines', lambda kernel: kernel.line),
        ('operations', lambda kernel: f'{kernel.name} {kernel.dtype}'),
        ('kernels', lambda kernel: f'{kernel.name} {kernel.dtype} {" ".join(map(format_shape, kernel.shapes))}  {kernel.line}'),
    ]
    for name, key in tables:
        groups = list(group_kernels(recorder.kernels, key).items())[:count]
        print(f'{title}: {name}', *in_columns([HEAD, *(format_row(label, sum_kernels(group)) for label, group in groups)]), '', sep='\n')
    for name, counts in (('transfers and synchronizations', recorder.transfers), ('operations on several dtypes', recorder.promotions)):
        print(f'{title}: {name}', *(f'{times:6d} {label}' for label, times in counts.most_common(count)), '', sep='\n')


HEAD = ['ms', 'kernels', 'TFLOP', 'GB', '']


def format_row(label: str, figures: dict[str, float]) -> list[str]:
    """Return the cells of a table's row from the figures of `sum_kernels`."""
    return [f'{figures["modelled ms"]:.2f}', f'{figures["kernels"]}', f'{figures["TFLOP"]:.3f}', f'{figures["GB moved"]:.2f}', label]


def format_shape(sizes: tuple[int, ...]) -> str:
    """Format a shape, such as 2x3x4."""
    return 'x'.join(map(str, sizes)) or '1'


def print_records(records: Sequence[dict[str, Any]]) -> None:
    """Print one row per record, and below it the parts of the step."""
    rows = [[*HEAD[:4], 'peak GiB', 'transfers', 'step']]
    for found in records:
        *figures, label = format_row(f'{found["step"]}, {found["precision"]}', found)
        rows.append([*figures, f'{found["peak GiB"]:.1f}', f'{sum(found["transfers"].values())}', label])
        rows += [[*format_row(f'  {part}', part_figures)[:4], '', '', f'  {part}'] for part, part_figures in found['parts'].items()]
    print(*in_columns(rows), sep='\n')


# --- The command


def run(args: Namespace) -> int:
    """Rehearse, print and write; return the number of failures."""
    chosen = [Rehearsal(Path(args.options).stem, args.options)] if args.options else list_rehearsals()
    records: list[dict[str, Any]] = []
    failures = 0
    for precision in args.precision:
        steps = {item.name: rehearse_training(item, args.iterations, precision, args) for item in chosen}
        if not args.options:
            steps[RESTORING] = rehearse_restoring(precision, args)
        if set(args.only) - set(steps):
            raise SystemExit(f'--only: some of {", ".join(steps)}')
        for name in [name for name in steps if not args.only or name in args.only]:
            try:
                for found in steps[name]:
                    print(f'{found["step"]}, {precision}: {found["kernels"]} kernels, {found["modelled ms"]:.1f} ms', flush=True)
                    records.append(found)
            except MismatchError as error:
                failures += 1
                print(f'{name}, {precision}: {error}', file=sys.stderr)
    if records:
        print_records(records)
    if args.output:
        timing.write_results(args.output, {'torch': torch.__version__, 'chip': CHIP, 'records': records})
    return failures


def main() -> None:
    """Run the command in a process of its own that has no accelerator."""
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('-o', '--output', type=Path, metavar='FILE')
    parser.add_argument('--options', metavar='FILE', help='one option file, instead of all of full size and restoring')
    parser.add_argument('--only', nargs='+', default=(), metavar='NAME', help='some of all: the names of the table without "with R1"')
    parser.add_argument('--iterations', nargs='+', type=int, default=(), help='numbers of steps; multiples of net_d_reg_every have R1')
    parser.add_argument('--precision', nargs='+', choices=('fp32', 'bf16'), default=('fp32', 'bf16'))
    parser.add_argument('--batch_size', type=int, default=4)
    parser.add_argument('--force_yml', nargs='+', default=(), metavar='KEY=VALUE')
    parser.add_argument('--top', type=int, default=0, help='rows of the tables of the dearest parts, lines, operations and kernels')
    parser.add_argument('--frames', type=int, default=1, help='source lines of each kernel: its own, its caller, and so on')
    args = parser.parse_args()
    if not fake_device.is_without_accelerator():
        sys.exit(fake_device.run_without_accelerator())
    sys.exit(1 if run(args) else 0)


if __name__ == '__main__':
    main()
