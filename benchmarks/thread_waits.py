"""Measure how long threads should spin while they wait for work: steps of the tiny training, alone and beside another busy process.

    python benchmarks/thread_waits.py -o benchmarks/results/thread_waits_cpu.json

Each setting has a process of its own, with as many threads as cores. They take turns; only the ratios to GNU OpenMP's default, alone,
count.
"""

import os
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import timing

from frex.environment import SPIN_COUNT, SPINS
from frex.options import RunOptions
from frex.utils.text import in_columns

DEFAULT = 'default'
ALONE, BESIDE = 'alone', 'beside a busy process'
OTHERS = {DEFAULT: {}, 'OMP_WAIT_POLICY=passive': {'OMP_WAIT_POLICY': 'passive'}, 'OMP_NUM_THREADS=1': {'OMP_NUM_THREADS': '1'}}


class Trainer:
    """A process that takes steps of the tiny training when asked to, with the environment variables `settings`."""

    def __init__(self, settings: dict[str, str]) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(('OMP_', 'GOMP_'))} | settings
        command = [sys.executable, __file__, '--steps']
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, steps: int) -> float:
        """Let the process take `steps` steps, and return their median time in seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(steps, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def take_steps() -> None:
    """Read numbers of steps from standard input, take them, and print their median time; this is what a Trainer's process runs."""
    import training

    with TemporaryDirectory() as folder:
        model = training.build_model(RunOptions('options/train_frex_tiny.yml'), Path(folder))
        model.feed_data(training.make_batch(model.opt['network_g']['out_size'], 4))
        for line in sys.stdin:
            seconds = [timing.time_call(lambda: model.optimize_parameters(1), model.device) for _ in range(int(line))]
            print(statistics.median(seconds), flush=True)


@contextmanager
def busy_process() -> Iterator[None]:
    """Keep one core busy with another process during the `with` block."""
    process = subprocess.Popen([sys.executable, '-c', 'while True: pass'])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run(args: Namespace) -> None:
    """Measure each setting in turns, write the results to `--output` where it is given, and print the table of ratios."""
    settings = OTHERS | {f'{SPIN_COUNT}={spins}': {SPIN_COUNT: str(spins)} for spins in args.spins}
    found: dict[str, dict[str, list[float]]] = {name: {ALONE: [], BESIDE: []} for name in settings}
    with ExitStack() as stack:
        trainers = {name: Trainer(variables) for name, variables in settings.items()}
        for trainer in trainers.values():
            stack.callback(trainer.close)
            # Wait until each is built before the next starts.
            trainer.seconds(2)
        for _ in range(args.rounds):
            for name, trainer in trainers.items():
                found[name][ALONE].append(trainer.seconds(args.number))
            with busy_process():
                time.sleep(0.5)
                for name, trainer in trainers.items():
                    found[name][BESIDE].append(trainer.seconds(args.number))
    medians = {name: {state: statistics.median(seconds) for state, seconds in states.items()} for name, states in found.items()}
    results = {
        'machine': timing.describe_machine(timing.torch.device('cpu')),
        'rounds': args.rounds,
        'seconds a step': medians,
        'ratios to the default alone': {
            name: {state: seconds / medians[DEFAULT][ALONE] for state, seconds in states.items()} for name, states in medians.items()
        },
    }
    if args.output is not None:
        timing.write_results(args.output, results)
    rows = [[name, *(f'{ratio:.2f}' for ratio in ratios.values())] for name, ratios in results['ratios to the default alone'].items()]
    print(*in_columns([['', ALONE, BESIDE], *rows]), sep='\n')


if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('-o', '--output', type=Path, metavar='FILE')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--number', type=int, default=5, help='steps of each measurement, of which the median counts')
    parser.add_argument('--spins', type=int, nargs='+', default=[0, 1000, SPINS, 30_000])
    parser.add_argument('--steps', action='store_true', help='be one of the processes that are measured')
    parsed = parser.parse_args()
    take_steps() if parsed.steps else run(parsed)
