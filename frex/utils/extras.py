"""Packages that only some installations have."""

from frex.errors import FRExError


def need_matplotlib(purpose: str) -> None:
    """Raise FRExError where matplotlib is missing; `purpose` says what it is needed for."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise FRExError(f"{purpose}: matplotlib is missing: pip install 'frex[evaluate]'") from None
