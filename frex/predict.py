"""The predictor that `cog.yaml` names, of which Cog (https://cog.run) makes a container with a web interface."""

import os
from pathlib import Path as FilePath
from tempfile import mkdtemp

from cog import BasePredictor, Input, Path

from frex.images import write_image
from frex.restore import FaceRestorer, Selection
from frex.restore.faces.upsampler import FOR_FACES, NetworkUpsampler, load_upsampler
from frex.restore.image_io.photo_file import write_photo

# The checkpoint in place of the small FREx of the package: a file of the container, or owner/name on the Hub.
MODEL_VARIABLE = 'FREX_MODEL'


class Predictor(BasePredictor):
    """Restores the faces of a photograph, or one aligned face."""

    def setup(self) -> None:
        """Load the networks once for all predictions, and get the files of the face detector and of the face parser."""
        self.restorer = FaceRestorer.from_pretrained(os.environ.get(MODEL_VARIABLE) or None)
        self.restorer.parts.detector()
        self.restorer.parts.parser()
        self.upsampler: NetworkUpsampler | None = None

    def predict(
        self,
        image: Path = Input(description='A photograph, or one face in FFHQ alignment with `aligned`'),
        scale: float = Input(
            description='How many times as large the result is; without effect with `aligned`', default=2.0, ge=0.1, le=8.0
        ),
        fidelity: float = Input(description='0 for quality, 1 for fidelity to the input', default=1.0, ge=0.0, le=1.0),
        structure: float = Input(description='0 for the 2D prior alone, 1 for the full 3D structure', default=1.0, ge=0.0, le=1.0),
        aligned: bool = Input(description='The image is one aligned face', default=False),
        only_center_face: bool = Input(description='Restore only the face nearest to the centre', default=False),
        background_enhance: bool = Input(description='Enlarge the rest of the image by Real-ESRGAN', default=False),
    ) -> Path:
        """Restore an image and return the path of the result, a PNG in a new temporary folder.

        Raises FRExError, in one line, where the image cannot be read or a file of weights cannot be downloaded.
        """
        target = FilePath(mkdtemp(), 'restored.png')
        if aligned:
            write_image(target, self.restorer.restore_aligned(str(image), fidelity, structure))
            return Path(target)
        selection = Selection(only='center' if only_center_face else 'all')
        upsampler = self._load_upsampler() if background_enhance else None
        result = self.restorer.restore(str(image), scale, fidelity, structure, selection, upsampler)
        for face in result.faces:
            print(f'face at {face.box.round().astype(int).tolist()}: {face.problem or "restored"}')
        if not result.faces:
            print('no face found')
        write_photo(target, result.photo)
        return Path(target)

    def _load_upsampler(self) -> NetworkUpsampler | None:
        """Return Real-ESRGAN on the device of the other networks, loaded at the first call."""
        self.upsampler = self.upsampler or load_upsampler(FOR_FACES, device=self.restorer.device)
        return self.upsampler
