"""`frex cameras preview`: draw the camera labels on their images."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frex.camera_labels.draw import draw_camera
from frex.data.contact_sheet import draw_contact_sheet
from frex.data.labels import CameraLabel, CropLabel, match_labels, read_labels
from frex.data.sources import find_images
from frex.errors import FRExError
from frex.images import Image, read_aligned, resize, write_image
from frex.utils.text import abbreviate
from frex_arch.crop import MEAN_CROP

SHEET = 'sheet.png'
# On the sheet: columns, width of an image in pixels, greatest number of images.
SHEET_COLUMNS, TILE, MAX_ON_SHEET = 6, 256, 60
# The number of characters that fit below a tile.
CAPTION_LENGTH = 32
# The crop (s, t_x, t_y) to EG3D's crop of an image whose label has none, by its alignment.
FRAME_CROPS = {'eg3d': (1.0, 0.0, 0.0), 'ffhq': MEAN_CROP}


class PreviewFolder:
    """A folder of images with their drawn labels, in `faces`, and of `sheet.png`, which shows the first of them.

    Raises FRExError where it holds a `sheet.png` and `overwrite` is false, or where it cannot be created.
    """

    def __init__(self, folder: Path, overwrite: bool) -> None:
        if (folder / SHEET).exists() and not overwrite:
            raise FRExError(f'{folder}: previews exist already; --overwrite replaces them')
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FRExError(f'{folder}: cannot be made ({error.strerror})') from None
        self.folder = folder
        self.tiles: list[Image] = []
        self.captions: list[str] = []
        self.count = 0

    def add(self, name: str, image: Image, camera: CameraLabel, crop: CropLabel) -> None:
        """Draw the camera on a BGR image and write the drawing; `crop` (s, t_x, t_y) leads from the image to the camera's crop."""
        drawn = draw_camera(image, camera, crop)
        write_image(self.folder / 'faces' / (name if name.endswith('.png') else f'{name}.png'), drawn)
        self.count += 1
        if len(self.tiles) < MAX_ON_SHEET:
            self.tiles.append(resize(drawn, TILE))
            self.captions.append(name[-CAPTION_LENGTH:])

    def finish(self) -> None:
        """Write the contact sheet, where an image was added, and print where the previews are."""
        if not self.tiles:
            print(f'previews: none in {self.folder}')
            return
        columns = min(SHEET_COLUMNS, len(self.tiles))
        write_image(self.folder / SHEET, draw_contact_sheet(self.tiles, self.captions, columns, TILE))
        first = f'the first {len(self.tiles)} of them' if self.count > len(self.tiles) else 'all'
        print(f'previews: {self.count} in {self.folder}, {first} in {self.folder / SHEET}')


@dataclass(frozen=True)
class PreviewOptions:
    """The images of `folder` and the label file `labels`; the drawings are written to the folder `output`.

    `num` images, evenly picked, are drawn, None for all. `frame`, ffhq or eg3d, is the alignment of images whose label has no crop.
    """

    folder: Path
    labels: Path
    output: Path
    num: int | None = None
    frame: str = 'eg3d'
    overwrite: bool = False


def preview_labels(options: PreviewOptions) -> int:
    """Draw the labels of a folder's images; return 1 where an image cannot be read or is not in the label file, else 0.

    Images that the file lists as having no label are left out. Raises FRExError for invalid options and where no image has a label.
    """
    if options.num is not None and options.num < 1:
        raise FRExError(f'--num {options.num}: at least 1 is needed')
    labels = read_labels(options.labels)
    unlabelled = match_labels(dict.fromkeys(labels.unlabelled, np.zeros(0)), find_images(options.folder))
    images = {name: path for name, path in find_images(options.folder).items() if name not in unlabelled}
    if options.num is not None and options.num < len(images):
        chosen = np.linspace(0, len(images) - 1, options.num).round().astype(int)
        images = {name: images[name] for name in np.array(list(images))[chosen].tolist()}
    cameras, crops = match_labels(labels.cameras, images), match_labels(labels.crops, images)
    if not cameras:
        raise FRExError(f'{options.labels}: no label for any image of {options.folder} ({abbreviate(list(images))})')
    previews = PreviewFolder(options.output, options.overwrite)
    failures = [f'{name}: no label' for name in images if name not in cameras]
    for name, camera in cameras.items():
        crop = crops.get(name, np.array(FRAME_CROPS[options.frame], np.float32))
        try:
            previews.add(name, read_aligned(images[name]), camera, crop)
        except FRExError as error:
            failures.append(str(error))
    previews.finish()
    return report_failures(failures)


def report_failures(failures: list[str]) -> int:
    """Print each failure on standard error; return 1 where there is one, else 0."""
    for failure in failures:
        print(f'failed: {failure}', file=sys.stderr)
    return 1 if failures else 0
