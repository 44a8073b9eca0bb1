"""`frex cameras compare`: print by how many degrees the cameras in two label files differ."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from frex.data.labels import CameraLabel, drop_bare_names, match_labels, read_labels, view_angles_in_degrees
from frex.errors import FRExError
from frex.utils.text import abbreviate, in_columns

COLUMNS = ('yaw', 'pitch', 'roll', 'rotation')
SUMMARIES: dict[str, Callable[..., np.ndarray]] = {'mean': np.mean, 'median': np.median, 'max': np.max}


@dataclass(frozen=True)
class CompareOptions:
    """The two label files to compare."""

    a: Path
    b: Path


def compare_labels(options: CompareOptions) -> int:
    """Print the differences for each image that both files label, their mean, median and maximum, and the names that only one file has.

    Returns 0. Raises FRExError where the files have no name in common.
    """
    first, second = (read_labels(path).cameras for path in (options.a, options.b))
    names = drop_bare_names(first)
    both = {name: compute_angle_errors(first[name], other) for name, other in match_labels(second, names).items()}
    if not both:
        raise FRExError(f'{options.a} and {options.b} share no name ({abbreviate(list(first))} against {abbreviate(list(second))})')
    errors = np.stack(list(both.values()))
    rows = [('IMAGE', *(name.upper() for name in COLUMNS))]
    rows += [(name, *(f'{degrees:+.1f}' for degrees in error[:3]), f'{error[3]:.1f}') for name, error in both.items()]
    rows += [(name, *(f'{degrees:.1f}' for degrees in summary(np.abs(errors), axis=0))) for name, summary in SUMMARIES.items()]
    print('degrees, second file less first; mean, median and max are of their sizes')
    print('\n'.join(in_columns(rows)))
    for path, alone in (
        (options.a, names.keys() - both.keys()),
        (options.b, drop_bare_names(second).keys() - match_labels(first, drop_bare_names(second)).keys()),
    ):
        if alone:
            print(f'only in {path}: {len(alone)} ({abbreviate(sorted(alone))})')
    return 0


def compute_angle_errors(one: CameraLabel, other: CameraLabel) -> Float[np.ndarray, '4']:
    """Return the yaw, pitch and roll of `other` minus those of `one`, then the angle of the rotation between the two cameras, in degrees.

    The first three are signed and within 180 degrees; their signs are those of `frex_arch.camera.view_angles`.
    """
    first, second = (np.array(view_angles_in_degrees(camera)) for camera in (one, other))
    rotations = [camera[:16].reshape(4, 4)[:3, :3].astype(np.float64) for camera in (one, other)]
    # The angle comes from the chord between the rotations: unlike the arc cosine of a trace, it is exact for small angles.
    chord = np.linalg.norm(rotations[0] - rotations[1]) / np.sqrt(8)
    differences = (second - first + 180) % 360 - 180
    return np.array([*differences, np.degrees(2 * np.arcsin(min(1.0, chord)))])
