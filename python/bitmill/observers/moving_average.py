# SPDX-License-Identifier: MIT
"""A moving average of the ranges of batches."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill._results import Range
from bitmill.observers.base import Observer
from bitmill.observers.batch import Batch
from bitmill.observers.minmax import is_empty
from bitmill.observers.state import State


class MovingAverage(Observer):
    """The ranges of batches, averaged so that later ones count for more.

    The first batch sets min and max; each later one moves them by min += c · (its min − min), in
    float64, where c is `averaging_constant`: torch's MovingAverageMinMaxObserver, whose numbers are
    float32. A channel without finite values in a batch stays as it is. The result depends on the
    order of batches, so that there is no merging: `merge` raises TypeError.

    Raises TypeError or ValueError for an `averaging_constant` that is not in 0 ≤ c ≤ 1.

    >>> import bitmill as bm, numpy as np
    >>> observer = bm.observers.MovingAverage(0.5)
    >>> for most in (1.0, 3.0):
    ...     observer.update(np.array([0.0, most], np.float32))
    >>> observer.range.max
    array([2.], dtype=float32)
    """

    _OPTIONS = ("averaging_constant", "axis")

    def __init__(self, averaging_constant: float = 0.01, *, axis: int | None = None) -> None:
        self.averaging_constant = _check.between(averaging_constant, "averaging_constant", 0, 1)
        super().__init__(axis=axis)

    def merge(self, other: Observer) -> NoReturn:
        """Raises TypeError: an average of batches in their order has no merging."""
        raise TypeError(
            "MovingAverage depends on the order of batches and cannot be merged: use "
            "observers.MinMax or observers.Histogram"
        )

    def _empty(self, channels: int) -> State:
        return {"min": np.full(channels, np.inf), "max": np.full(channels, -np.inf)}

    def _plus(self, state: State, batch: Batch) -> State:
        return {
            name: self._moved(state[name], ends.astype(np.float64))
            for name, ends in zip(("min", "max"), batch.range, strict=True)
        }

    def _moved(self, before: Array, ends: Array) -> Array:
        """An average by the ends of the ranges of a batch; what is infinite is not there."""
        with np.errstate(invalid="ignore"):
            moved = before + self.averaging_constant * (ends - before)
        return np.where(np.isinf(before), ends, np.where(np.isinf(ends), before, moved))

    def _merged(self, state: State, other: State) -> NoReturn:
        raise NotImplementedError

    def _validate(self, state: State, channels: int) -> None:
        super()._validate(state, channels)
        is_empty(self._seen(state))

    def _seen(self, state: State) -> Range:
        with np.errstate(over="ignore"):  # of states from elsewhere, which are refused
            lo, hi = (state[name].astype(np.float32) + np.float32(0) for name in ("min", "max"))
        return Range(lo, hi)
