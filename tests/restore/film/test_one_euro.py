"""The One-Euro filter equals the algorithm of its paper, written out for one number."""

import math

import numpy as np
import pytest

from frex.restore.film.one_euro import OneEuroFilter, smoothing_factor


def filter_by_the_paper(samples, times, min_cutoff, beta, derivative_cutoff):
    """Algorithm 1 of Casiez et al. 2012, with the rate between two samples."""
    filtered, value, derivative = [], None, 0.0
    for index, sample in enumerate(samples):
        if value is None:
            value = sample
        else:
            rate = 1 / (times[index] - times[index - 1])
            slope = (sample - value) * rate
            weight = 1 / (1 + rate / (2 * math.pi * derivative_cutoff))
            derivative = weight * slope + (1 - weight) * derivative
            weight = 1 / (1 + rate / (2 * math.pi * (min_cutoff + beta * abs(derivative))))
            value = weight * sample + (1 - weight) * value
        filtered.append(value)
    return filtered


def run(given, samples, times, unit=1.0):
    state, filtered = None, []
    for sample, time in zip(samples, times, strict=True):
        state = given.step(state, np.atleast_1d(np.array(sample, float)), time, unit)
        filtered.append(state.values)
    return np.array(filtered)


@pytest.mark.parametrize(('min_cutoff', 'beta', 'derivative_cutoff'), [(1.0, 0.0, 1.0), (0.5, 3.0, 1.0), (2.0, 0.7, 4.0)])
def test_it_is_the_papers(min_cutoff, beta, derivative_cutoff):
    rng = np.random.default_rng(0)
    # Times as those of a film with a variable frame rate.
    times = np.cumsum(rng.uniform(0.01, 0.1, 60))
    samples = np.stack([np.sin(times * 3), 0.1 * rng.standard_normal(60)], axis=1)
    found = run(OneEuroFilter(min_cutoff, beta, derivative_cutoff), samples, times)
    for column in range(2):
        expected = filter_by_the_paper(samples[:, column], times, min_cutoff, beta, derivative_cutoff)
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-12, atol=1e-12)


def test_a_low_pass_filter_reaches_63_percent_of_a_step_in_its_time_constant():
    """Without beta it is one of first order: after 1 / (2 pi f) seconds it has made 1 - 1/e of a step."""
    times = np.arange(0, 0.2, 5e-4)
    found = run(OneEuroFilter(2.0, 0.0), [0.0, *[1.0] * (len(times) - 1)], times)[:, 0]
    after = np.searchsorted(times, 1 / (2 * math.pi * 2.0))
    assert found[after] == pytest.approx(1 - 1 / math.e, abs=5e-3)


def test_speed_opens_the_filter():
    times = np.arange(50) / 25
    slow, fast = (run(OneEuroFilter(1.0, beta), times * 4, times)[-1, 0] for beta in (0.0, 10.0))
    assert times[-1] * 4 - slow > 0.5
    assert times[-1] * 4 - fast < 0.05


def test_speeds_are_measured_in_the_given_unit():
    times, samples = np.arange(20) / 25, np.random.default_rng(0).standard_normal(20)
    large = run(OneEuroFilter(1.0, 2.0), 50 * samples, times, unit=50.0)
    np.testing.assert_allclose(large, 50 * run(OneEuroFilter(1.0, 2.0), samples, times), rtol=1e-12)


def test_a_sample_of_the_same_time_changes_nothing():
    given = OneEuroFilter(1.0, 0.0)
    state = given.step(None, np.array([1.0]), 2.0)
    assert given.step(state, np.array([9.0]), 2.0) == state


def test_the_smoothing_factor_is_that_of_the_paper():
    assert smoothing_factor(1.0, 1 / (2 * math.pi)) == pytest.approx(0.5)
