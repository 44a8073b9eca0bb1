"""Restoring a folder of pictures: one bad file never stops the rest, and none is passed over in silence."""

import sys
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from frex.errors import FRExError
from frex.images import list_images, read_image, resize, write_image
from frex.restore.restorer import FaceRestorer

FOLDERS = ('cropped_faces', 'restored_faces', 'cmp')


def restore_folder(args: Namespace) -> int:
    """Restore what `args` of `inference_frex.py` name; 1 where a picture failed, else 0.

    Writes GFPGAN's folders: `cropped_faces`, `restored_faces`, and both side by side in `cmp`.
    """
    if not args.aligned:
        raise FRExError('whole photographs cannot be restored yet: give faces in FFHQ alignment, and --aligned')
    paths = [args.input] if args.input.is_file() else list_images(args.input, '--input')
    restorer = FaceRestorer.from_pretrained(args.model_path, args.device, args.param_key)

    failures: list[str] = []
    skipped = 0
    progress = tqdm(paths, unit='face', disable=None)
    for path, name in zip(progress, result_names(paths), strict=True):
        targets = {folder: args.output / folder / f'{name}{args.suffix}.{args.ext}' for folder in FOLDERS}
        wanted = {folder: target for folder, target in targets.items() if args.exist == 'overwrite' or not target.exists()}
        if not wanted:
            skipped += 1
            continue
        try:
            restore_file(restorer, path, wanted)
        except (FRExError, OSError, RuntimeError, cv2.error) as error:
            failures.append(f'{path.name}: {error}' if path.name not in str(error) else str(error))

    done = len(paths) - skipped - len(failures)
    print(f'restored {done}, already there {skipped}, failed {len(failures)}; results in {args.output}')
    for failure in failures:
        print(f'failed: {failure}', file=sys.stderr)
    return 1 if failures else 0


def restore_file(restorer: FaceRestorer, path: Path, targets: dict[str, Path]) -> None:
    """Restore one aligned face and write what is asked for; `targets` are keyed by FOLDERS."""
    face = read_image(path)
    restored = restorer.restore_aligned(face)
    cropped = resize(face, restorer.size)
    images = {'cropped_faces': cropped, 'restored_faces': restored, 'cmp': np.hstack([cropped, restored])}
    for folder, target in targets.items():
        write_image(target, images[folder])


def result_names(paths: list[Path]) -> list[str]:
    """`STEM_00` as GFPGAN names the first face of a picture; with the suffix kept where two pictures share a stem."""
    stems = [path.stem for path in paths]
    return [f'{path.name if stems.count(path.stem) > 1 else path.stem}_00' for path in paths]
