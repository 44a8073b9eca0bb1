"""FREx at 512 x 512 beside GFPGAN, RestoreFormer and CodeFormer, its parts, its forms, and EG3D beside a plain re-statement of it.

    make bench
    python benchmarks/networks.py -o benchmarks/results/networks_cpu.json

FREx runs as its tools run it, with freed memory kept; what it is compared with runs, in a process of its own, as it is, or with
--keep_memory in the same way. Peers take part where `pip install 'frex[bench]'` and `pip install --no-deps codeformer-pip` brought
their packages.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import candidates
import timing
import torch
from candidates import REFERENCE
from isolated_process import IsolatedProcess

from frex.utils.text import in_columns

# Largest mean difference from float32, in standard deviations of the image.
TOLERANCES = {'FREx, bf16': 5e-2, 'FREx, onnxruntime': 1e-3, 'FREx, compiled': 1e-3, 'FREx, compiled, bf16': 5e-2}
MIB = 1 << 20


def run(args: Namespace) -> None:
    """Measure, print, write."""
    device = torch.device(args.device)
    results: dict[str, Any] = {
        'machine': timing.machine(device),
        'freed memory kept': {'FREx': True, 'others': args.keep_memory},
        'batch size': args.batch_size,
        'networks': networks(device, args),
        'parts of FREx': parts(device, args),
        'EG3D': eg3d(device, args),
    }
    timing.write_results(args.output, results)
    print(f'{args.output}: written')


def networks(device: torch.device, args: Namespace) -> dict[str, Any]:
    """Whole networks as their users run them."""
    ours = IsolatedProcess(candidates.forms_of_frex, device, args.batch_size, args.compile, args.onnx, device=device, keep_memory=True)
    theirs = IsolatedProcess(candidates.peers, device, args.batch_size, device=device, keep_memory=args.keep_memory)
    if REFERENCE not in theirs.names:
        print("the gfpgan package is not there, so FREx itself is the measure: pip install 'frex[bench]'")
    errors = check_forms(ours)
    reference = REFERENCE if REFERENCE in theirs.names else 'FREx'
    measured: dict[str, Any] = timing.ratios(timing.take_turns(ours.timers() | theirs.timers(), args.rounds), reference)
    for booth in (ours, theirs):
        for name in booth.names:
            measured[name]['faces a second'] = args.batch_size / measured[name]['seconds']
            # The memory that onnxruntime has taken before is not seen.
            if 'onnx' not in name:
                measured[name]['peak bytes'] = booth.peak_bytes(name)
            if 'compiled' not in name and 'onnx' not in name:
                measured[name]['GFLOP'] = booth.flops(name) / 1e9
    show(f'beside {reference}', measured)
    return {'reference': reference, 'mean difference from float32': errors, 'measured': measured}


def check_forms(booth: IsolatedProcess) -> dict[str, float]:
    """Mean differences of the forms, in standard deviations of the image; ends the benchmark where one is too large."""
    expected = booth.result('FREx')
    errors = {name: float((booth.result(name) - expected).abs().mean() / expected.std()) for name in booth.names if name in TOLERANCES}
    for name, error in errors.items():
        if not error <= TOLERANCES[name]:
            raise SystemExit(f'{name}: mean difference {error:.2g} standard deviations from float32, more than {TOLERANCES[name]:.2g}')
    return errors


def parts(device: torch.device, args: Namespace) -> dict[str, Any]:
    """The parts of `FREx.forward`."""
    booth = IsolatedProcess(candidates.parts_of_frex, device, args.batch_size, device=device, keep_memory=True)
    measured: dict[str, Any] = timing.ratios(timing.take_turns(booth.timers(), args.rounds), 'whole')
    for name in booth.names:
        measured[name]['GFLOP'] = booth.flops(name) / 1e9
    show('parts of FREx', measured)
    return measured


def eg3d(device: torch.device, args: Namespace) -> dict[str, Any]:
    """The renderer, and from z to the rendered features, beside the plain re-statement; ends the benchmark where they differ."""
    ours = IsolatedProcess(candidates.eg3d, device, False, device=device, keep_memory=True)
    plain = IsolatedProcess(candidates.eg3d, device, True, device=device, keep_memory=args.keep_memory)
    error = max(float((ours.result(name) - plain.result(name)).abs().max()) for name in ours.names)
    if not error <= 1e-4:
        raise SystemExit(f'EG3D: {error:.2g} from the plain re-statement, more than 1e-4')
    timers = ours.timers() | {f'{name}, plain': timer for name, timer in plain.timers().items()}
    times = timing.take_turns(timers, args.rounds)
    measured: dict[str, Any] = {}
    for name in ours.names:
        measured |= timing.ratios({key: times[key] for key in (name, f'{name}, plain')}, f'{name}, plain')
    show('EG3D beside the plain re-statement', measured)
    return {'largest difference': error, 'measured': measured}


def show(title: str, measured: dict[str, dict[str, Any]]) -> None:
    """A table on the screen."""
    head = ['', 'ratio', 'least', 'most', 'seconds', 'GFLOP', 'peak MiB', 'faces/s']
    rows = []
    for name, found in measured.items():
        work = f'{found["GFLOP"]:.0f}' if 'GFLOP' in found else ''
        memory = f'{found["peak bytes"] / MIB:.0f}' if found.get('peak bytes') else ''
        faces = f'{found["faces a second"]:.2f}' if 'faces a second' in found else ''
        rows.append([name, *(f'{found[key]:.3f}' for key in ('ratio', 'least', 'most', 'seconds')), work, memory, faces])
    print(title, *in_columns([head, *rows]), '', sep='\n', flush=True)


if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FILE')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--batch_size', type=int, default=1)
    parser.add_argument('--keep_memory', action='store_true', help='let the CPU allocator keep freed memory for the others, too')
    parser.add_argument('--compile', action='store_true', help='also compiled forms, which takes minutes')
    parser.add_argument('--onnx', action='store_true', help='also what `frex export` makes, in onnxruntime')
    run(parser.parse_args())
