"""Cuts are noticed; noise, pans and slow changes are none."""

import numpy as np
from fake_detector import smooth
from films import moving

from frex.restore.film.cuts import CutState, compare


def scenes(frames):
    state, begun = CutState(), []
    for number, frame in enumerate(frames):
        state, is_cut = compare(state, frame)
        if is_cut:
            begun.append(number)
    return begun


def noisy(frame, seed, strength=30):
    noise = np.random.default_rng(seed).normal(0, strength, frame.shape)
    return (frame + noise).clip(0, 255).astype(np.uint8)


def test_a_film_of_one_scene_has_its_first_frame_only():
    assert scenes(moving(20)) == [0]


def test_noise_is_no_cut():
    assert scenes(noisy(frame, seed) for seed, frame in enumerate(moving(20))) == [0]


def test_a_cut_is_noticed_also_in_noise():
    frames = [*moving(8, seed=1), *moving(8, seed=2)]
    assert scenes(frames) == [0, 8]
    assert scenes(noisy(frame, seed) for seed, frame in enumerate(frames)) == [0, 8]


def test_a_fast_pan_is_no_cut():
    whole = smooth(120, 2000, 3)
    assert scenes(np.ascontiguousarray(whole[:, 12 * number : 12 * number + 160]) for number in range(20)) == [0]


def test_a_slow_fade_is_no_cut():
    first, second = moving(1, seed=1)[0], moving(1, seed=2)[0]
    mixed = [(first * (1 - share) + second * share).astype(np.uint8) for share in np.linspace(0, 1, 30)]
    assert scenes(mixed) == [0]


def test_films_of_16_bits_are_compared_alike():
    frames = [*moving(4, seed=1), *moving(4, seed=2)]
    assert scenes(frame.astype(np.uint16) * 257 for frame in frames) == scenes(frames)
