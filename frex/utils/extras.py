"""Packages that only some installations have, and which `pip install 'frex[...]'` brings each."""

from importlib import import_module

from frex.errors import FRExError

# By the name under which a package is imported.
EXTRAS = {
    'basicsr': 'train',
    'lmdb': 'train',
    'lpips': 'train',
    'scipy': 'train',
    'gfpgan': 'peers',
    'matplotlib': 'evaluate',
    'onnx': 'export',
    'onnxruntime': 'export',
    'onnxscript': 'export',
    'skimage': 'demo',
    'pillow_heif': 'heic',
    'stlpips_pytorch': 'perceptual',
}


def require_package(package: str, purpose: str) -> None:
    """Raise FRExError where `package` of an extra is not installed; the message starts with `purpose`, what the package is needed for."""
    try:
        import_module(package)
    except ImportError:
        raise missing_package(package, purpose) from None


def missing_package(package: str, purpose: str) -> FRExError:
    """Return the error that says how to install `package` of an extra, which `purpose` needs."""
    return FRExError(f"{purpose} needs the package {package}, which is not installed: pip install 'frex[{EXTRAS[package]}]'")
