"""Checks for optional packages, which only some installations have."""

from frex.errors import FRExError


def require_matplotlib(purpose: str) -> None:
    """Raise FRExError where matplotlib is missing; the message starts with `purpose`, for example the flag that needs it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise FRExError(f"{purpose}: matplotlib is missing: pip install 'frex[evaluate]'") from None
