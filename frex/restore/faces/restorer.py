"""Restoring faces from Python: `FaceRestorer.from_pretrained(path).restore(image)`."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from frex.device import choose_device, choose_precision
from frex.errors import FRExError
from frex.images import resize
from frex.restore.detection.retinaface import Detector
from frex.restore.detection.selection import Selection
from frex.restore.faces import photo
from frex.restore.faces.batches import BatchRunner, each, with_memory
from frex.restore.faces.helper_networks import HelperNetworks
from frex.restore.faces.identity import Identity
from frex.restore.faces.photo import Face, Upsampler
from frex.restore.faces.restore_options import ExtraOutputs
from frex.restore.faces.results import Restoration, RestoredFace, RestoredImage, RestoredPixels
from frex.restore.image_io.convert import Source, as_picture, has_colour_channels
from frex.restore.image_io.photo_file import Picture, to_eight_bit
from frex.tensors import to_images, to_tensor
from frex.weights.network_file import build_frex, read_network
from frex.weights.small_model import require_small_model
from frex_arch import FREx, FRExOutput
from frex_arch.cpu.weight_layout import prepare_for_inference


class FaceRestorer:
    """A FREx network on a device, and what finds faces in photographs. Keeps nothing of a call; several threads may share it.

    `precision` is `fp32`, `bf16` or `auto`; `face_batch` faces go through the network at once, fewer where memory does not allow it.
    """

    def __init__(
        self,
        net: FREx,
        device: torch.device | str = 'cpu',
        precision: str = 'auto',
        face_batch: int = 8,
        parts: HelperNetworks | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.net = prepare_for_inference(net, self.device)
        self.size = net.out_size
        self.parts = parts or HelperNetworks(self.device)
        self.batches = BatchRunner(self.net, self.device, choose_precision(precision, self.device), face_batch)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        device: str = 'auto',
        param_key: str = 'params_ema',
        precision: str = 'auto',
        face_batch: int = 8,
        weights: Path | None = None,
        detection_model: str | None = None,
        detector: Detector | None = None,
    ) -> 'FaceRestorer':
        """Read a FREx checkpoint (`.pth`, `.safetensors`), by default the small FREx that comes with the package.

        Raises FRExError where the file is not there, is no checkpoint, is damaged, or does not fit.
        The files of the detector (`detection_model`: a key of the manifest), of the parser and of ArcFace are looked for when they
        are first needed, in the folder `weights` first; `detector` takes the place of the file.
        """
        path = require_small_model() if path is None else Path(path)
        net = build_frex(read_network(path, param_key), str(path))
        chosen = choose_device(device)
        return cls(net, chosen, precision, face_batch, HelperNetworks(chosen, weights, detection_model, detector))

    # --- Faces

    def restore_aligned(
        self, image: Source, fidelity_weight: float = 1.0, structure_weight: float = 1.0
    ) -> UInt8[np.ndarray, 'size size 3']:
        """Restore one face in FFHQ alignment, square, of any size and as `restore` takes it; it comes back BGR at the network's size.

        Raises FRExError where it is no image or not square, so no aligned face, and where the network's output is not
        finite, so that no failure passes for an image.
        """
        aligned = to_eight_bit(as_picture(image).image)
        (restoration,) = self.restore_faces([aligned], fidelity_weight=fidelity_weight, structure_weight=structure_weight)
        if restoration.image is None:
            raise FRExError(restoration.problem or 'not restored')
        return restoration.image

    @torch.inference_mode()
    def restore_faces(
        self,
        faces: Sequence[Shaped[np.ndarray, '*shape']],
        crops: Sequence[Float[np.ndarray, '3']] | None = None,
        fidelity_weight: float = 1.0,
        structure_weight: float = 1.0,
        details: bool = False,
    ) -> list[Restoration]:
        """Restore faces in FFHQ alignment, BGR uint8 (N, N, 3); `crops` lead from each to EG3D's crop (default: a frontal face's).

        `fidelity_weight` is 0 for quality, 1 for fidelity; `structure_weight` says how much the 3D prior is trusted. With
        `details` each comes with all that the network says of it. Raises FRExError for other arrays.
        """
        for image in faces:
            check_aligned(image)
        if not faces:
            return []
        lq = torch.stack([to_tensor(resize(image, self.size)) for image in faces])
        crop = None if crops is None else torch.from_numpy(np.stack(list(crops))).float()
        outputs = self.batches.run(lq, crop, ExtraOutputs(fidelity_weight, structure_weight, details))
        return [self._restoration(face, output, details) for face, output in zip(lq, outputs, strict=True)]

    def _restoration(self, face: Float[Tensor, '3 size size'], output: FRExOutput | str, details: bool) -> Restoration:
        if isinstance(output, str):
            return Restoration(problem=output)
        identity = self.parts.identity()
        return Restoration(
            image=to_images(output.image)[0],
            camera=output.camera[0].float().cpu().numpy(),
            identity_similarity=with_memory(lambda: similarity(identity, face[None].to(self.device), output.image)),
            output=each(output, lambda value: value.float().cpu()) if details else None,
        )

    # --- Photographs

    def find_faces(self, picture: Picture, selection: Selection | None = None, force: bool = False) -> list[Face]:
        """Find the faces of a photograph and cut them out for the network; raise FRExError where there is no detector.

        Faces with more detail than the network's result would have are marked to stay as they are, unless `force` is given. See
        `has_more_detail` for the rule.
        """
        detector = self.parts.detector()
        faces = with_memory(lambda: photo.find_faces(picture, detector, self.size, selection))
        return faces if force else [photo.keep_detail(picture, face) for face in faces]

    def restore_found(
        self, faces: Sequence[Face], fidelity_weight: float = 1.0, structure_weight: float = 1.0, details: bool = False
    ) -> list[Restoration]:
        """`restore_faces` of faces of any photographs; those with a problem, or to be kept, say so and never meet the network."""
        reasons = [face.problem or face.keep for face in faces]
        sound = [face for face, reason in zip(faces, reasons, strict=True) if reason is None]
        aligned, crops = [face.aligned for face in sound], [face.crop for face in sound]
        restored = iter(self.restore_faces(aligned, crops, fidelity_weight, structure_weight, details))
        return [next(restored) if reason is None else Restoration(problem=reason) for reason in reasons]

    def paste(
        self,
        picture: Picture,
        faces: Sequence[Face],
        restorations: Sequence[Restoration],
        upscale: float = 1.0,
        bg_upsampler: Upsampler | None = None,
    ) -> Picture:
        """A new image with the restored faces in their places, by ParseNet's masks where its file is there."""
        images = [restoration.image for restoration in restorations]
        parser = self.parts.parser() if any(image is not None for image in images) else None
        masks = [None if parser is None or image is None else with_memory(partial(parser.mask, image)) for image in images]
        return photo.paste_faces(picture, upscale, faces, images, masks, bg_upsampler)

    def restore(
        self,
        image: Source,
        upscale: float = 1.0,
        fidelity_weight: float = 1.0,
        structure_weight: float = 1.0,
        selection: Selection | None = None,
        bg_upsampler: Upsampler | None = None,
        force: bool = False,
    ) -> RestoredImage:
        """Restore the faces of a photograph; the rest of it is scaled, by `bg_upsampler` if given.

        `image` is a path, a Image, one of Pillow's, or an array as OpenCV reads it: BGR, grey or BGRA, uint8 or uint16.
        Raises FRExError where it is none; a face that fails has its problem in the result, and stays as it was. So does a face
        with more detail than the network's result would have, unless `force` is given.
        """
        picture = as_picture(image)
        faces = self.find_faces(picture, selection, force)
        restorations = self.restore_found(faces, fidelity_weight, structure_weight)
        pasted = self.paste(picture, faces, restorations, upscale, bg_upsampler)
        if has_colour_channels(image):
            pasted = replace(pasted, grey=False)
        return RestoredImage(pasted, tuple(map(RestoredFace.of, faces, restorations)))

    def enhance(
        self,
        img_bgr: Shaped[np.ndarray, 'height width *channels'],
        has_aligned: bool = False,
        only_center_face: bool = False,
        paste_back: bool = True,
        weight: float = 1.0,
        upscale: float = 1.0,
    ) -> tuple[list[RestoredPixels], list[RestoredPixels], Shaped[np.ndarray, '_ _ ...'] | None]:
        """As GFPGANer's: faces cut out, faces restored, and the image, None where it is aligned or not to be pasted.

        `weight` is the fidelity weight. A face that fails is in no list and stays as it was, with a warning.
        """
        if has_aligned:
            aligned = to_eight_bit(as_picture(img_bgr).image)
            restored = self.restore_aligned(aligned, weight)
            return [resize(aligned, self.size)], [restored], None
        selection = Selection(only='center' if only_center_face else 'all')
        if paste_back:
            result = self.restore(img_bgr, upscale, weight, selection=selection)
            faces, image = result.faces, result.image
        else:
            # Nothing is put over the face, so nothing can get lost.
            found = self.find_faces(as_picture(img_bgr), selection, force=True)
            faces, image = tuple(map(RestoredFace.of, found, self.restore_found(found, weight))), None
        for face in faces:
            if face.restored is None:
                warnings.warn(f'the face at {face.box.round().tolist()} is not restored: {face.problem}', stacklevel=2)
        pairs = [(face.aligned, face.restored) for face in faces if face.restored is not None]
        return [before for before, _ in pairs], [after for _, after in pairs], image


def similarity(identity: Identity | None, before: Float[Tensor, '1 3 size size'], after: Float[Tensor, '1 3 size size']) -> float | None:
    """Of a face before and after; None without the network."""
    return identity.similarity(before, after).item() if identity else None


def check_aligned(image: Shaped[np.ndarray, '*shape']) -> None:
    """Raise FRExError for what is no BGR uint8 (N, N, 3)."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise FRExError(f'{image.dtype} {image.shape} is no aligned face: give uint8 (N, N, 3)')
    if image.shape[0] != image.shape[1]:
        raise FRExError(f'{image.shape[1]} x {image.shape[0]} is not square: not a face in FFHQ alignment')
