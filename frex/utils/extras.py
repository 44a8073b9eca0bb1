"""Packages that only some installations have, and the extra, as in `pip install 'frex[heads]'`, that brings each.

Packages go by the names under which they are imported. The error for a missing one is FRExError, which says how to install it.
"""

from importlib import import_module
from importlib.util import find_spec

from frex.errors import FRExError

# The extras that bring a package, the lightest first, by the name under which the package is imported.
EXTRAS: dict[str, tuple[str, ...]] = {
    'basicsr': ('train',),
    'lmdb': ('train',),
    'lpips': ('train',),
    'scipy': ('train',),
    'huggingface_hub': ('hub',),
    'matplotlib': ('evaluate',),
    'skimage': ('heads', 'demo'),
    'av': ('video',),
    'onnx': ('export',),
    'onnxruntime': ('export',),
    'onnxscript': ('export',),
    'pillow_heif': ('heic',),
    'spandrel': ('upsample',),
    'stlpips_pytorch': ('perceptual',),
    'trimesh': ('heads',),
    'gradio': ('web',),
}
# The extras that an extra includes.
INCLUDED = {'evaluate': ('train',), 'demo': ('evaluate',), 'peers': ('evaluate', 'upsample'), 'heads': ('video',), 'web': ('heads',)}


def require_package(package: str, purpose: str) -> None:
    """Import `package`, and return nothing; raise FRExError, which starts with `purpose`, what it is needed for, where that fails."""
    try:
        import_module(package)
    except ImportError as error:
        if find_spec(package) is not None:
            raise FRExError(f'{purpose} needs the package {package}, which is installed but cannot be imported ({error})') from None
        raise missing_package(package, purpose) from None


def missing_package(package: str, purpose: str) -> FRExError:
    """Return the error that says how to install `package`, which `purpose` needs: by its lightest extra, or by itself where it has none."""
    command = installing_command(EXTRAS[package][0]) if package in EXTRAS else f'pip install {package}'
    return FRExError(f'{purpose} needs the package {package}, which is not installed: {command}')


def installing_command(extra: str) -> str:
    """Return the shell command that adds `extra` to an installation of FREx.

    basicsr has no wheel. pip would build it with a second torch, so it is built with the torch that is there, for which it also needs
    setuptools.
    """
    if 'basicsr' not in find_missing_packages(extra):
        return f"pip install 'frex[{extra}]'"
    return f"pip install 'setuptools>=77,<82' && pip install --no-build-isolation 'frex[{extra}]'"


def require_extra(extra: str, purpose: str) -> None:
    """Raise FRExError, which starts with `purpose`, where a package of `extra` is not installed; nothing is imported."""
    missing = find_missing_packages(extra)
    if missing:
        raise FRExError(f'{purpose} needs {", ".join(missing)}, not installed here: {installing_command(extra)}')


def find_missing_packages(extra: str | None) -> list[str]:
    """Return the packages of an extra, and of those that it includes, that are not installed; none for None."""
    if extra is None:
        return []
    own = [package for package, its in EXTRAS.items() if extra in its and find_spec(package) is None]
    return [*(package for included in INCLUDED.get(extra, ()) for package in find_missing_packages(included)), *own]
