"""What a command made of each face, told by the names of its images."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from frex.data.sources import is_image
from frex.errors import FRExError
from frex.utils.text import first_of

# Stands for the name of a face, without suffix, in what the user says of the names of results.
PLACE = '{name}'
# Where GFPGAN and CodeFormer put the faces alone, and what GFPGAN adds to their names.
FACES_FOLDER, FACE_SUFFIX = 'restored_faces', '_00'

Results = Mapping[str, Sequence[PurePosixPath]]


def pictures_in(folder: Path) -> list[PurePosixPath]:
    """Relative to `folder`."""
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob('*')) if path.is_file())
    return [PurePosixPath(name) for name in names if is_image(name)]


def find_results(stems: Iterable[str], made: Sequence[PurePosixPath], pattern: str | None) -> tuple[Results, str | None]:
    """The images that could be the result of each of `stems`, faces' names without suffix, and the pattern they are called by.

    Without a `pattern` it is None where some are called as their face, else `{name}_WORD`, where there is one such. Raises
    FRExError, which says what there is, where no image is called after a face, and where they are after several patterns.
    """
    faces = set(stems)
    if pattern is not None:
        found = _called(pattern, faces, made)
        if not found:
            raise FRExError(f'the command made no image that is called as --results says, {pattern}; {describe_outputs(made)}')
        return found, pattern
    usual = _called_as_usual(faces, made)
    if usual:
        return usual, None
    words = _by_word(faces, made)
    word = _only_word(words, len(faces), made)
    return words[word], f'{PLACE}{word}'


def chosen(stem: str, results: Results) -> PurePosixPath:
    """The one image that was made of a face; raises FRExError where there is none, or several."""
    found = results.get(stem, ())
    if not found:
        raise FRExError(f'the command made no image {stem}')
    if len(found) > 1:
        raise FRExError(f'the command made several images of it: {", ".join(map(str, found))}')
    return found[0]


def _called(pattern: str, faces: set[str], made: Iterable[PurePosixPath]) -> Results:
    """`pattern` may have folders before it, and lack the suffix of the file."""
    before, _, after = pattern.partition(PLACE)
    form = re.compile(rf'(?:.*/)?{re.escape(before)}(?P<name>[^/]+){re.escape(after)}')
    found = defaultdict(list)
    for path in made:
        matches = (form.fullmatch(text) for text in (path.with_suffix('').as_posix(), path.as_posix()))
        name = next((match['name'] for match in matches if match and match['name'] in faces), None)
        if name is not None:
            found[name].append(path)
    return found


def _called_as_usual(faces: set[str], made: Sequence[PurePosixPath]) -> Results:
    """By the name of the face; in `restored_faces`, where GFPGAN numbers it, rather than elsewhere."""
    alone = [path for path in made if FACES_FOLDER in path.parts]
    numbered, same = _called(f'{PLACE}{FACE_SUFFIX}', faces, alone), _called(PLACE, faces, made)
    found = {}
    for stem in faces:
        in_folder = [path for path in same.get(stem, ()) if FACES_FOLDER in path.parts] + list(numbered.get(stem, ()))
        if candidates := in_folder or same.get(stem):
            found[stem] = candidates
    return found


def _by_word(faces: set[str], made: Iterable[PurePosixPath]) -> dict[str, Results]:
    """By the `_WORD` that follows the name of a face; of two faces that it could be of, the one with the longer name."""
    found: dict[str, dict[str, list[PurePosixPath]]] = defaultdict(lambda: defaultdict(list))
    for path in made:
        cuts = [match.start() for match in re.finditer('_', path.stem)]
        cut = next((cut for cut in reversed(cuts) if path.stem[:cut] in faces), None)
        if cut is not None:
            found[path.stem[cut:]][path.stem[:cut]].append(path)
    return dict(found)


def _only_word(words: Mapping[str, Results], faces: int, made: Sequence[PurePosixPath]) -> str:
    """The only one, or the only one that every face has."""
    if not words:
        raise FRExError(f'no image that the command made is called after a face; {describe_outputs(made)}')
    candidates = list(words) if len(words) == 1 else [word for word, found in words.items() if len(found) == faces]
    if len(candidates) != 1:
        kinds = ', '.join(f'{PLACE}{word} ({len(words[word])} of {faces})' for word in words)
        raise FRExError(f'the command made several kinds of images: {kinds}; say which by --results NAME={PLACE}_WORD')
    return candidates[0]


def describe_outputs(made: Sequence[PurePosixPath]) -> str:
    return f'it made {first_of([str(path) for path in made])}; see --results'
