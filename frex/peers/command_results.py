"""Find the result of each face among the images that a command has written, by their file names."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from frex.data.sources import has_image_name
from frex.errors import FRExError
from frex.utils.text import abbreviate

# In a pattern for the names of results, this stands for the name of a face without suffix.
NAME_PLACEHOLDER = '{name}'
# The folder in which GFPGAN and CodeFormer write single faces, and what GFPGAN adds to their names.
FACES_FOLDER, FACE_SUFFIX = 'restored_faces', '_00'

Results = Mapping[str, Sequence[PurePosixPath]]


def list_outputs(folder: Path) -> list[PurePosixPath]:
    """Return the images in and below `folder`, as sorted paths relative to it."""
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob('*')) if path.is_file())
    return [PurePosixPath(name) for name in names if has_image_name(name)]


def find_results(stems: Iterable[str], outputs: Sequence[PurePosixPath], pattern: str | None) -> tuple[Results, str | None]:
    """Return the images that may be the result of each face, and the pattern of their names.

    `stems` are the names of the faces without suffix, `outputs` the images that the command wrote. Without a `pattern` two are tried. The
    first is the name of the face alone, or followed by `_00` in GFPGAN's folder `restored_faces`; the returned pattern is None then. The
    second is `{name}_WORD` with one word for all faces. Raises FRExError, which lists what was written, where no image is named after a
    face, or where several patterns are possible.
    """
    faces = set(stems)
    if pattern is not None:
        found = _match_pattern(pattern, faces, outputs)
        if not found:
            raise FRExError(f'the command wrote no image whose name matches --results {pattern}; {describe_outputs(outputs)}')
        return found, pattern
    with_usual_name = _match_usual_names(faces, outputs)
    if with_usual_name:
        return with_usual_name, None
    by_word = _group_by_suffix(faces, outputs)
    word = _choose_suffix(by_word, len(faces), outputs)
    return by_word[word], f'{NAME_PLACEHOLDER}{word}'


def choose_result(stem: str, results: Results) -> PurePosixPath:
    """Return the only candidate for the result of the face `stem`; raise FRExError where there is none, or several."""
    found = results.get(stem, ())
    if not found:
        raise FRExError(f'the command wrote no image {stem}')
    if len(found) > 1:
        raise FRExError(f'the command wrote several images of it: {", ".join(map(str, found))}')
    return found[0]


def _match_pattern(pattern: str, faces: set[str], outputs: Iterable[PurePosixPath]) -> Results:
    """Return the images whose names match `pattern`, by face; folders before the pattern and the file suffix after it are optional."""
    before, _, after = pattern.partition(NAME_PLACEHOLDER)
    form = re.compile(rf'(?:.*/)?{re.escape(before)}(?P<name>[^/]+){re.escape(after)}')
    found = defaultdict(list)
    for path in outputs:
        matches = (form.fullmatch(text) for text in (path.with_suffix('').as_posix(), path.as_posix()))
        name = next((match['name'] for match in matches if match and match['name'] in faces), None)
        if name is not None:
            found[name].append(path)
    return found


def _match_usual_names(faces: set[str], outputs: Sequence[PurePosixPath]) -> Results:
    """Return the images that have the name of their face, by face.

    Images in GFPGAN's folder `restored_faces`, where `_00` may follow the name, replace all others of the same face.
    """
    single_faces = [path for path in outputs if FACES_FOLDER in path.parts]
    numbered = _match_pattern(f'{NAME_PLACEHOLDER}{FACE_SUFFIX}', faces, single_faces)
    same = _match_pattern(NAME_PLACEHOLDER, faces, outputs)
    found = {}
    for stem in faces:
        in_folder = [path for path in same.get(stem, ()) if FACES_FOLDER in path.parts] + list(numbered.get(stem, ()))
        if candidates := in_folder or same.get(stem):
            found[stem] = candidates
    return found


def _group_by_suffix(faces: set[str], outputs: Iterable[PurePosixPath]) -> dict[str, Results]:
    """Return the images named `{name}_WORD`, by `_WORD` and face; where two faces' names fit, the longer one counts."""
    found: dict[str, dict[str, list[PurePosixPath]]] = defaultdict(lambda: defaultdict(list))
    for path in outputs:
        cuts = [match.start() for match in re.finditer('_', path.stem)]
        cut = next((cut for cut in reversed(cuts) if path.stem[:cut] in faces), None)
        if cut is not None:
            found[path.stem[cut:]][path.stem[:cut]].append(path)
    return dict(found)


def _choose_suffix(words: Mapping[str, Results], faces: int, outputs: Sequence[PurePosixPath]) -> str:
    """Return the only `_WORD`, or the only one that all faces have an image with; raise FRExError where there is none, or several.

    `faces` is the number of faces.
    """
    if not words:
        raise FRExError(f'no image that the command wrote is named after a face; {describe_outputs(outputs)}')
    candidates = list(words) if len(words) == 1 else [word for word, found in words.items() if len(found) == faces]
    if len(candidates) != 1:
        kinds = ', '.join(f'{NAME_PLACEHOLDER}{word} ({len(words[word])} of {faces})' for word in words)
        raise FRExError(f'the command wrote several kinds of images: {kinds}; choose one by --results NAME={NAME_PLACEHOLDER}_WORD')
    return candidates[0]


def describe_outputs(outputs: Sequence[PurePosixPath]) -> str:
    """Describe for an error message which images the command wrote."""
    return f'it wrote {abbreviate([str(path) for path in outputs])}; see --results'
