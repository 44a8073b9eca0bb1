"""FREx restores faces from images that are nearly lost: `from frex import FaceRestorer`, or `frex restore` on the command line."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frex.restore import FaceRestorer as FaceRestorer
    from frex.restore import Selection as Selection

__version__ = '0.1.0'

PUBLIC = ('FaceRestorer', 'Selection')


def __getattr__(name: str) -> Any:
    """Import a public class when it is first used: commands that only list files start without torch."""
    if name not in PUBLIC:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from frex import restore

    return getattr(restore, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *PUBLIC])
