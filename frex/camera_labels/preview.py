"""`frex cameras preview`: draw the camera labels on their images, as the axes of the head and the angles of the viewing direction."""

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from frex.data.contact_sheet import draw_contact_sheet
from frex.data.labels import CameraLabel, CropLabel, match_labels, read_labels, view_angles_in_degrees
from frex.data.landmarks import mean_head_in_world, project_points
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
# In EG3D's world: the axes start between the eyes and are about as long as the distance of the eyes.
ORIGIN = mean_head_in_world()[:2].mean(axis=0)
LENGTH = 0.15
# BGR colors of the axes: x red, y green, z blue.
AXIS_COLORS = ((0, 0, 255), (0, 200, 0), (255, 80, 0))


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


def project_axes(camera: CameraLabel, crop: CropLabel) -> Float[np.ndarray, '4 2']:
    """Return the origin of the head's axes and the ends of its x, y and z axis, in widths of the image, from its top left corner.

    `camera` belongs to EG3D's crop of the face, to which `crop` (s, t_x, t_y) leads from the image.
    """
    points = np.stack([ORIGIN, *(ORIGIN + LENGTH * np.eye(3))])
    projected = project_points(points, camera.astype(np.float64))
    return (projected - crop[1:]) / crop[0]


def draw_camera(image: Image, camera: CameraLabel, crop: CropLabel) -> Image:
    """Return a copy of a BGR `image` with the head's axes (x red, y green, z blue) and yaw, pitch and roll in degrees.

    `camera` belongs to EG3D's crop of the face, to which `crop` (s, t_x, t_y) leads from the image.
    """
    drawn = image.copy()
    width = drawn.shape[1]
    origin, *ends = np.clip(project_axes(camera, crop) * width, -4 * width, 5 * width).round().astype(int).tolist()
    thickness = max(1, width // 128)
    for end, color in zip(ends, AXIS_COLORS, strict=True):
        cv2.arrowedLine(drawn, origin, end, color, thickness, cv2.LINE_AA, tipLength=0.15)
    yaw, pitch, roll = view_angles_in_degrees(camera)
    _write_caption(drawn, f'yaw {yaw:+.0f}  pitch {pitch:+.0f}  roll {roll:+.0f}')
    return drawn


def _write_caption(image: Image, text: str) -> None:
    """Write white text on a black bar along the lower edge of `image`, in place, at a size that fits its width."""
    width = image.shape[1]
    (length, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)
    scale = 0.7 * width / length
    bottom = image.shape[0] - round(1.5 * scale * below)
    cv2.rectangle(image, (0, bottom - round(1.5 * scale * height)), (width, image.shape[0]), (0, 0, 0), cv2.FILLED)
    cv2.putText(image, text, (round(0.02 * width), bottom), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
