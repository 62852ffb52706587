# SPDX-License-Identifier: MIT
"""How much the input channels of a layer matter: their mean squares."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from bitmill._dtypes import Array
from bitmill._results import Range
from bitmill.observers.base import Observer
from bitmill.observers.batch import Batch
from bitmill.observers.state import State, require
from bitmill.observers.sums import UNIT, no_sums, square_sums


class Importance(Observer):
    """Σx² over all tokens, for each channel of the last axis: what an error of a weight costs.

    Summed as by `Moments`, so that states merge in any order. It gives no parameters: `compute`
    raises TypeError.

    >>> import bitmill as bm, numpy as np
    >>> observer = bm.observers.Importance()
    >>> observer.update(np.array([[1.0, 2.0], [3.0, 0.0]], np.float32))
    >>> observer.importance
    array([5., 2.], dtype=float32)
    """

    _OPTIONS = ()

    def __init__(self) -> None:
        super().__init__(axis=-1)

    @property
    def importance(self) -> Array:
        """The mean of x² over the tokens, float32 [channels].

        Raises ValueError before the first finite value, and for a channel that has none.
        """
        self._full()
        pairs = zip(self._state["squares"], self._state["count"], strict=True)
        return np.array([square / (int(count) * UNIT) for square, count in pairs], np.float32)

    def compute(self, scheme: Any) -> NoReturn:
        """Raises TypeError: squares tell no range."""
        raise TypeError(
            "Importance gives no parameters: pass its .importance to bm.quantize, or use "
            "observers.MinMax"
        )

    def _empty(self, channels: int) -> State:
        return {"count": np.zeros(channels, np.int64), "squares": no_sums(channels)}

    def _plus(self, state: State, batch: Batch) -> State:
        rows, finite = batch.finite_rows
        return self._merged(
            state, {"count": finite, "squares": square_sums(rows, batch.num_threads)}
        )

    def _merged(self, state: State, other: State) -> State:
        return {name: state[name] + other[name] for name in state}

    def _validate(self, state: State, channels: int) -> None:
        super()._validate(state, channels)
        require((state["count"] >= 0) & (state["squares"] >= 0), "one of squares")

    def _seen(self, state: State) -> Range:
        found = np.where(state["count"] > 0, np.float32(0), np.float32(np.inf))
        return Range(found, found)
