"""The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012), which steadies noisy numbers and follows fast changes with little lag."""

import math

import numpy as np
from jaxtyping import Float
from msgspec import Struct

Values = Float[np.ndarray, ' values']


class FilterState(Struct):
    """What a filter remembers: the time of the last sample in seconds, the filtered values, and their filtered derivatives."""

    time: float
    values: list[float]
    derivatives: list[float]


class OneEuroFilter(Struct, frozen=True):
    """The parameters of a filter, which keeps no state of its own.

    `min_cutoff` is the cut-off frequency in Hz at rest, and `beta` how fast it rises with the speed, in Hz for each unit per second.
    `derivative_cutoff` is the cut-off frequency in Hz of the derivatives.
    """

    min_cutoff: float
    beta: float
    derivative_cutoff: float = 1.0

    def step(self, state: FilterState | None, values: Values, time: float, unit: float = 1.0) -> FilterState:
        """Return the state after one more sample; its `values` are the filtered ones. `state` is None before the first sample.

        Each number is filtered for itself. Speeds are measured in `unit`s per second. Of a sample that is not later than the last one
        nothing is taken.
        """
        if state is None:
            return FilterState(time, values.tolist(), [0.0] * len(values))
        seconds = time - state.time
        if seconds <= 0:
            return state
        last = np.array(state.values)
        # The derivative is taken from the last filtered value, as in the paper's algorithm 1.
        derivatives = _mix(np.array(state.derivatives), (values - last) / seconds, smoothing_factor(self.derivative_cutoff, seconds))
        cutoff = self.min_cutoff + self.beta * np.abs(derivatives) / unit
        return FilterState(time, _mix(last, values, smoothing_factor(cutoff, seconds)).tolist(), derivatives.tolist())


def smoothing_factor(cutoff: float | Values, seconds: float) -> float | Values:
    """Return the weight of a new sample, 0 to 1, in a low-pass filter of this cut-off frequency in Hz, `seconds` after the last one."""
    time_constant = 1 / (2 * math.pi * cutoff)
    return 1 / (1 + time_constant / seconds)


def _mix(last: Values, new: Values, factor: float | Values) -> Values:
    return last + factor * (new - last)
