"""Measure the seconds of a training step, its parts and its memory, and what the machine could do at best.

    python benchmarks/training.py -opt options/train_frex_tiny.yml -o benchmarks/results/training_tiny_cpu.json
    python benchmarks/training.py -opt options/train_frex.yml --rounds 100 -o benchmarks/results/training_gpu.json

Each form of the step (precision, memory format, compiled) is measured, those in bf16 only on a GPU; `--forms` chooses others. Images are
noise and weights random, since no time depends on them. The bound is the larger of two times: that of the step's floating-point operations
(torch's counter) at the rate of a large matrix product, and that of the bytes that its operations read and write at the rate of a large
copy. Both rates are measured in the same run; the bytes are those of operations that nothing fuses.
"""

import gc
import statistics
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import timing
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from frex.models.frex_model import FRExModel
from frex.options import Options, RunOptions, complete, requested_options
from frex.training import pipeline
from frex.utils.allocator import keep_freed_memory
from frex.utils.text import in_columns
from frex_arch.camera import frontal_camera
from frex_arch.crop import mean_crop

MIB = 1 << 20
# The forms of a step, with the options that select them.
FORMS = {
    'fp32': ['train:bf16=false'],
    'fp32, channels last': ['train:bf16=false', 'train:channels_last=true'],
    'fp32, compiled': ['train:bf16=false', 'train:compile=true'],
    'bf16': ['train:bf16=true'],
    'bf16, channels last': ['train:bf16=true', 'train:channels_last=true'],
    'bf16, compiled': ['train:bf16=true', 'train:compile=true'],
}


class Traffic(TorchDispatchMode):
    """Counts the bytes of all tensors that operations read and write; views count nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count its bytes."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.bytes += sum(leaf.nbytes for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor))
        return result


class Stopwatch:
    """Sums up the seconds spent within methods, including the work of the device, by name."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` with its time added to `name`."""

        def measured(*args: Any, **kwargs: Any) -> Any:
            timing.wait_for(self.device)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            timing.wait_for(self.device)
            self.seconds[name] += time.perf_counter() - start
            return result

        return measured


def run(args: Namespace) -> None:
    """Measure each form, print its table and write the results."""
    keep_freed_memory()
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    results = {'machine': timing.describe_machine(device), 'options': args.opt, 'batch size': args.batch_size, 'forms': {}}
    for name in args.forms or [name for name in FORMS if device.type == 'cuda' or 'bf16' not in name]:
        with TemporaryDirectory() as folder:
            model = build_model(RunOptions(args.opt, force_yml=[*(args.force_yml or ()), *FORMS[name]]), Path(folder))
            model.feed_data(make_batch(model.opt['network_g'].get('out_size', 512), args.batch_size))
            results['forms'][name] = measure(model, args.rounds)
        # A compiled network is part of reference cycles: without this its memory would count for the next form.
        del model
        gc.collect()
        print(name)
        print_table(results['forms'][name])
        timing.write_results(args.output, results)


def build_model(run: RunOptions, root: Path) -> FRExModel:
    """Return the model of an option file without weight files: its priors have random weights. Outputs go below `root`."""
    pipeline.register()
    requested = drop_weight_files(requested_options(run))
    opt = complete(requested, run, root, True, torch.cuda.device_count()) | {'dist': False, 'rank': 0, 'world_size': 1}
    return pipeline.basicsr.train.build_model(opt)


def drop_weight_files(requested: Options) -> Options:
    """Return a copy of the options without files of weights: those that networks start from, and those of losses."""
    path = {key: None if key.startswith('pretrain_network') else value for key, value in requested.get('path', {}).items()}
    network_losses = ('perceptual', 'identity', 'structure', 'style')
    train = {
        key: value | {'weights': None} if value and key.startswith(network_losses) else value for key, value in requested['train'].items()
    }
    return requested | {'path': path, 'train': train}


def make_batch(size: int, count: int) -> dict[str, Tensor]:
    """Return a batch like the data loader's: `count` noise images, `size` x `size` in [-1, 1], with frontal cameras and mean crops."""
    generator = torch.Generator().manual_seed(0)
    lq, gt = (torch.rand(count, 3, size, size, generator=generator) * 2 - 1 for _ in range(2))
    return {'lq': lq, 'gt': gt, 'camera': frontal_camera(count), 'crop': mean_crop(lq)}


def measure(model: FRExModel, rounds: int) -> dict[str, Any]:
    """Measure steps with and without R1, and the parts of one without; return them with operations, bytes, peak memory and bounds.

    The model must have been fed a batch. `rounds` steps without R1 are timed, and at most 5 with R1. Times are medians in seconds.
    """
    every = model.train_options.net_d_reg_every
    step = iter(range(1, 1 << 30))

    def one() -> None:
        model.optimize_parameters(next(step) % every or 1)

    def regularised() -> None:
        model.optimize_parameters(every)

    one()
    peak = timing.measure_peak_bytes(one, model.device)
    whole = [timing.time_call(one, model.device) for _ in range(rounds)]
    # R1 comes once in `net_d_reg_every` steps, so fewer measurements do.
    some = min(rounds, 5)
    with_r1 = [timing.time_call(regularised, model.device) for _ in range(some + 1)][1:]
    parts = [measure_parts(model, one) for _ in range(some)]
    work = timing.count_flops(one)
    with Traffic() as traffic:
        one()
    dtype = torch.bfloat16 if model.train_options.bf16 else torch.float32
    rate, copying = timing.measure_matrix_rate(model.device, dtype), timing.measure_bandwidth(model.device)
    return {
        'seconds a step': statistics.median(whole),
        'seconds a step with R1': statistics.median(with_r1),
        'seconds a step on average': (statistics.median(whole) * (every - 1) + statistics.median(with_r1)) / every,
        'least and most': [min(whole), max(whole)],
        'parts': {name: statistics.median(part[name] for part in parts) for name in parts[0]},
        'peak bytes': peak,
        'operations': work,
        'bytes moved': traffic.bytes,
        'operations a second of a matrix product': rate,
        'bytes a second of a copy': copying,
        'bound in seconds': {'operations': work / rate, 'bytes': traffic.bytes / copying},
    }


def measure_parts(model: FRExModel, one: Callable[[], None]) -> dict[str, float]:
    """Return the seconds of the parts of a step; what is left is that of optimizer and log."""
    watch = Stopwatch(model.device)
    with time_methods(model, watch):
        total = timing.time_call(one, model.device)
    return {**watch.seconds, 'optimiser and the rest': total - sum(watch.seconds.values())}


@contextmanager
def time_methods(model: FRExModel, watch: Stopwatch) -> Iterator[None]:
    """Time the methods that `FRExModel.optimize_parameters` calls, during the `with` block."""
    methods: list[tuple[str, Any, str]] = [
        ('forward', model.net_g, 'forward'),
        ('losses', model, 'generator_losses'),
        ('backward', model.stepper, 'backward'),
        *((f'critic {critic.name}', critic, 'step') for critic in model.critics),
        ('moving average', model, 'model_ema'),
    ]
    with ExitStack() as patches:
        for name, owner, method in methods:
            patches.enter_context(mock.patch.object(owner, method, watch.around(name, getattr(owner, method))))
        yield


def print_table(results: dict[str, Any]) -> None:
    """Print seconds, parts, bounds and memory of one form."""
    seconds = results['seconds a step']
    average = results['seconds a step on average']
    rows = [['a step', f'{seconds:.3f} s', ''], ['  with R1', f'{results["seconds a step with R1"]:.3f} s', '']]
    rows += [['  on average', f'{average:.3f} s', f'250k in {average * 250_000 / 3600:.0f} h']]
    rows += [[f'  {name}', f'{part:.3f} s', f'{part / seconds:.0%}'] for name, part in results['parts'].items()]
    rows += [[f'bound by {name}', f'{bound:.3f} s', f'{bound / seconds:.0%}'] for name, bound in results['bound in seconds'].items()]
    rows += [['peak memory', f'{results["peak bytes"] / MIB:.0f} MiB', '']] if results['peak bytes'] else []
    print(*in_columns(rows), sep='\n')


if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('-opt', default='options/train_frex_tiny.yml', metavar='FILE')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FILE')
    parser.add_argument('--batch_size', type=int, default=4)
    parser.add_argument('--rounds', type=int, default=5, help='steps of each form that are timed')
    parser.add_argument('--forms', nargs='+', choices=FORMS)
    parser.add_argument('--force_yml', nargs='+', metavar='KEY=VALUE')
    run(parser.parse_args(namespace=Namespace(debug=False, auto_resume=False, launcher='none')))
