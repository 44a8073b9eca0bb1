"""What `networks.py` compares: FREx in all its forms, its parts, the networks of other methods, and both forms of EG3D.

Each `build_` function returns functions without arguments, by name. Weights are random, since no time depends on them; processes whose
results are compared draw them from the same seed.
"""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import reference_eg3d
import torch
from timing import Candidates
from torch import Tensor, nn

from frex.device import has_bfloat16
from frex_arch import EG3D, FREx
from frex_arch.camera import frontal_camera
from frex_arch.cpu.weight_layout import prepare_for_inference
from frex_arch.crop import mean_crop, warp_to_crop
from frex_arch.fusion import embed_camera

REFERENCE = 'GFPGANv1Clean'


def make_random_face(device: torch.device, batch: int, size: int = 512) -> Tensor:
    """Return a batch of noise as faces, RGB uniform in [-1, 1], (batch, 3, size, size)."""
    return torch.rand(batch, 3, size, size, device=device) * 2 - 1


@torch.no_grad()
def make_random_frex(device: torch.device, **arguments: Any) -> FREx:
    """Return FREx with random weights, also in layers that start at zero, so that its output depends on all of the network.

    `arguments` are those of its constructor.
    """
    torch.manual_seed(0)
    frex = FREx(**arguments)
    for parameter in frex.parameters():
        if not parameter.any():
            parameter.normal_(0, 0.02)
    # Torch's counter of operations hooks into the gradients of all inputs of modules.
    return prepare_for_inference(frex, device).requires_grad_(False)


def build_frex_forms(device: torch.device, batch: int, compiled: bool, onnx: bool) -> Candidates:
    """Build FREx in float32, the same compiled by torch.compile where `compiled`, and in onnxruntime where `onnx`.

    It is also built in bfloat16, plain and compiled, where the device calculates in it.
    """
    frex, face = make_random_frex(device), make_random_face(device, batch)

    def in_bf16(net: Callable[[Tensor], Any]) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return net(face).image

    found = {'FREx': lambda: frex(face).image}
    if has_bfloat16(device):
        found['FREx, bf16'] = lambda: in_bf16(frex)
    if onnx:
        run = load_in_onnxruntime(frex)
        found['FREx, onnxruntime'] = lambda: run(face.cpu())
    if compiled:
        net = torch.compile(frex, fullgraph=True)
        found['FREx, compiled'] = lambda: net(face).image
        if has_bfloat16(device):
            found['FREx, compiled, bf16'] = lambda: in_bf16(net)
    return found


def load_in_onnxruntime(frex: FREx) -> Callable[[Tensor], Tensor]:
    """Return FREx as `frex export` writes it, run by onnxruntime on the CPU."""
    from frex.export.graph import INTERFACES, ExportWrapper, trace
    from frex.export.onnx_file import load_onnx, write_onnx

    with TemporaryDirectory() as folder:
        path = Path(folder) / 'frex.onnx'
        with torch.inference_mode(False):
            write_onnx(path, trace(ExportWrapper(deepcopy(frex).cpu())), {}, 18, INTERFACES['frex'])
        return load_onnx(path)


def build_peers(device: torch.device, batch: int) -> Candidates:
    """Build the networks that FREx is compared with, from the packages spandrel and spandrel_extra_arches where these are installed.

    They are configured as in their published models.
    """
    from frex.peers.networks import CODEFORMER_WEIGHT, GFPGAN_ARGUMENTS

    face, found = make_random_face(device, batch), {}
    with suppress(ImportError):
        from spandrel.architectures.GFPGAN import GFPGAN
        from spandrel.architectures.RestoreFormer import RestoreFormer

        found[REFERENCE] = _wrap_call(GFPGAN(**GFPGAN_ARGUMENTS).to(device), face, return_rgb=False)
        found['RestoreFormer'] = _wrap_call(RestoreFormer().to(device), face)
    with suppress(ImportError):
        from spandrel_extra_arches.architectures.CodeFormer import CodeFormer

        found['CodeFormer'] = _wrap_call(CodeFormer().to(device), face, weight=CODEFORMER_WEIGHT)
    return found


def _wrap_call(net: nn.Module, face: Tensor, **options: Any) -> Callable[[], Tensor]:
    """Return a function that runs `net` on `face` in evaluation mode."""
    net = net.eval().requires_grad_(False)
    return lambda: net(face, **options)[0]


def build_frex_parts(device: torch.device, batch: int, **arguments: Any) -> Candidates:
    """Build the parts of `FREx.forward`, each of which runs on what the parts before it output."""
    frex = make_random_frex(device, **arguments)
    face = make_random_face(device, batch, frex.out_size)
    crop = mean_crop(face)
    code = frex.encoder_3d(warp_to_crop(face, crop, frex.encoder_3d.in_size))
    _, planes = frex._planes(code, None)
    rendered, mask = frex._render(planes, code.camera, crop, None)
    z_2d, skips, ws_2d = frex.encoder_2d(face)
    features = frex.decoder_2d(z_2d, skips, frex.pyramid_3d(rendered.feature_image, mask))
    return {
        'whole': lambda: frex(face).image,
        'Enc_3D': lambda: frex.encoder_3d(warp_to_crop(face, crop, frex.encoder_3d.in_size)),
        'planes': lambda: frex._planes(code, None),
        'rendering': lambda: frex._render(planes, code.camera, crop, None),
        'Enc_2D': lambda: frex.encoder_2d(face),
        'pyramid and decoder': lambda: frex.decoder_2d(z_2d, skips, frex.pyramid_3d(rendered.feature_image, mask)),
        'StyleGAN2 with fusion': lambda: frex._synthesize(ws_2d, features, embed_camera(code.camera), 1.0, None),
    }


def build_eg3d(device: torch.device, plain: bool) -> Candidates:
    """Build EG3D's renderer, and all from z to the rendered features: in FREx's form or, where `plain`, as its publication describes it."""
    # The results of both forms are compared in float32.
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    net = EG3D().to(device).eval()
    z, camera = torch.randn(1, net.z_dim, device=device), frontal_camera().to(device)
    net = net if plain else prepare_for_inference(net, device)
    planes = net.planes(net.mapping(z, camera))
    if plain:
        return {
            'renderer': lambda: reference_eg3d.render(net, planes, camera)[0],
            'z to features': lambda: reference_eg3d.feature_image(net, z, camera),
        }
    return {
        'renderer': lambda: net.render(planes, camera).feature_image,
        'z to features': lambda: net.render(net.planes(net.mapping(z, camera)), camera).feature_image,
    }
