"""The small FREx that comes with the package, in `files/frex-small.safetensors` beside this module."""

import os
from pathlib import Path

from frex.errors import FRExError
from frex.weights.hub import find_checkpoint

# The model's name in commands. It is no key of the manifest, since it is never downloaded.
KEY = 'frex-small'
PATH = Path(__file__).parent / 'files' / f'{KEY}.safetensors'
PURPOSE = 'restoring without --model_path: small faces, for trying it out, not for identification'


def require_small_model() -> Path:
    """Return the path of the small FREx; raise FRExError, which says what to do instead, where this installation lacks it."""
    if not PATH.is_file():
        raise FRExError(
            'give a FREx checkpoint by --model_path, e.g. experiments/train_frex/models/net_g_latest.pth: '
            'the small FREx that comes with the package is not in this installation'
        )
    return PATH


def small_model_notice(size: int) -> str:
    """Return the line for users without --model_path: that the small FREx is used, for faces `size` pixels wide, and what it is for."""
    return (
        f'No --model_path: using the small FREx that comes with the package '
        f'({size} x {size} faces, for trying it out; not for identification).'
    )


def find_model(name: str | Path | None) -> Path:
    """Return the path of the checkpoint that a user names, as `find_checkpoint` does.

    None means the small FREx, and so does its KEY where no file or folder has that name. Raises FRExError as `find_checkpoint` and
    `require_small_model` do.
    """
    if name is None or (str(name) == KEY and not os.path.lexists(KEY)):
        return require_small_model()
    return find_checkpoint(name)
