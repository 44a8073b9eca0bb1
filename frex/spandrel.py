"""Let spandrel load FREx, and with it chaiNNer, ComfyUI and other programs that load their networks by spandrel.

Call `frex.spandrel.install()` once in such a program. FREx is then a network of the purpose FaceSR, as GFPGAN and RestoreFormer are. It
takes one aligned face, and neither finds nor pastes faces.
"""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from frex.errors import FRExError
from frex.utils.extras import missing_package
from frex.weights.embedded_options import OPTIONS_KEY, encode_options
from frex.weights.known_networks import arguments_by_shapes
from frex.weights.network_file import NetworkFile, check_network, embedded_network
from frex.weights.state_dict import as_state
from frex_arch import FREx

try:
    from spandrel import MAIN_REGISTRY, Architecture, ArchSupport, ImageModelDescriptor, ModelTiling, SizeRequirements
    from spandrel.util import KeyCondition
except ImportError:
    raise missing_package('spandrel', 'frex.spandrel') from None

NAME = FREx.__name__
# Weights that every form of FREx has, and no network of spandrel's.
MARKS = ('encoder_3d.to_camera.linear.weight', 'encoder_2d.to_ws.weight', 'stylegan2.constant_input.weight')


def install() -> None:
    """Let all of spandrel's loaders in this process recognise FREx; further calls change nothing."""
    MAIN_REGISTRY.add(ArchSupport.from_architecture(FRExArchitecture()), ignore_duplicates=True)


class FaceNetwork(FREx):
    """A FREx that is called as programs call GFPGAN: with a face of any size and arguments of other networks, for a tuple.

    `arguments` are those of `FREx`. Its state dict also holds the options (see `encode_options`), so that one that a program saves loads
    again, in spandrel and in FREx.
    """

    frex_options: UInt8[Tensor, ' bytes']

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__(**arguments)
        self.register_buffer(OPTIONS_KEY, encode_options({'type': NAME, **arguments}))

    def forward(  # type: ignore[override]
        self, faces: Float[Tensor, 'batch 3 size size'], **ignored: Any
    ) -> tuple[Float[Tensor, 'batch 3 size size'], list[Tensor]]:
        """Restore aligned faces, RGB in [-1, 1]; return them at their own size, not clamped, and the decoder's images.

        Faces of another size than the network's are resized to it, and the results back. Arguments such as GFPGAN's `return_rgb` and
        CodeFormer's `weight` have no effect.
        """
        output = super().forward(resize_faces(faces, self.out_size))
        return resize_faces(output.image, faces.shape[-1]), list(output.images_3d)


def resize_faces(faces: Float[Tensor, 'batch 3 size size'], size: int) -> Float[Tensor, 'batch 3 {size} {size}']:
    """Resize as `frex.images.resize` does: by area averages where the faces become smaller, else by cubic interpolation."""
    width = faces.shape[-1]
    if width == size:
        return faces
    if width % size == 0:
        return F.avg_pool2d(faces, width // size)
    if width > size:
        return F.interpolate(faces, size=(size, size), mode='bilinear', align_corners=False, antialias=True)
    return F.interpolate(faces, size=(size, size), mode='bicubic', align_corners=False)


class FRExArchitecture(Architecture[FaceNetwork]):
    """How spandrel recognises the state dict of a FREx, and loads it."""

    def __init__(self) -> None:
        super().__init__(id=NAME, detect=KeyCondition.has_all(*MARKS))

    def load(self, state_dict: dict[str, Any]) -> ImageModelDescriptor[FaceNetwork]:
        """Return the network with its weights; calling it maps an aligned face, (1, 3, size, size), RGB in [0, 1], to the restored one.

        Raises FRExError where the weights do not fit, are not finite, or do not say which FREx they are of (see `arguments_by_shapes`).
        """
        file = _identify(state_dict)
        check_network(file, NAME)
        net = FaceNetwork(file.arguments)
        descriptor = ImageModelDescriptor(
            net,
            file.state | {OPTIONS_KEY: net.frex_options},
            architecture=self,
            purpose='FaceSR',
            tags=[f'{net.out_size}px'],
            # Rays and cameras need float32. FREx's own bfloat16 keeps its weights in float32, which these two cannot say.
            supports_half=False,
            supports_bfloat16=False,
            scale=1,
            input_channels=3,
            output_channels=3,
            size_requirements=SizeRequirements(square=True),
            # A part of a face means nothing to the network.
            tiling=ModelTiling.INTERNAL,
            call_fn=lambda model, face: (model(2 * face - 1)[0] + 1) / 2,
        )
        return descriptor.eval()


def _identify(state_dict: dict[str, Any]) -> NetworkFile:
    """Return the network of a state dict, from its embedded options or else from its shapes; raise FRExError as `load` does."""
    file = embedded_network(state_dict, NAME)
    if file is None:
        state = as_state(state_dict, NAME)
        return NetworkFile(NAME, arguments_by_shapes(state, NAME), state)
    if file.kind != NAME:
        raise FRExError(f'{NAME}: the options in the file are those of {file.kind}, its weights those of a FREx')
    return file
