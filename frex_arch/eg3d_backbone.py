"""EG3D's StyleGAN2 backbone with the official parameter names: mapping network, and synthesis of tri-planes.

Super-resolution is built of the same blocks. The resampling filters are those of the checkpoint.
"""

import math
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from frex_arch.camera import CAMERA_DIM, Camera
from frex_arch.ops import (
    MAX_CHANNELS,
    SQRT_2,
    EqualLinear,
    Noise,
    check_int,
    layer_noise,
    leaky_relu_,
    modulated_conv2d,
    normalize_second_moment,
    resolutions,
)
from frex_arch.resampling import Resample, Upsample, resample_kernel, upsampling_filter
from frex_arch.stylegan2 import Codes


class MappingNetwork(nn.Module):
    """Maps z and a camera to w, repeated `num_ws` times; with `camera_dim` 0 it maps z alone.

    The buffer `w_avg`, which a state dict brings, is the mean of w over z and cameras.
    """

    w_avg: Tensor

    def __init__(self, z_dim: int, camera_dim: int, w_dim: int, num_ws: int, num_layers: int = 2) -> None:
        super().__init__()
        self.num_ws = num_ws
        self.num_layers = num_layers
        self.embed = EqualLinear(camera_dim, w_dim) if camera_dim else None
        sizes = [z_dim + (w_dim if camera_dim else 0), *[w_dim] * num_layers]
        for layer in range(num_layers):
            self.add_module(f'fc{layer}', EqualLinear(sizes[layer], sizes[layer + 1], lr_mul=0.01, activate=True))
        self.register_buffer('w_avg', torch.zeros(w_dim))

    def forward(
        self,
        z: Float[Tensor, 'batch z'],
        camera: Camera | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Float[Tensor, 'batch num_ws w']:
        """Return `ws`, of which the first `truncation_cutoff` codes, all if None, are truncated: w_avg + truncation_psi (w - w_avg).

        Raises ValueError where the network is conditioned on a camera and there is none.
        """
        x = normalize_second_moment(z)
        if self.embed is not None:
            if camera is None:
                raise ValueError('this mapping network is conditioned on the camera: give one')
            x = torch.cat([x, normalize_second_moment(self.embed(camera))], dim=1)
        for layer in range(self.num_layers):
            x = self.get_submodule(f'fc{layer}')(x)
        ws = x[:, None].expand(-1, self.num_ws, -1)
        if truncation_psi == 1:
            return ws
        truncated = self.w_avg + truncation_psi * (ws - self.w_avg)
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        return torch.cat([truncated[:, :cutoff], ws[:, cutoff:]], dim=1)


def use_loaded_filter(module: nn.Module, _: Any) -> None:
    """Pass the `resample_filter` that was just loaded into `module` on to its resampling layers, which keep prepared copies of it.

    This is a hook that `load_state_dict` calls; the second argument, the keys that did not match, is not used.
    """
    for child in module.children():
        if isinstance(child, Resample):
            child.prepare(cast(Tensor, module.resample_filter))


class SynthesisLayer(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias and leaky ReLU; with `upsample` it doubles the size.

    Unlike elsewhere the weights are not scaled by their fan-in, because demodulation would cancel that.
    """

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, w_dim: int, size: int, *, upsample: bool = False, clamp: float | None = None
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.clamp = clamp
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.low_pass = upsampling_filter(out_channels) if upsample else None
        self.register_buffer('resample_filter', resample_kernel())
        self.register_load_state_dict_post_hook(use_loaded_filter)
        self.register_buffer('noise_const', torch.randn(size, size))

    def forward(
        self,
        x: Float[Tensor, 'batch in_channels height width'],
        w: Float[Tensor, 'batch w'],
        noise: Noise = 'const',
        generator: Generator | None = None,
    ) -> Float[Tensor, 'batch out_channels out_height out_width']:
        x = modulated_conv2d(x, self.weight, self.affine(w), low_pass=self.low_pass, bias=self.bias, gain=SQRT_2)
        noise_image = layer_noise(self.noise_const, x.shape[0], noise, generator)
        if noise_image is not None:
            x.add_((noise_image * (self.noise_strength * SQRT_2)).to(x.dtype))
        return leaky_relu_(x, self.clamp)


class ToRGBLayer(nn.Module):
    """Modulated 1 x 1 convolution without demodulation, which turns a feature into image channels."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.scale = 1 / math.sqrt(in_channels)
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Float[Tensor, 'batch in_channels height width'], w: Float[Tensor, 'batch w']) -> Tensor:
        x = modulated_conv2d(x, self.weight, self.affine(w) * self.scale, demodulate=False, bias=self.bias)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class SynthesisBlock(nn.Module):
    """The layers of one resolution. With `in_channels` 0 it starts from a learned constant and has one convolution, else two."""

    resample_filter: Tensor

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, size: int, image_channels: int, clamp: float | None = None) -> None:
        super().__init__()
        self.num_convs = 2 if in_channels else 1
        if in_channels:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, size, upsample=True, clamp=clamp)
        else:
            self.const = nn.Parameter(torch.randn(out_channels, size, size))
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, size, clamp=clamp)
        self.torgb = ToRGBLayer(out_channels, image_channels, w_dim, clamp)
        self.enlarge = Upsample(image_channels)
        self.register_buffer('resample_filter', resample_kernel())
        self.register_load_state_dict_post_hook(use_loaded_filter)

    def forward(
        self,
        x: Float[Tensor, 'batch in_channels half half'] | None,
        image: Float[Tensor, 'batch image_channels half half'] | None,
        codes: Codes,
        noise: Noise = 'const',
        generator: Generator | None = None,
    ) -> tuple[Float[Tensor, 'batch out_channels size size'], Float[Tensor, 'batch image_channels size size']]:
        """Return the feature and the image at `size`; `codes` are one w for each convolution and one for toRGB, in this order."""
        x = self.const.expand(codes[0].shape[0], -1, -1, -1) if x is None else self.conv0(x, codes[0], noise, generator)
        x = self.conv1(x, codes[self.num_convs - 1], noise, generator)
        colours = self.torgb(x, codes[self.num_convs])
        return x, colours if image is None else colours + self.enlarge(image)


class SynthesisNetwork(nn.Module):
    """The synthesis blocks b4, b8, ...; each takes one w for each convolution, and shares the next block's first w for its toRGB.

    The last block has one more w, for its toRGB.
    """

    def __init__(self, w_dim: int, size: int, image_channels: int, channel_base: int, channel_max: int) -> None:
        super().__init__()
        self.sizes = resolutions(4, size)
        # At least one channel at the largest size.
        check_int('channel_base', channel_base, size, MAX_CHANNELS * size)
        channels = {size: min(channel_base // size, channel_max) for size in self.sizes}
        self.num_ws = 2 * len(self.sizes)
        for size in self.sizes:
            self.add_module(f'b{size}', SynthesisBlock(channels.get(size // 2, 0), channels[size], w_dim, size, image_channels))

    def blocks(
        self, ws: Float[Tensor, 'batch num_ws w'], noise: Noise = 'const', generator: Generator | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Run all blocks, and return the pair (feature, image) that each one makes, coarse to fine."""
        outputs: list[tuple[Tensor, Tensor]] = []
        codes = ws.unbind(dim=1)
        x, image, first = None, None, 0
        for size in self.sizes:
            num_convs = 1 if x is None else 2
            x, image = self.get_submodule(f'b{size}')(x, image, codes[first : first + num_convs + 1], noise, generator)
            outputs.append((x, image))
            first += num_convs
        return outputs

    def forward(
        self, ws: Float[Tensor, 'batch num_ws w'], noise: Noise = 'const', generator: Generator | None = None
    ) -> Float[Tensor, 'batch image_channels size size']:
        return self.blocks(ws, noise, generator)[-1][1]


class TriPlaneBackbone(nn.Module):
    """EG3D's mapping network and its synthesis of tri-planes, which it makes as one image with the channels of all three planes."""

    def __init__(self, z_dim: int, w_dim: int, size: int, image_channels: int, channel_base: int, channel_max: int) -> None:
        super().__init__()
        self.synthesis = SynthesisNetwork(w_dim, size, image_channels, channel_base, channel_max)
        self.mapping = MappingNetwork(z_dim, CAMERA_DIM, w_dim, self.synthesis.num_ws)
