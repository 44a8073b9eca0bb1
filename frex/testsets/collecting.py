"""`frex collect-real`: real faces, as they were photographed, in FFHQ's alignment.

images/NAME_NN.png    the faces; with dataset.json, their cameras and crops by landmarks
manifest.json         settings, where each face comes from, what was measured of it, its sum; how many were not taken, and why
scan.jsonl            all faces that were found, so that another try with other limits is quick
contact_sheet.jpg     some of the faces
"""

import hashlib
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path, PurePosixPath
from typing import Any

from frex.data.sources import FolderSource
from frex.device import choose_device
from frex.errors import FRExError
from frex.restore.finding.detection import FaceDetector
from frex.restore.finding.selection import Selection
from frex.restore.runs.names import unique_names
from frex.testsets.collected import report, write_faces
from frex.testsets.found_faces import SCAN, scan
from frex.testsets.lots import check_seed
from frex.testsets.selecting import Limits, select
from frex.testsets.set_folder import SHEET, SetFolder, check_apart
from frex.testsets.wider import WiderFace, named, read_wider
from frex.weights.places import locate, sha256

RECORD = 'manifest.json'


def run(args: Namespace) -> None:
    """Collect faces as the command line asks; says what is there."""
    limits = _check(args)
    folder = SetFolder(args.output, RECORD, kept=(SCAN,))
    try:
        pictures = _pictures(args.folders)
        settings = _settings(args, limits, pictures)
        record = folder.read()
        if record is not None and 'images' in record:
            folder.begin(settings)
            folder.check_whole(record)
        else:
            _collect(args, limits, folder, pictures, settings)
    except OSError as error:
        raise FRExError(f'a file cannot be read or written: {error}') from None
    print(f'{args.num} faces in {folder.images}, described in {folder.root / RECORD}; look at {folder.root / SHEET}')


def _check(args: Namespace) -> Limits:
    check_seed(args.seed)
    Selection(args.det_threshold)
    for flag, least in (('num', 1), ('size', 16)):
        if getattr(args, flag) < least:
            raise FRExError(f'--{flag} {getattr(args, flag)}: at least {least} is needed')
    for folder in args.folders:
        check_apart(folder, args.output, 'FOLDER')
    asked = {limit.name: getattr(args, limit.name) for limit in fields(Limits)}
    return Limits(**asked | {'blur': tuple(args.blur)})


def _pictures(folders: list[Path]) -> dict[str, Path]:
    """All pictures of all folders by the names of their results, paths without suffix."""
    files = [(folder.absolute() / name, PurePosixPath(name)) for folder in folders for name in FolderSource(folder, 'FOLDER').names]
    # A folder may lie in another.
    files = list(dict(files).items())
    return {name.as_posix(): path for name, (path, _) in zip(unique_names(files), files, strict=True)}


def _settings(args: Namespace, limits: Limits, pictures: Mapping[str, Path]) -> dict[str, Any]:
    names = hashlib.sha256('\n'.join(pictures).encode(errors='surrogateescape')).hexdigest()
    settings = {'num': args.num, 'seed': args.seed, 'size': args.size, 'det_threshold': args.det_threshold, **asdict(limits)}
    wider = None if args.wider is None else read_sum(args.wider)
    return settings | {'wider_sha256': wider, 'pictures': len(pictures), 'pictures_names_sha256': names}


def read_sum(path: Path) -> str:
    """sha256 of the annotations; raises FRExError where they cannot be read."""
    try:
        return sha256(path)
    except OSError as error:
        raise FRExError(f'--wider: {path} cannot be read ({error.strerror})') from None


def _collect(args: Namespace, limits: Limits, folder: SetFolder, pictures: Mapping[str, Path], settings: dict[str, Any]) -> None:
    annotations = {} if args.wider is None else _annotations(args.wider, pictures)
    detector = FaceDetector.from_weights(args.weights, choose_device(args.device))
    folder.root.mkdir(parents=True, exist_ok=True)
    looked = {'det_threshold': args.det_threshold, 'wider_sha256': settings['wider_sha256']}
    looked |= {'detector': detector.key, 'detector_sha256': sha256(locate(detector.key, args.weights))}
    found = scan(pictures, annotations, detector, args.det_threshold, folder.root / SCAN, looked)
    selected = select(found, args.num, limits, args.seed)
    report(found, selected)
    if len(selected.faces) < args.num:
        total = sum(len(picture.faces) for picture in found)
        raise FRExError(
            f'--num {args.num}: of {total} faces {len(selected.faces)} are left; loosen a limit that is counted above, or add pictures '
            f'(what was found is kept in {folder.root / SCAN}, so the next try is quick)'
        )
    record = folder.begin(settings) | {'scan': looked}
    write_faces(folder, record, found, selected, pictures, args.size)


def _annotations(path: Path, pictures: Mapping[str, Path]) -> dict[str, list[WiderFace]]:
    """By the names of results; raises FRExError where none of the pictures is annotated."""
    annotated = read_wider(path)
    found = {name: named(annotated, file.as_posix()) for name, file in pictures.items()}
    known = {name: faces for name, faces in found.items() if faces is not None}
    if not known:
        raise FRExError(
            f'--wider: {path}: names {next(iter(annotated))} and others, but none of the pictures, as {next(iter(pictures.values()))}'
        )
    print(f'annotated by {path}: {len(known)} of {len(pictures)} pictures; it names {len(annotated)}')
    return known
