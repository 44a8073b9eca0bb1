"""The small FREx that comes with the package, as `files/frex-small.safetensors` beside this module."""

from pathlib import Path

from frex.errors import FRExError

# The model's name in commands. It is no key of the manifest, since it is never downloaded.
KEY = 'frex-small'
PATH = Path(__file__).parent / 'files' / f'{KEY}.safetensors'
PURPOSE = 'restoring without --model_path: small faces, for trying it out, not for identification'


def require_small_model() -> Path:
    """Return the file of the small FREx; raise FRExError, with what to do, where this installation lacks it."""
    if not PATH.is_file():
        raise FRExError(
            'give a FREx checkpoint by --model_path, e.g. experiments/train_frex/models/net_g_latest.pth: '
            'the small FREx that comes with the package is not in this installation'
        )
    return PATH


def small_model_notice(size: int) -> str:
    """Return the line that says which model is used where none was named, and what it is good for; its faces are `size` pixels wide."""
    return (
        f'No --model_path: using the small FREx that comes with the package '
        f'({size} x {size} faces, for trying it out; not for identification).'
    )
