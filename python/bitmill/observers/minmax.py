# SPDX-License-Identifier: MIT
"""The least and greatest value of all batches."""

from __future__ import annotations

import numpy as np

from bitmill._dtypes import Array
from bitmill._results import Range
from bitmill.clip import merge
from bitmill.observers.base import Observer
from bitmill.observers.batch import Batch
from bitmill.observers.state import State, require


class MinMax(Observer):
    """The least and greatest value: exact, and the same in whatever order states are merged.

    Raises TypeError or ValueError for an `axis` that is none.

    >>> import bitmill as bm, numpy as np
    >>> observer = bm.observers.MinMax()
    >>> observer.update(np.array([0.5, -1.27], np.float32))
    >>> observer.update(np.array([[0.25, np.nan]], np.float32))
    >>> observer
    <MinMax: count=3, nonfinite=1, batches=2>
    >>> observer.compute(bm.Affine(8, axis=None)).scale
    array([0.01], dtype=float32)
    """

    def _empty(self, channels: int) -> State:
        return unseen(channels)

    def _plus(self, state: State, batch: Batch) -> State:
        return wider(state, batch.range)

    def _merged(self, state: State, other: State) -> State:
        return wider(state, self._seen(other))

    def _validate(self, state: State, channels: int) -> None:
        super()._validate(state, channels)
        is_empty(self._seen(state))

    def _seen(self, state: State) -> Range:
        return Range(state["min"], state["max"])


def unseen(channels: int) -> State:
    """The range of nothing: inf … −inf, which any value makes its own."""
    infinite = np.full(channels, np.inf, np.float32)
    return {"min": infinite, "max": -infinite}


def is_empty(seen: Range) -> Array:
    """Which are the range of nothing. Raises ValueError unless all others are of finite values."""
    lo, hi = seen
    empty: Array = (lo == np.inf) & (hi == -np.inf)
    require(empty | (np.isfinite(lo) & np.isfinite(hi) & (lo <= hi)), "one of ranges")
    return empty


def wider(state: State, more: Range) -> State:
    """The range of what `state` and `more` are the ranges of."""
    found = merge(Range(state["min"], state["max"]), more)
    return {"min": found.min, "max": found.max}
