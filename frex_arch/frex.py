"""The whole network of FREx, from the aligned degraded face to the restored one; `FREx.forward` follows figure 2 of FREx's paper.

Enc_3D predicts a latent code and a camera, with which EG3D, the 3D prior, renders the structure of the face. Enc_2D and a decoder complete
the degraded face by that structure. StyleGAN2, the 2D prior, generates the image, fused with the decoder's features at each size.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from frex_arch.blocks import Features
from frex_arch.camera import Camera, recrop_camera
from frex_arch.crop import Crop, mask_in_ffhq_frame, mean_crop, warp_to_crop
from frex_arch.decoder_2d import Decoder2D, Pyramid3D, UpsampledCode
from frex_arch.eg3d import EG3D, Rendering
from frex_arch.encoder_2d import Encoder2D
from frex_arch.encoder_3d import Encoder3D, Encoding3D
from frex_arch.frex_3d import latent_codes
from frex_arch.fusion import AdaptiveWeighting, Fusion, embed_camera
from frex_arch.ops import EqualConv2d, Noise, check_int, check_positive, resolutions, stylegan2_channels
from frex_arch.stylegan2 import StyleGAN2, check_channels


class FRExOutput(NamedTuple):
    """The result of one forward pass.

    Images are RGB, about [-1, 1], not clamped. `image` is the restored face, `images_3d` are the 2D decoder's I_3D^i at 8, 16, ...,
    `out_size`. `camera` is the predicted camera, whose image is EG3D's crop. `ws` are EG3D's latent codes, w_avg + `z_3d` + `offsets`.

    `feature_image`, `mask` and `depth` are in the input's frame, `render_size` pixels wide. `mask` is 1 inside EG3D's crop. Outside of it,
    where EG3D has never been trained, `feature_image` is 0 and `depth` is that of the batch's farthest coarse sample. Depth is in units of
    EG3D's world.

    Only on request: `image_3d`, the 3D prior's own image in EG3D's crop, and `alphas`, the AWB's alpha (Eq. 7) averaged over channels, one
    map for each fused size, coarse to fine. `alphas` is None also where the AWB is switched off. Without the 3D prior `ws`, `z_3d`,
    `offsets`, `feature_image`, `mask`, `depth` and `image_3d` are None.
    """

    image: Float[Tensor, 'batch 3 out_size out_size']
    images_3d: tuple[Float[Tensor, 'batch 3 _ _'], ...]
    camera: Camera
    ws: Float[Tensor, 'batch num_ws w'] | None
    z_3d: Float[Tensor, 'batch w'] | None
    offsets: Float[Tensor, 'batch num_ws w'] | None
    feature_image: Float[Tensor, 'batch feature render_size render_size'] | None
    mask: Float[Tensor, 'batch 1 render_size render_size'] | None
    depth: Float[Tensor, 'batch 1 render_size render_size'] | None
    image_3d: Float[Tensor, 'batch 3 out_size out_size'] | None = None
    alphas: tuple[Float[Tensor, 'batch 1 _ _'], ...] | None = None


class FREx(nn.Module):
    """Restores faces of `out_size` pixels by fusing a frozen 3D prior, EG3D, with a frozen 2D prior, StyleGAN2.

    `eg3d`, `stylegan2` and `encoder_3d` are keyword arguments of `EG3D`, `StyleGAN2` and `Encoder3D`. Enc_2D and the decoder have
    `encoder_narrow` times the channels that the 2D prior would have with channel multiplier 1. `fusion_sizes` are the feature sizes at
    which the priors are fused: all of 8, 16, ..., `out_size` by default; the paper's i = 0, 1, 2 are [512, 256, 128]. `use_3d_prior`,
    `use_awb` and `use_cross_attention` are the switches of table 2. Cross-attention is global for features up to `global_attention_size`
    pixels wide, limited to windows of 8 x 8 for larger ones, and left out for those above `attention_size`, where it costs most. With
    `output` 'skip' the image is the sum of StyleGAN2's toRGB layers, with 'conv' one convolution of the feature of `out_size` after fusion.

    All weights, those of the priors too, are untrained until a state dict is loaded. Raises ValueError for an unknown `output`, for
    `fusion_sizes` that the 2D prior lacks, and for values that its parts refuse.
    """

    def __init__(
        self,
        *,
        out_size: int = 512,
        eg3d: Mapping[str, Any] | None = None,
        stylegan2: Mapping[str, Any] | None = None,
        encoder_3d: Mapping[str, Any] | None = None,
        encoder_narrow: float = 0.5,
        fusion_sizes: Sequence[int] | None = None,
        use_3d_prior: bool = True,
        use_awb: bool = True,
        use_cross_attention: bool = True,
        global_attention_size: int = 64,
        attention_size: int = 1024,
        output: Literal['skip', 'conv'] = 'skip',
    ) -> None:
        super().__init__()
        if output not in ('skip', 'conv'):
            raise ValueError(f"output is 'skip' or 'conv', not {output!r}")
        check_int('global_attention_size', global_attention_size, 0, 1024)
        check_int('attention_size', attention_size, 0, 1024)
        self.out_size = out_size
        self.stylegan2 = StyleGAN2(out_size=out_size, **(stylegan2 or {})).requires_grad_(False)
        self.eg3d = EG3D(out_size=out_size, **(eg3d or {})).requires_grad_(False) if use_3d_prior else None

        num_ws, w_dim = (self.eg3d.num_ws, self.eg3d.w_dim) if self.eg3d else (0, 0)
        self.encoder_3d = Encoder3D(num_ws=num_ws, w_dim=w_dim, **(encoder_3d or {}))
        # Relative to a StyleGAN2 with channel multiplier 1, whatever the prior's own multiplier.
        prior = stylegan2 or {}
        widths = stylegan2_channels(1, prior.get('narrow', 1) * check_positive('encoder_narrow', encoder_narrow), prior.get('channels'))
        check_channels(widths, out_size)
        self.encoder_2d = Encoder2D(out_size=out_size, channels=widths, num_ws=self.stylegan2.num_ws, w_dim=self.stylegan2.num_style_feat)
        self.pyramid_3d: Pyramid3D | UpsampledCode
        if self.eg3d:
            self.pyramid_3d = Pyramid3D(render_size=self.eg3d.render_size, feature_channels=self.eg3d.feature_channels, channels=widths)
        else:
            self.pyramid_3d = UpsampledCode(sizes=resolutions(8, max(8, out_size // 4)), channels=widths[4])
        self.decoder_2d = Decoder2D(out_size=out_size, channels=widths, channels_3d=self.pyramid_3d.channels)

        sizes = self.stylegan2.sizes if fusion_sizes is None else fusion_sizes
        if not sizes or len(set(sizes)) < len(sizes) or set(sizes) - set(self.stylegan2.sizes):
            raise ValueError(f'fusion_sizes {list(sizes)} must be some of {self.stylegan2.sizes}')
        self.fusion = nn.ModuleDict(
            {
                str(size): Fusion(
                    self.stylegan2.channels[size],
                    widths[size],
                    use_awb=use_awb,
                    use_cross_attention=use_cross_attention and size <= attention_size,
                    global_attention_size=global_attention_size,
                )
                for size in sizes
            }
        )
        self.to_image = EqualConv2d(self.stylegan2.channels[out_size], 3, 3) if output == 'conv' else None

    def forward(
        self,
        lq: Float[Tensor, 'batch 3 out_size out_size'],
        crop: Crop | None = None,
        generator: Generator | None = None,
        image_3d: bool = False,
        alphas: bool = False,
        fidelity: float | Float[Tensor, '1'] = 1.0,
        structure: float = 1.0,
        code: Encoding3D | None = None,
    ) -> FRExOutput:
        """Restore the aligned degraded faces `lq`, RGB in [-1, 1]; `image_3d` and `alphas` request these parts of the output.

        `crop` (batch, 3), with rows (s, t_x, t_y) as `frex_arch.crop` defines them, maps each input's frame to EG3D's crop; None means the
        crop of a frontal face for all.

        `fidelity` multiplies the skip features that the decoder takes from the degraded face (Eq. 4). `structure` interpolates each fused
        feature between the 2D prior's own (0) and the result of Eqs. 8 and 9 (1). Both are 1 in training.

        `code`, where given, takes the place of what Enc_3D predicts (`encode_3d`). A film, for example, needs codes that are steady over
        its frames.

        In training mode the generators' noise and the renderer's depths are random, drawn from `generator` where given, which must be on
        the network's device. In evaluation mode nothing is random: the same input gives the same bytes.
        """
        crop = mean_crop(lq) if crop is None else crop

        # Structure: the 3D prior of the face, rendered straight into the input's frame (Eqs. 1, 2).
        code = self.encode_3d(lq, crop) if code is None else code
        ws, planes = self._planes(code, generator)
        rendered, mask = self._render(planes, code.camera, crop, generator)

        # The degraded face, completed by that structure (Eqs. 3, 4).
        z_2d, skips, ws_2d = self.encoder_2d(lq)
        pyramid = self.pyramid_3d(z_2d) if rendered is None else self.pyramid_3d(rendered.feature_image, mask)
        decoded = self.decoder_2d(z_2d, multiply_features(skips, fidelity), pyramid)

        # Texture: the 2D prior, fused with the structure at each size (Eqs. 6-9).
        embedding = embed_camera(code.camera)
        image = self._synthesize(ws_2d, decoded, embedding, structure, generator)
        decoder_images = self.decoder_2d.images(decoded)
        prior_image = self._prior_image(ws, planes, code.camera, generator) if image_3d else None

        return FRExOutput(
            image=image,
            images_3d=decoder_images,
            camera=code.camera,
            ws=ws,
            z_3d=code.z_3d,
            offsets=code.offsets,
            feature_image=None if rendered is None else rendered.feature_image,
            mask=mask,
            depth=None if rendered is None else rendered.depth,
            image_3d=prior_image,
            alphas=self._alphas(decoded, embedding) if alphas else None,
        )

    def encode_3d(self, lq: Float[Tensor, 'batch 3 out_size out_size'], crop: Crop | None = None) -> Encoding3D:
        """Return what Enc_3D predicts for aligned degraded faces (Eq. 1); `lq` and `crop` are those of `forward`."""
        return self.encoder_3d(warp_to_crop(lq, mean_crop(lq) if crop is None else crop, self.encoder_3d.in_size))

    def _planes(self, code: Encoding3D, generator: Generator | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the 3D prior's latent codes for `code`, and the tri-planes generated from them; (None, None) where it is switched off."""
        if self.eg3d is None:
            return None, None
        ws = latent_codes(self.eg3d, code)
        return ws, self.eg3d.planes(ws, self._noise, generator)

    def _render(
        self, planes: Tensor | None, camera: Camera, crop: Crop, generator: Generator | None
    ) -> tuple[Rendering | None, Tensor | None]:
        """Render the tri-planes in the input's frame, and return that with the mask of EG3D's crop; (None, None) without a 3D prior."""
        if self.eg3d is None or planes is None:
            return None, None
        mask = mask_in_ffhq_frame(crop, self.eg3d.render_size)
        return self.eg3d.render(planes, recrop_camera(camera, crop), generator, jitter=self.training, mask=mask), mask

    def _prior_image(self, ws: Tensor | None, planes: Tensor | None, camera: Camera, generator: Generator | None) -> Tensor | None:
        """Generate the 3D prior's own RGB image in EG3D's crop; None where the prior is switched off."""
        if self.eg3d is None or ws is None or planes is None:
            return None
        rendered = self.eg3d.render(planes, camera, generator, jitter=self.training)
        return self.eg3d.super_resolve(rendered.feature_image, ws)

    def _synthesize(
        self,
        ws: Float[Tensor, 'batch num_ws w'],
        decoded: Features,
        embedding: Float[Tensor, 'batch 225'],
        structure: float,
        generator: Generator | None,
    ) -> Float[Tensor, 'batch 3 out_size out_size']:
        """Run StyleGAN2's synthesis, replacing the feature between the two convolutions of each size by F_out^i (Eqs. 6-9)."""
        codes = ws.unbind(dim=1)
        feature, image = self.stylegan2.start(codes, self._noise, generator)
        for size in self.stylegan2.sizes:
            feature_2d = fused = self.stylegan2.upsample(size, feature, codes, self._noise, generator)
            if str(size) in self.fusion:
                fused = self.fusion[str(size)](feature_2d, decoded[size], embedding)
                # Not interpolated at 1, where rounding would change the result of the trained network.
                fused = fused if structure == 1 else torch.lerp(feature_2d, fused, structure)
            feature, image = self.stylegan2.refine(size, fused, image, codes, self._noise, generator)
        return image if self.to_image is None else self.to_image(fused)

    def _alphas(self, decoded: Features, embedding: Float[Tensor, 'batch 225']) -> tuple[Float[Tensor, 'batch 1 _ _'], ...] | None:
        """Return each AWB's alpha averaged over channels, coarse to fine; None where the AWB is switched off."""
        blocks = {int(size): fusion.weighting for size, fusion in self.fusion.items() if isinstance(fusion.weighting, AdaptiveWeighting)}
        maps = [blocks[size].modulation(decoded[size], embedding)[0].mean(dim=1, keepdim=True) for size in sorted(blocks)]
        return tuple(maps) or None

    @property
    def _noise(self) -> Noise:
        return 'random' if self.training else 'const'


def multiply_features(features: Features, factor: float | Float[Tensor, '1']) -> Features:
    """Multiply the feature maps of all sizes by `factor`; at the number 1 they are returned as they are."""
    return features if not isinstance(factor, Tensor) and factor == 1 else {size: factor * feature for size, feature in features.items()}
