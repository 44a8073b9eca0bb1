"""Choose a degradation by preset and severity, of which there are five levels."""

from dataclasses import replace
from typing import Any

from frex.data.degradation import PRESETS, Degradation
from frex.errors import FRExError, nearest

LEVELS = 5


def choose_degradation(preset: str, severity: int | None) -> Degradation:
    """Return a preset, or one of its levels; raise FRExError where there is no such preset or level."""
    if preset not in PRESETS:
        raise FRExError(f'--preset {preset}: no such preset; {nearest(preset, list(PRESETS))}')
    if severity is None:
        return PRESETS[preset]
    if not 1 <= severity <= LEVELS:
        raise FRExError(f'--severity {severity}: a whole number from 1 to {LEVELS} is needed')
    return at_severity(PRESETS[preset], severity)


def at_severity(degradation: Degradation, level: int) -> Degradation:
    """Return one pass of Eq. 19 in which every step happens, with parameters from the `level`-th fifth of their ranges.

    An image has the same angles and the same noise seed at each level, and its parameters lie at the same position of each fifth. The
    noise itself differs, since downsampling leaves another size to fill.
    """
    d = degradation
    sizes = (min(d.motion_sizes), max(d.motion_sizes))
    low, high = _fifth(sizes, level)
    # Keep the number of sizes: then the random numbers that follow stay the same.
    last = max(1, len(d.motion_sizes) - 1)
    motion_sizes = tuple(low + (high - low) * number / last for number in range(len(d.motion_sizes)))
    best, worst = _fifth(d.jpeg_range[::-1], level)
    certain: dict[str, Any] = dict.fromkeys(('motion_prob', 'blur_prob', 'downsample_prob', 'noise_prob', 'jpeg_prob'), 1.0)
    return replace(
        d,
        **certain,
        motion_sizes=motion_sizes,
        blur_sigma=_fifth(d.blur_sigma, level),
        downsample_range=_fifth(d.downsample_range, level),
        noise_range=_fifth(d.noise_range, level),
        jpeg_range=(round(worst), round(best)),
        second_prob=0.0,
    )


def _fifth(ends: tuple[float, float], level: int) -> tuple[float, float]:
    """Return the `level`-th of five equal parts of the range from the first to the second of `ends`."""
    first, second = ends
    step = (second - first) / LEVELS
    return first + step * (level - 1), first + step * level
