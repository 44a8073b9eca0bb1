"""`frex collect-real`: collect faces from photographs, in FFHQ's alignment.

It writes:

images/NAME_NN.png    the faces; with dataset.json, their cameras and crops, estimated from landmarks
manifest.json         settings; each face's source, measurements and SHA-256; how many faces were not taken for which reason
scan.jsonl            all faces that were found, so that another run with other limits is quick
contact_sheet.jpg     some of the faces
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np

from frex.data.contact_sheet import draw_contact_sheet
from frex.data.labels import write_labels
from frex.data.sources import FolderSource
from frex.device import choose_device
from frex.errors import FRExError
from frex.images import Image, read_image, resize, write_image
from frex.restore.detection.align import align_face
from frex.restore.detection.retinaface import FaceDetector
from frex.restore.detection.selection import Selection
from frex.restore.folder.inputs import unique_names
from frex.restore.image_io.color_modes import to_eight_bit
from frex.restore.image_io.photo_file import read_photo
from frex.testsets.scan import SCAN, FoundFace, ScannedImage, scan_photographs
from frex.testsets.select_faces import Limits, Selected, select_faces
from frex.testsets.test_set_folder import SHEET, TestSetFolder, check_output_outside
from frex.testsets.wider import WiderFace, lookup_by_path, read_wider
from frex.utils.files import sha256
from frex.utils.seeding import check_seed
from frex.weights.download import obtain_file

RECORD = 'manifest.json'


@dataclass(frozen=True)
class CollectOptions:
    """Collect `num` random faces, `size` x `size` pixels, from the photographs in and below `folders`, and write them to `output`.

    `output` must not lie in one of `folders`. `det_threshold` is the least score of a detected face; `wider` is a file of WIDER FACE's
    annotations, None for none; `weights` is the folder in which the detector's file is searched for first.
    """

    folders: Sequence[Path]
    output: Path
    num: int
    size: int = 512
    seed: int = 0
    det_threshold: float = 0.8
    wider: Path | None = None
    weights: Path | None = None
    device: str = 'auto'


def collect(options: CollectOptions, limits: Limits) -> None:
    """Collect faces within `limits` from the photographs of `options`, write the test set and print where it is.

    Of a complete set only the settings and the checksum of each image are verified. A missing file of the detector is downloaded. Raises
    FRExError where the download is not possible or not allowed, for invalid options or input, where too few faces are within the limits,
    and where an existing set has other settings or an image of it is missing or changed.
    """
    _check(options)
    folder = TestSetFolder(options.output, RECORD, kept=(SCAN,))
    try:
        sources = _find_sources(options.folders)
        settings = _collect_settings(options, limits, sources)
        record = folder.read_set()
        if record is not None and 'images' in record:
            folder.begin_set(settings)
            folder.check_whole(record)
        else:
            _collect_new(options, limits, folder, sources, settings)
    except OSError as error:
        raise FRExError(f'a file cannot be read or written: {error}') from None
    print(f'{options.num} faces in {folder.images_folder}, described in {folder.root / RECORD}; look at {folder.root / SHEET}')


def _check(options: CollectOptions) -> None:
    """Raise FRExError for options out of range, and for an output within one of the input folders."""
    check_seed(options.seed)
    Selection(options.det_threshold)
    for flag, least in (('num', 1), ('size', 16)):
        if getattr(options, flag) < least:
            raise FRExError(f'--{flag} {getattr(options, flag)}: at least {least} is needed')
    for folder in options.folders:
        check_output_outside(folder, options.output, 'FOLDER')


def _find_sources(folders: Sequence[Path]) -> dict[str, Path]:
    """Return the photographs in and below `folders` by name: the path below its folder, without suffix, made unique by `unique_names`.

    Faces are named after it. Raises FRExError for a folder that is missing, cannot be read or has no image.
    """
    # A folder may lie in another, so a file may be listed twice.
    files = {
        str(folder.absolute() / name): len(PurePosixPath(name).parts) for folder in folders for name in FolderSource(folder, 'FOLDER').names
    }
    return {name: Path(path) for name, path in zip(unique_names(list(files.items())), files, strict=True)}


def _collect_settings(options: CollectOptions, limits: Limits, sources: Mapping[str, Path]) -> dict[str, Any]:
    """Return the settings on which the set depends, for its record. `sources` are the photographs by name."""
    names = hashlib.sha256('\n'.join(sources).encode(errors='surrogateescape')).hexdigest()
    settings = {'num': options.num, 'seed': options.seed, 'size': options.size, 'det_threshold': options.det_threshold, **asdict(limits)}
    wider = None if options.wider is None else hash_annotations(options.wider)
    return settings | {'wider_sha256': wider, 'pictures': len(sources), 'pictures_names_sha256': names}


def hash_annotations(path: Path) -> str:
    """Return the SHA-256 of the annotation file; raise FRExError where it cannot be read."""
    try:
        return sha256(path)
    except OSError as error:
        raise FRExError(f'--wider: {path} cannot be read ({error.strerror})') from None


def _collect_new(
    options: CollectOptions, limits: Limits, folder: TestSetFolder, sources: Mapping[str, Path], settings: dict[str, Any]
) -> None:
    """Find faces in all photographs, select some of them and write the set; raise FRExError where too few are within the limits."""
    annotations = {} if options.wider is None else _match_annotations(options.wider, sources)
    detector = FaceDetector.from_weights(options.weights, choose_device(options.device))
    folder.root.mkdir(parents=True, exist_ok=True)
    scan_settings = {'det_threshold': options.det_threshold, 'wider_sha256': settings['wider_sha256']}
    scan_settings |= {'detector': detector.key, 'detector_sha256': sha256(obtain_file(detector.key, options.weights))}
    found = scan_photographs(sources, annotations, detector, options.det_threshold, folder.root / SCAN, scan_settings)
    selected = select_faces(found, options.num, limits, options.seed)
    print_selection(found, selected)
    if len(selected.faces) < options.num:
        total = sum(len(scanned.faces) for scanned in found)
        raise FRExError(
            f'--num {options.num}: of {total} faces {len(selected.faces)} are left; loosen a limit that is counted above, or add images '
            f'(the scan is kept in {folder.root / SCAN}, so the next run is quick)'
        )
    record = folder.begin_set(settings) | {'scan': scan_settings}
    write_faces(folder, record, found, selected, sources, options.size)


def _match_annotations(path: Path, sources: Mapping[str, Path]) -> dict[str, list[WiderFace]]:
    """Return WIDER FACE's faces of each annotated photograph, by name; raise FRExError where no photograph is annotated."""
    annotated = read_wider(path)
    found = {name: lookup_by_path(annotated, file.as_posix()) for name, file in sources.items()}
    known = {name: faces for name, faces in found.items() if faces is not None}
    if not known:
        raise FRExError(
            f'--wider: {path}: names {next(iter(annotated))} and others, but none of the images, as {next(iter(sources.values()))}'
        )
    print(f'annotated by {path}: {len(known)} of {len(sources)} images; it names {len(annotated)}')
    return known


LABELS = 'dataset.json'
# The fields of a face that the manifest omits: they are stored elsewhere, or are of no use to a reader.
OMITTED_FIELDS = ('name', 'problem', 'camera', 'crop', 'mirrored_hash', 'small')
SHOWN, TILE = 48, 160


def print_selection(found: Sequence[ScannedImage], selected: Selected) -> None:
    """Print how many faces were found, how many were not taken for which reason, and which photographs cannot be read."""
    for scanned in found:
        if scanned.problem is not None:
            print(f'left out: {scanned.problem}', file=sys.stderr)
    print(f'{sum(len(scanned.faces) for scanned in found)} faces found in {len(found)} images')
    for reason, count in selected.reasons.items():
        if count:
            print(f'not taken: {count} {reason}')


def write_faces(
    folder: TestSetFolder,
    record: dict[str, Any],
    found: Sequence[ScannedImage],
    selected: Selected,
    sources: Mapping[str, Path],
    size: int,
) -> None:
    """Align the selected faces at `size` x `size` and write them, their labels, the contact sheet and, at last, the manifest.

    `found` are all scanned photographs, `sources` their files by name, and `record` is the begun record of the set.
    """
    folder.check_images([f'{name}.png' for name in selected.faces])
    images: dict[str, Any] = {}
    for scanned in found:
        faces = [face for face in scanned.faces if face.name in selected.faces]
        if not faces:
            continue
        image = to_eight_bit(read_photo(sources[scanned.name]).image)
        for face in faces:
            path = folder.images_folder / f'{face.name}.png'
            write_image(path, align_face(image, np.array(face.landmarks), size))
            images[f'{face.name}.png'] = _make_entry(face, scanned, sources[scanned.name], path)
    cameras, crops = ({f'{name}.png': getattr(face, what) for name, face in selected.faces.items()} for what in ('camera', 'crop'))
    write_labels(folder.images_folder / LABELS, cameras, crops)
    write_image(folder.root / SHEET, _draw_contact_sheet(folder, selected))
    not_taken = {reason: count for reason, count in selected.reasons.items() if count}
    folder.write(record | {'images': images, 'not_taken': not_taken, 'near_duplicates': selected.near_duplicates})


def _make_entry(face: FoundFace, scanned: ScannedImage, source: Path, path: Path) -> dict[str, Any]:
    """Return a face's entry of the manifest: source, measurements and checksums. `path` is the written face."""
    known = {key: value for key, value in msgspec.to_builtins(face).items() if key not in OMITTED_FIELDS}
    return {'source': str(source), 'source_sha256': scanned.sha256, **known, 'sha256': sha256(path)}


def _draw_contact_sheet(folder: TestSetFolder, selected: Selected) -> Image:
    """Return a contact sheet (BGR) of evenly picked faces, ordered from blurred to sharp."""
    faces = sorted(selected.faces.values(), key=lambda face: face.sharpness)
    shown = [faces[index] for index in np.linspace(0, len(faces) - 1, min(len(faces), SHOWN)).round().astype(int).tolist()]
    tiles = [resize(read_image(folder.images_folder / f'{face.name}.png'), TILE) for face in shown]
    return draw_contact_sheet(tiles, [f'{face.size:.0f} px, sharp {face.sharpness:.0f}' for face in shown], size=TILE)
