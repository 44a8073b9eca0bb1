"""Choose names for results that are unique and short enough for a file system."""

import os
from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2s
from pathlib import Path, PurePath, PurePosixPath

# The limit of most file systems for a name, less what `frex.utils.files.write_atomically` appends.
MOST_BYTES = 255 - len('.01234567.part')


def unique_names(files: Sequence[tuple[Path, PurePath]]) -> list[PurePosixPath]:
    """Return a unique name for each file, given its absolute path and the last parts of that path, which should be its name.

    A name has no suffix. Where names clash they get their suffix, then one more folder in front, and so on until all are unique.
    """
    levels = [0] * len(files)
    while True:
        names = [_name(path, relative, level) for (path, relative), level in zip(files, levels, strict=True)]
        holders = defaultdict(list)
        for index, name in enumerate(names):
            holders[name].append(index)
        clashes = [indices for indices in holders.values() if len(indices) > 1]
        if not clashes:
            return names
        for indices in clashes:
            lowest = min(levels[index] for index in indices)
            for index in indices:
                levels[index] += levels[index] == lowest


def _name(path: Path, relative: PurePath, level: int) -> PurePosixPath:
    folders, with_suffix = divmod(level, 2)
    name = PurePosixPath(*path.parts[1:][-len(relative.parts) - folders :])
    # `..png` would have an empty name without its suffix.
    return name if with_suffix or name.stem == '.' else name.with_suffix('')


def shorten_name(name: str, most: int) -> str:
    """Return `name` in at most `most` bytes; a longer one is cut and ends with `~` and a hash of the whole name."""
    if len(os.fsencode(name)) <= most:
        return name
    end = f'~{blake2s(os.fsencode(name), digest_size=4).hexdigest()}'
    start = name
    while len(os.fsencode(start)) > most - len(end):
        start = start[:-1]
    return start + end
