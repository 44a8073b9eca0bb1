"""Names of results: unique, and short enough for a file system."""

import os
from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2s
from pathlib import Path, PurePath, PurePosixPath

# Most file systems' limit, less what `frex.utils.files.replacing` adds while a file is written.
MOST_BYTES = 255 - len('.01234567.part')


def unique_names(files: Sequence[tuple[Path, PurePath]]) -> list[PurePosixPath]:
    """A name for each file, given its absolute path and the end of it that shall be its name.

    Without suffix; where names clash, with it; where they still do, with one folder more in front, and so on.
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
    # `..png` would be left without a name.
    return name if with_suffix or name.stem == '.' else name.with_suffix('')


def shortened(name: str, most: int) -> str:
    """`name` in at most `most` bytes: where it is longer its start and a number made of all of it."""
    if len(os.fsencode(name)) <= most:
        return name
    end = f'~{blake2s(os.fsencode(name), digest_size=4).hexdigest()}'
    start = name
    while len(os.fsencode(start)) > most - len(end):
        start = start[:-1]
    return start + end
