"""FREx at 512 x 512 beside the networks of the gfpgan package, its parts, its forms, and EG3D beside a plain re-statement of it.

    make bench
    python benchmarks/networks.py -o benchmarks/results/networks_cpu.json

Weights are random: no time depends on them. Peers take part where `pip install 'frex[peers]'` brought the package.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import reference_eg3d
import timing
import torch
from torch import Tensor, nn

from frex.allocator import keep_freed_memory
from frex.text import in_columns
from frex_arch import FREx
from frex_arch.camera import frontal_camera
from frex_arch.crop import mean_crop, warp_to_crop
from frex_arch.fusion import embed_camera

REFERENCE = 'GFPGANv1Clean'
# Largest mean difference from float32, in standard deviations of the picture.
TOLERANCES = {'FREx, bf16': 5e-2, 'FREx, compiled': 1e-3, 'FREx, compiled, bf16': 5e-2}
MIB = 1 << 20


def run(args: Namespace) -> None:
    """Measure, print, write."""
    device = torch.device(args.device)
    kept = args.keep_memory and keep_freed_memory()
    torch.manual_seed(0)
    face = torch.rand(args.batch_size, 3, 512, 512, device=device) * 2 - 1
    frex = FREx().to(device).eval()
    wake(frex)
    with torch.inference_mode():
        results: dict[str, Any] = {'machine': timing.machine(device), 'freed memory kept': kept, 'batch size': args.batch_size}
        results['networks'] = networks(frex, face, args)
        results['parts of FREx'] = parts(frex, face, args.rounds)
        results['EG3D'] = eg3d(frex, args.rounds, device)
    timing.write_results(args.output, results)
    print(f'{args.output}: written')


@torch.no_grad()
def wake(frex: FREx) -> None:
    """Layers that start at zero get weights, so that forms are compared on numbers that depend on all of the network."""
    for parameter in frex.parameters():
        if not parameter.any():
            parameter.normal_(0, 0.02)


def networks(frex: FREx, face: Tensor, args: Namespace) -> dict[str, Any]:
    """Whole networks as their users run them."""
    contestants = {'FREx': lambda: frex(face).image, **forms(frex, face, args), **peers(face)}
    errors = check_forms(contestants)
    reference = REFERENCE if REFERENCE in contestants else 'FREx'
    measured = timing.ratios(timing.take_turns(contestants, args.rounds, face.device), reference)
    for name, contestant in contestants.items():
        measured[name]['peak bytes'] = timing.peak_bytes(contestant, face.device)
        if 'compiled' not in name:
            measured[name]['GFLOP'] = timing.flops(contestant) / 1e9
    show(f'beside {reference}', measured)
    return {'reference': reference, 'mean difference from float32': errors, 'measured': measured}


def forms(frex: FREx, face: Tensor, args: Namespace) -> dict[str, Callable[[], Tensor]]:
    """FREx in bfloat16, compiled, and both."""

    def in_bf16(net: Callable[[Tensor], Any]) -> Tensor:
        with torch.autocast(face.device.type, dtype=torch.bfloat16):
            return net(face).image

    found: dict[str, Callable[[], Tensor]] = {'FREx, bf16': lambda: in_bf16(frex)}
    if args.compile:
        compiled = torch.compile(frex, fullgraph=True)
        found |= {'FREx, compiled': lambda: compiled(face).image, 'FREx, compiled, bf16': lambda: in_bf16(compiled)}
    return found


def check_forms(contestants: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    """Mean differences of the forms, in standard deviations of the picture; ends the benchmark where one is too large."""
    expected = contestants['FREx']()
    spread = expected.std()
    errors = {name: float((contestants[name]().float() - expected).abs().mean() / spread) for name in contestants if name in TOLERANCES}
    for name, error in errors.items():
        if not error <= TOLERANCES[name]:
            raise SystemExit(f'{name}: mean difference {error:.2g} standard deviations from float32, more than {TOLERANCES[name]:.2g}')
    return errors


def peers(face: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Networks of the gfpgan package, where it is installed, in the forms that its users run."""
    from frex import compat

    compat.install()
    try:
        from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean
        from gfpgan.archs.restoreformer_arch import RestoreFormer
    except ImportError:
        print("the gfpgan package is not there, so no peer takes part: pip install 'frex[peers]'")
        return {}
    gfpgan = GFPGANv1Clean(out_size=512, channel_multiplier=2, fix_decoder=False, input_is_latent=True, different_w=True, sft_half=True)
    nets: dict[str, nn.Module] = {REFERENCE: gfpgan, 'RestoreFormer': RestoreFormer()}
    return {name: _caller(net.to(face.device).eval(), face) for name, net in nets.items()}


def _caller(net: nn.Module, face: Tensor) -> Callable[[], Tensor]:
    return lambda: net(face)[0]


def parts(frex: FREx, face: Tensor, rounds: int) -> dict[str, Any]:
    """The parts of `FREx.forward`, each on what the parts before it make."""
    crop = mean_crop(face)
    code = frex.encoder_3d(warp_to_crop(face, crop, frex.encoder_3d.in_size))
    _, planes = frex._head(code, None)
    rendered, mask = frex._render(planes, code.camera, crop, None)
    z_2d, skips, ws_2d = frex.encoder_2d(face)
    pyramid = frex.pyramid_3d(rendered.feature_image, mask)
    features = frex.decoder_2d(z_2d, skips, pyramid)
    contestants = {
        'whole': lambda: frex(face),
        'Enc_3D': lambda: frex.encoder_3d(warp_to_crop(face, crop, frex.encoder_3d.in_size)),
        'planes': lambda: frex._head(code, None),
        'rendering': lambda: frex._render(planes, code.camera, crop, None),
        'Enc_2D': lambda: frex.encoder_2d(face),
        'pyramid and decoder': lambda: frex.decoder_2d(z_2d, skips, frex.pyramid_3d(rendered.feature_image, mask)),
        'StyleGAN2 with fusion': lambda: frex._fuse(ws_2d, features, embed_camera(code.camera), 1.0, None),
    }
    measured = timing.ratios(timing.take_turns(contestants, rounds, face.device), 'whole')
    for name, contestant in contestants.items():
        measured[name]['GFLOP'] = timing.flops(contestant) / 1e9
    show('parts of FREx', measured)
    return measured


def eg3d(frex: FREx, rounds: int, device: torch.device) -> dict[str, Any]:
    """The renderer, and from z to the rendered features, beside the plain re-statement; ends the benchmark where they differ."""
    net, camera = frex.eg3d, frontal_camera().to(device)
    z = torch.randn(1, net.z_dim, device=device)
    planes = net.planes(net.mapping(z, camera))
    contestants = {
        'renderer, plain': lambda: reference_eg3d.render(net, planes, camera),
        'renderer': lambda: net.render(planes, camera).feature_image,
        'z to features, plain': lambda: reference_eg3d.feature_image(net, z, camera),
        'z to features': lambda: net.render(net.planes(net.mapping(z, camera)), camera).feature_image,
    }
    error = max(float((contestants[name]() - contestants[f'{name}, plain']()).abs().max()) for name in ('renderer', 'z to features'))
    if not error <= 1e-4:
        raise SystemExit(f'EG3D: {error:.2g} from the plain re-statement, more than 1e-4')
    times = timing.take_turns(contestants, rounds, device)
    measured = {}
    for name in ('renderer', 'z to features'):
        pair = {key: times[key] for key in (name, f'{name}, plain')}
        measured |= timing.ratios(pair, f'{name}, plain')
    show('EG3D beside the plain re-statement', measured)
    return {'largest difference': error, 'measured': measured}


def show(title: str, measured: dict[str, dict[str, Any]]) -> None:
    """A table on the screen."""
    head = ['', 'ratio', 'least', 'most', 'seconds', 'GFLOP', 'peak MiB']
    rows = []
    for name, found in measured.items():
        work = f'{found["GFLOP"]:.0f}' if 'GFLOP' in found else ''
        memory = f'{found["peak bytes"] / MIB:.0f}' if found.get('peak bytes') else ''
        rows.append([name, *(f'{found[key]:.3f}' for key in ('ratio', 'least', 'most', 'seconds')), work, memory])
    print(title, *in_columns([head, *rows]), '', sep='\n', flush=True)


if __name__ == '__main__':
    parser = ArgumentParser(description=__doc__.partition('\n')[0], allow_abbrev=False)
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FILE')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--batch_size', type=int, default=1)
    parser.add_argument('--keep_memory', action='store_true', help='let the CPU allocator keep freed memory, for all')
    parser.add_argument('--compile', action='store_true', help='also compiled forms, which takes minutes')
    run(parser.parse_args())
