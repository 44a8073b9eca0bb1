"""Restore faces from Python: `FaceRestorer.from_pretrained(path).restore(image)`."""

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
from frex.images import AnyImage, Image, resize
from frex.restore.detection.align import scale_of
from frex.restore.detection.detector import DetectedFace, Detector
from frex.restore.detection.selection import Selection
from frex.restore.faces.batches import BatchRunner, NetworkInput, NetworkOptions, map_output, retry_out_of_memory
from frex.restore.faces.helper_networks import HelperNetworks, IdentityNetwork
from frex.restore.faces.photo import Face, Upsampler, cut_out, detect_faces, keep_detail, paste_faces
from frex.restore.faces.results import Restoration, RestoredFace, RestoredImage, RestoredPixels
from frex.restore.faces.tones import Tones, apply_tones, find_tones
from frex.restore.image_io.color_modes import to_eight_bit
from frex.restore.image_io.photo_file import Photo, Source, has_colour_channels, to_photo
from frex.tensors import to_images, to_tensor
from frex.weights.network_file import build_frex, read_network
from frex.weights.small_model import find_model
from frex_arch import FREx, FRExOutput
from frex_arch.cpu.weight_layout import prepare_for_inference
from frex_arch.encoder_3d import Encoding3D


class FaceRestorer:
    """A FREx network on a device, with the networks that find, parse and compare faces. Several threads may share it.

    `net` itself is moved to the device and set to evaluation mode. `precision` is `fp32`, `bf16` or `auto` (see `choose_precision`). Up to
    `face_batch` faces go through the network at a time. `parts` are the other networks, by default `HelperNetworks` on the same device.
    Raises FRExError for another precision, and for a `face_batch` below 1.

    A call leaves no trace but two: a helper network stays loaded once it is needed, and when memory runs out the batch size is lowered
    for good (see `BatchRunner`). Results do not depend on either, apart from rounding.
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
        detection_size: int | None = None,
    ) -> 'FaceRestorer':
        """Load a FREx checkpoint (`.pth`, `.safetensors`), by default the small FREx that comes with the package.

        `path` may also be a folder that holds `model.safetensors`. Where no file or folder has that name, it may be `owner/name` or
        `owner/name@revision` on the Hugging Face Hub, which is downloaded unless the Hub's cache has it. `param_key` names the weights in
        a `.pth`. `device` is one of torch's, or `auto`: a GPU where there is one, else the CPU.

        The face detector (`detection_model` is its key in the manifest), the face parser and ArcFace are loaded when they are first
        needed; `HelperNetworks` says which files are then downloaded. The folder `weights` is searched first for them. `detector` is used
        instead of facexlib's, if given. `detection_size`, None or at least 64, is that of `FaceDetector`.

        Raises FRExError where the checkpoint is missing, cannot be downloaded, is damaged, or is not one of FREx, and for a device,
        precision, batch or detection size that is not possible.
        """
        path = find_model(path)
        net = build_frex(read_network(path, param_key), str(path))
        chosen = choose_device(device)
        return cls(net, chosen, precision, face_batch, HelperNetworks(chosen, weights, detection_model, detector, detection_size))

    # --- Faces

    def restore_aligned(
        self, image: Source, fidelity_weight: float = 1.0, structure_weight: float = 1.0
    ) -> UInt8[np.ndarray, 'size size 3']:
        """Restore one face in FFHQ alignment; return it as BGR at the network's size.

        `image` is square, of any size, and of any kind that `restore` takes. `fidelity_weight` and `structure_weight` are those of
        `restore_faces`. A face without colours of its own keeps its tone. Raises FRExError where `image` is not an image or not square,
        and where the face cannot be restored, e.g. because the network's output is not finite.
        """
        aligned = to_eight_bit(to_photo(image).image)
        (restoration,) = self.restore_frontal([aligned], fidelity_weight, structure_weight)
        if restoration.image is None:
            raise FRExError(restoration.problem or 'not restored')
        return restoration.image

    def restore_frontal(
        self, faces: Sequence[AnyImage], fidelity_weight: float = 1.0, structure_weight: float = 1.0, details: bool = False
    ) -> list[Restoration]:
        """Restore aligned faces as `restore_faces` does, with the crop of a frontal face; one without colours of its own keeps its tone."""
        restorations = self.restore_faces(faces, fidelity_weight=fidelity_weight, structure_weight=structure_weight, details=details)
        return [with_tones(one, find_tones(face, np.eye(2, 3), face.shape[0])) for one, face in zip(restorations, faces, strict=True)]

    @torch.inference_mode()
    def restore_faces(
        self,
        faces: Sequence[Shaped[np.ndarray, '...']],
        crops: Sequence[Float[np.ndarray, '3']] | None = None,
        fidelity_weight: float = 1.0,
        structure_weight: float = 1.0,
        details: bool = False,
        code: Encoding3D | None = None,
    ) -> list[Restoration]:
        """Restore faces in FFHQ alignment, BGR uint8 (N, N, 3), and return one result per face, in their order.

        Each face may have another N; it is resized to the network's size. `crops` (s, t_x, t_y), one for each face, lead from the face to
        EG3D's crop (default: that of a frontal face). `fidelity_weight` is 0 for quality and 1 for fidelity to the input;
        `structure_weight` is 0 for the 2D prior alone and 1 for the full 3D structure. With `details` each result holds the network's
        whole `output`. `code` takes the place of what Enc_3D predicts for the faces. A face that fails has a `problem`. Raises FRExError
        for an array of another shape or type, and for a `fidelity_weight` or `structure_weight` outside of 0..1.
        """
        if not faces:
            return []
        given = self._to_input(faces, crops)._replace(code=code)
        outputs = self.batches.run(given, NetworkOptions(fidelity_weight, structure_weight, details))
        return [self._restoration(face, output, details) for face, output in zip(given.lq, outputs, strict=True)]

    def _to_input(self, faces: Sequence[Shaped[np.ndarray, '...']], crops: Sequence[Float[np.ndarray, '3']] | None) -> NetworkInput:
        for image in faces:
            check_aligned(image)
        lq = torch.stack([to_tensor(resize(image, self.size)) for image in faces])
        return NetworkInput(lq, None if crops is None else torch.from_numpy(np.stack(list(crops))).float())

    def _restoration(self, face: Float[Tensor, '3 size size'], output: FRExOutput | str, details: bool) -> Restoration:
        if isinstance(output, str):
            return Restoration(problem=output)
        identity = self.parts.identity()
        return Restoration(
            image=to_images(output.image)[0],
            camera=output.camera[0].float().cpu().numpy(),
            identity_similarity=retry_out_of_memory(lambda: similarity(identity, face[None].to(self.device), output.image)),
            output=map_output(output, lambda value: value.float().cpu()) if details else None,
        )

    # --- Photographs

    def find_faces(self, photo: Photo, selection: Selection | None = None, force: bool = False) -> list[Face]:
        """Find the faces of a photograph and cut them out at the network's size; return them in order of falling score.

        A face with more detail than a result would have is marked to stay as it is (`Face.keep`), unless `force` is given. See
        `has_more_detail` for the rule. The detector's file is downloaded where it is missing; raises FRExError where that is not possible
        or not allowed.
        """
        return self.cut_out_faces(photo, self.detect_faces(photo, selection), force)

    def detect_faces(self, photo: Photo, selection: Selection | None = None) -> list[DetectedFace]:
        """Return the faces that the detector finds and `selection` chooses, in order of falling score; the first half of `find_faces`."""
        detector = self.parts.detector()
        return retry_out_of_memory(lambda: detect_faces(photo, detector, selection))

    def cut_out_faces(self, photo: Photo, detected: Sequence[DetectedFace], force: bool = False) -> list[Face]:
        """Align and cut out detected faces of a photograph, and mark those with more detail; the second half of `find_faces`."""
        faces = [cut_out(photo, face, self.size) for face in detected]
        return faces if force else [keep_detail(photo, face) for face in faces]

    @torch.inference_mode()
    def encode_found(self, faces: Sequence[Face]) -> Encoding3D:
        """Return what Enc_3D predicts for one or more faces that `find_faces` returned, in float32 on the CPU."""
        return self.batches.encode(self._to_input([face.aligned for face in faces], [face.crop for face in faces]))

    def restore_found(
        self,
        faces: Sequence[Face],
        fidelity_weight: float = 1.0,
        structure_weight: float = 1.0,
        details: bool = False,
        code: Encoding3D | None = None,
    ) -> list[Restoration]:
        """Restore faces that `find_faces` returned, of one or several photographs; see `restore_faces` for the other arguments.

        Faces with a problem, and those that stay as they are, are not run through the network; the result's `problem` says why. A face
        without colours of its own, such as a grey or a sepia one, keeps its tone. `code` holds the predictions for the faces that are run.
        """
        reasons = [face.problem or face.keep for face in faces]
        sound = [face for face, reason in zip(faces, reasons, strict=True) if reason is None]
        aligned, crops = [face.aligned for face in sound], [face.crop for face in sound]
        restorations = self.restore_faces(aligned, crops, fidelity_weight, structure_weight, details, code)
        restored = (with_tones(one, face.tones) for one, face in zip(restorations, sound, strict=True))
        return [next(restored) if reason is None else Restoration(problem=reason) for reason in reasons]

    def paste(
        self,
        photo: Photo,
        faces: Sequence[Face],
        restorations: Sequence[Restoration],
        upscale: float = 1.0,
        bg_upsampler: Upsampler | None = None,
        face_upsampler: Upsampler | None = None,
    ) -> Photo:
        """Return a new photo, `upscale` times as wide and as high, with the restored faces pasted in.

        `restorations` are those of the `faces`, in their order. ParseNet's masks are used; its file is downloaded where it is missing, and
        where that fails the mask is a soft square. `bg_upsampler` scales the rest, if given, and `face_upsampler` the restored faces that
        are smaller than those they replace. Raises FRExError as `paste_faces` does, and where ParseNet's file is damaged and cannot be
        downloaded anew.
        """
        images = [restoration.image for restoration in restorations]
        if face_upsampler is not None:
            images = [enlarge_to_fit(image, face, upscale, face_upsampler) for image, face in zip(images, faces, strict=True)]
        parser = self.parts.parser() if any(image is not None for image in images) else None
        masks = [None if parser is None or image is None else retry_out_of_memory(partial(parser.mask, image)) for image in images]
        return paste_faces(photo, upscale, faces, images, masks, bg_upsampler)

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
        """Restore the faces of a photograph and paste them in; the rest is scaled by `upscale`, with `bg_upsampler` if given.

        `image` is a path, a `Photo`, one of Pillow's images, or an array as OpenCV reads it: BGR, grey or BGRA, uint8 or uint16.
        `fidelity_weight` and `structure_weight` are those of `restore_faces`. A face that fails stays as it was, and its `problem` says
        why. So does a face with more detail than the network's result would have, unless `force` is given. `selection` (default:
        `Selection()`) chooses the faces.

        Raises FRExError where `image` is none of these or cannot be read, where a number is out of its range or the result would be too
        large, and where the face detector cannot be loaded.
        """
        photo = to_photo(image)
        faces = self.find_faces(photo, selection, force)
        restorations = self.restore_found(faces, fidelity_weight, structure_weight)
        pasted = self.paste(photo, faces, restorations, upscale, bg_upsampler)
        if has_colour_channels(image):
            pasted = replace(pasted, grey=False)
        return RestoredImage(pasted, tuple(map(RestoredFace.of, faces, restorations)))

    def enhance(
        self,
        img: Shaped[np.ndarray, 'height width *channels'],
        has_aligned: bool = False,
        only_center_face: bool = False,
        paste_back: bool = True,
        weight: float = 1.0,
        upscale: float = 1.0,
    ) -> tuple[list[RestoredPixels], list[RestoredPixels], Shaped[np.ndarray, '_ _ ...'] | None]:
        """Restore an image with the arguments and results of GFPGANer's method of this name.

        Returns the aligned faces, the restored faces, and the whole image, which is None with `has_aligned` and without `paste_back`.
        `img` may be all that `restore` takes. `weight` is the fidelity weight, 0 to 1. A face that fails is in neither list, stays as
        it was, and causes a warning; with `paste_back` so does one with more detail than a result would have. Raises FRExError as
        `restore` does, and with `has_aligned` as `restore_aligned` does.
        """
        if has_aligned:
            aligned = to_eight_bit(to_photo(img).image)
            restored = self.restore_aligned(aligned, weight)
            return [resize(aligned, self.size)], [restored], None
        selection = Selection(only='center' if only_center_face else 'all')
        if paste_back:
            result = self.restore(img, upscale, weight, selection=selection)
            faces, image = result.faces, result.image
        else:
            # Nothing is pasted over the face, so its detail cannot get lost.
            found = self.find_faces(to_photo(img), selection, force=True)
            faces, image = tuple(map(RestoredFace.of, found, self.restore_found(found, weight))), None
        for face in faces:
            if face.restored is None:
                warnings.warn(f'the face at {face.box.round().tolist()} is not restored: {face.problem}', stacklevel=2)
        pairs = [(face.aligned, face.restored) for face in faces if face.restored is not None]
        return [before for before, _ in pairs], [after for _, after in pairs], image


def enlarge_to_fit(image: Image | None, face: Face, upscale: float, upsampler: Upsampler) -> UInt8[np.ndarray, '_ _ 3'] | None:
    """Return a restored face, enlarged by `upsampler` to the size that it has in a result `upscale` times as wide and as high.

    `image` is returned as it is where it is not smaller than that, or is None.
    """
    if image is None:
        return None
    shown = round(upscale * face.aligned.shape[0] / scale_of(face.matrix))
    return upsampler(image, (shown, shown)) if shown > image.shape[0] else image


def with_tones(restoration: Restoration, tones: Tones | None) -> Restoration:
    """Return a restoration whose image, where there is one, has the colours of `tones`, where these are given."""
    if restoration.image is None or tones is None:
        return restoration
    return replace(restoration, image=apply_tones(restoration.image, tones))


def similarity(
    identity: IdentityNetwork | None, before: Float[Tensor, '1 3 size size'], after: Float[Tensor, '1 3 size size']
) -> float | None:
    """Return the cosine of ArcFace's embeddings of a face before and after, as `IdentityNetwork.similarity`; None without the network."""
    return identity.similarity(before, after).item() if identity else None


def check_aligned(image: Shaped[np.ndarray, '...']) -> None:
    """Raise FRExError unless `image` is a uint8 array (N, N, 3)."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise FRExError(f'{image.dtype} {image.shape} is no aligned face: give uint8 (N, N, 3)')
    if image.shape[0] != image.shape[1]:
        raise FRExError(f'{image.shape[1]} x {image.shape[0]} is not square: not a face in FFHQ alignment')
