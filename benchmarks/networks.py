"""Compare FREx at 512 x 512 with GFPGAN, RestoreFormer and CodeFormer, its forms and parts, and EG3D with a plain re-statement of it.

    make bench
    python benchmarks/networks.py -o benchmarks/results/networks_cpu.json

FREx runs as its tools run it, with freed memory kept. The others run in a process of their own as they are, or in the same way with
--keep_memory. They take part where `pip install 'frex[bench]'` and `pip install --no-deps spandrel_extra_arches` installed their packages.
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
    """Measure, print the tables and write the results."""
    device = torch.device(args.device)
    results: dict[str, Any] = {
        'machine': timing.describe_machine(device),
        'freed memory kept': {'FREx': True, 'others': args.keep_memory},
        'batch size': args.batch_size,
        'networks': measure_networks(device, args),
        'parts of FREx': measure_parts(device, args),
        'EG3D': measure_eg3d(device, args),
    }
    timing.write_results(args.output, results)
    print(f'{args.output}: written')


def measure_networks(device: torch.device, args: Namespace) -> dict[str, Any]:
    """Compare whole networks as their users run them; return times, ratios, memory and operations."""
    ours = IsolatedProcess(candidates.build_frex_forms, device, args.batch_size, args.compile, args.onnx, device=device, keep_memory=True)
    theirs = IsolatedProcess(candidates.build_peers, device, args.batch_size, device=device, keep_memory=args.keep_memory)
    if REFERENCE not in theirs.names:
        print("the package spandrel is not there, so FREx itself is the measure: pip install 'frex[bench]'")
    errors = check_forms(ours)
    reference = REFERENCE if REFERENCE in theirs.names else 'FREx'
    measured: dict[str, Any] = timing.compute_ratios(timing.take_turns(ours.timers() | theirs.timers(), args.rounds), reference)
    for process in (ours, theirs):
        for name in process.names:
            measured[name]['faces a second'] = args.batch_size / measured[name]['seconds']
            # The memory that onnxruntime has taken before is not seen.
            if 'onnx' not in name:
                measured[name]['peak bytes'] = process.measure_peak_bytes(name)
            if 'compiled' not in name and 'onnx' not in name:
                measured[name]['GFLOP'] = process.flops(name) / 1e9
    print_table(f'beside {reference}', measured)
    return {'reference': reference, 'mean difference from float32': errors, 'measured': measured}


def check_forms(process: IsolatedProcess) -> dict[str, float]:
    """Return the mean difference of each form of FREx from float32, in standard deviations of the image; exit where one is too large."""
    expected = process.result('FREx')
    errors = {name: float((process.result(name) - expected).abs().mean() / expected.std()) for name in process.names if name in TOLERANCES}
    for name, error in errors.items():
        if not error <= TOLERANCES[name]:
            raise SystemExit(f'{name}: mean difference {error:.2g} standard deviations from float32, more than {TOLERANCES[name]:.2g}')
    return errors


def measure_parts(device: torch.device, args: Namespace) -> dict[str, Any]:
    """Measure the parts of `FREx.forward`, relative to all of it."""
    process = IsolatedProcess(candidates.build_frex_parts, device, args.batch_size, device=device, keep_memory=True)
    measured: dict[str, Any] = timing.compute_ratios(timing.take_turns(process.timers(), args.rounds), 'whole')
    for name in process.names:
        measured[name]['GFLOP'] = process.flops(name) / 1e9
    print_table('parts of FREx', measured)
    return measured


def measure_eg3d(device: torch.device, args: Namespace) -> dict[str, Any]:
    """Compare EG3D's renderer, and all from z to the rendered features, with the plain re-statement; exit where the results differ."""
    ours = IsolatedProcess(candidates.build_eg3d, device, False, device=device, keep_memory=True)
    plain = IsolatedProcess(candidates.build_eg3d, device, True, device=device, keep_memory=args.keep_memory)
    error = max(float((ours.result(name) - plain.result(name)).abs().max()) for name in ours.names)
    if not error <= 1e-4:
        raise SystemExit(f'EG3D: {error:.2g} from the plain re-statement, more than 1e-4')
    timers = ours.timers() | {f'{name}, plain': timer for name, timer in plain.timers().items()}
    times = timing.take_turns(timers, args.rounds)
    measured: dict[str, Any] = {}
    for name in ours.names:
        measured |= timing.compute_ratios({key: times[key] for key in (name, f'{name}, plain')}, f'{name}, plain')
    print_table('EG3D beside the plain re-statement', measured)
    return {'largest difference': error, 'measured': measured}


def print_table(title: str, measured: dict[str, dict[str, Any]]) -> None:
    """Print one row per candidate, with the columns that were measured."""
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
