"""EG3D's computation as its publication describes it, step by step, with the weights of an `EG3D`: FREx's forms are compared with it.

It modulates weights and convolves in groups, inserts zeros before each filter, looks each plane up once, sorts features along with their
depths, and averages them over intervals.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from frex_arch import EG3D
from frex_arch.camera import Camera, unpack_camera
from frex_arch.eg3d_backbone import SynthesisBlock, SynthesisLayer, ToRGBLayer
from frex_arch.rendering import compositing_weights, importance_depths, pixel_rays, stratified_depths


def feature_image(net: EG3D, z: Tensor, camera: Camera) -> Tensor:
    """Return the rendered features of z seen by `camera`, (batch, 32, 128, 128) in the official configuration."""
    return render(net, planes(net, net.mapping(z, camera)), camera)[0]


def planes(net: EG3D, ws: Tensor) -> Tensor:
    """Return the tri-planes (batch, 3, channel, size, size) of the latent codes `ws`."""
    x = image = None
    used = 0
    synthesis = net.backbone.synthesis
    for name in (f'b{size}' for size in synthesis.sizes):
        block = synthesis.get_submodule(name)
        x, image = run_block(block, x, image, ws[:, used:])
        used += block.num_convs
    return image.unflatten(1, (3, -1))


def run_block(block: SynthesisBlock, x: Tensor | None, image: Tensor | None, ws: Tensor) -> tuple[Tensor, Tensor]:
    """Run one resolution of the synthesis network; return its features and the sum of the planes so far."""
    x = block.const.expand(len(ws), -1, -1, -1) if x is None else run_layer(block.conv0, x, ws[:, 0])
    x = run_layer(block.conv1, x, ws[:, block.num_convs - 1])
    colours = run_to_rgb(block.torgb, x, ws[:, block.num_convs])
    if image is None:
        return x, colours
    return x, filter_channels(insert_zeros(image), block.resample_filter * 4, (2, 1, 2, 1)) + colours


def run_layer(layer: SynthesisLayer, x: Tensor, w: Tensor) -> Tensor:
    """Convolve with modulated and demodulated weights; add noise and bias, apply leaky ReLU and gain."""
    weight = layer.weight[None] * layer.affine(w)[:, None, :, None, None]
    weight = weight * (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = convolve_per_sample(x, weight, layer.upsample)
    if layer.upsample:
        x = filter_channels(x, layer.resample_filter * 4, (1, 1, 1, 1))
    x = x + layer.noise_const * layer.noise_strength
    x = x + layer.bias[:, None, None]
    x = F.leaky_relu(x, 0.2)
    return x * math.sqrt(2)


def run_to_rgb(layer: ToRGBLayer, x: Tensor, w: Tensor) -> Tensor:
    """Convert features to planes by a modulated 1 x 1 convolution."""
    weight = layer.weight[None] * (layer.affine(w) * layer.scale)[:, None, :, None, None]
    return convolve_per_sample(x, weight, up=False) + layer.bias[:, None, None]


def convolve_per_sample(x: Tensor, weight: Tensor, up: bool) -> Tensor:
    """Convolve each sample with its own weights, all in one grouped convolution; with `up` the stride is 1/2."""
    batch, out, channels, size, _ = weight.shape
    x = x.reshape(1, batch * channels, *x.shape[2:])
    if up:
        x = F.conv_transpose2d(x, weight.transpose(1, 2).reshape(batch * channels, out, size, size), stride=2, groups=batch)
    else:
        x = F.conv2d(x, weight.reshape(batch * out, channels, size, size), padding=size // 2, groups=batch)
    return x.reshape(batch, out, *x.shape[2:])


def insert_zeros(x: Tensor) -> Tensor:
    """Insert a zero after each pixel in both directions."""
    batch, channels, height, width = x.shape
    x = F.pad(x.reshape(batch, channels, height, 1, width, 1), (0, 1, 0, 0, 0, 1))
    return x.reshape(batch, channels, 2 * height, 2 * width)


def filter_channels(x: Tensor, kernel: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
    """Pad by (left, right, top, bottom), then filter each channel with `kernel`."""
    channels = x.shape[1]
    return F.conv2d(F.pad(x, padding), kernel.flip(0, 1).repeat(channels, 1, 1, 1), groups=channels)


def render(net: EG3D, planes: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Return the feature image and the depth of tri-planes seen by a camera."""
    origins, directions = pixel_rays(*unpack_camera(camera), net.render_size)
    start, end = (torch.full_like(origins[..., 0], limit) for limit in net.depth_range)
    coarse = stratified_depths(start, end, net.depth_samples)
    colours, densities = decode_along_rays(net, planes, origins, directions, coarse)
    fine = importance_depths(coarse, compositing_weights(densities[..., 0], coarse), net.importance_samples)
    fine_colours, fine_densities = decode_along_rays(net, planes, origins, directions, fine)

    depths, order = torch.sort(torch.cat([coarse, fine], dim=2)[..., None], dim=2)
    colours = torch.cat([colours, fine_colours], dim=2).gather(2, order.expand(-1, -1, -1, colours.shape[-1]))
    densities = torch.cat([densities, fine_densities], dim=2).gather(2, order)
    feature, depth = (
        seen.transpose(1, 2).unflatten(2, (net.render_size, net.render_size)) for seen in composite(colours, densities, depths)
    )
    return feature, depth.nan_to_num(float('inf')).clamp(coarse.min(), coarse.max())


def decode_along_rays(net: EG3D, planes: Tensor, origins: Tensor, directions: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the features and raw densities at `depths` along the rays, (batch, rays, samples, channels)."""
    points = (origins[:, :, None] + depths[..., None] * directions[:, :, None]).flatten(1, 2) * 2
    grid = torch.stack([points[..., [0, 1]], points[..., [0, 2]], points[..., [2, 0]]], dim=1).flatten(0, 1)[:, None]
    features = F.grid_sample(planes.flatten(0, 1), grid, mode='bilinear', padding_mode='zeros', align_corners=False)
    features = features.permute(0, 3, 2, 1).reshape(len(planes), 3, points.shape[1], -1).mean(dim=1)
    decoded = net.decoder.net(features)
    colours = torch.sigmoid(decoded[..., 1:]) * (1 + 2 * 0.001) - 0.001
    return colours.unflatten(1, depths.shape[1:]), decoded[..., :1].unflatten(1, depths.shape[1:])


def composite(colours: Tensor, densities: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
    """Return features and depth of each ray by alpha compositing; an interval between sorted samples has the mean of its two ends."""
    deltas = depths[:, :, 1:] - depths[:, :, :-1]
    middle_colours = (colours[:, :, :-1] + colours[:, :, 1:]) / 2
    middle_densities = F.softplus((densities[:, :, :-1] + densities[:, :, 1:]) / 2 - 1)
    alpha = 1 - torch.exp(-middle_densities * deltas)
    passed = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :, :1]), 1 - alpha + 1e-10], dim=2), dim=2)[:, :, :-1]
    weights = alpha * passed
    middle_depths = (depths[:, :, :-1] + depths[:, :, 1:]) / 2
    depth = torch.sum(weights * middle_depths, dim=2) / weights.sum(dim=2)
    return torch.sum(weights * middle_colours, dim=2) * 2 - 1, depth
