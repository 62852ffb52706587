# SPDX-License-Identifier: MIT
"""A histogram of all batches."""

from __future__ import annotations

import math

from bitmill import _arguments, _check
from bitmill._results import AffineParams, Range
from bitmill.clip import Clip
from bitmill.grid import Grid, View
from bitmill.observers.base import Observer
from bitmill.observers.batch import Batch
from bitmill.observers.counting import added, bins_of, counted, uncounted, validate
from bitmill.observers.state import State
from bitmill.summaries import Bins


class Histogram(Observer):
    """Counts of values in at most `bins` bins, whose width is a power of two.

    The bin of x is floor(x / width), so that 0 is an edge, and the width is the least with which
    min and max fit: see `bitmill.summaries.window`. When the range grows, pairs of bins are added
    up, which gives the counts that wider bins would have had from the start. So the counts depend
    on the values alone: not on their order, on how they were cut into batches and over how many
    processes, nor on the order in which states are merged. They take 8·bins bytes a channel.

    `compute` takes the clips "minmax", by the exact min and max, and "percentile", "mse",
    "mse-exact" and "entropy", by the bins.

    Raises TypeError or ValueError for `bins` that are not 2 … 32,767.

    >>> import bitmill as bm, numpy as np
    >>> observer = bm.observers.Histogram(bins=8)
    >>> observer.update(np.array([0.5, 0.75, 1.0, -1.5, 0.5], np.float32))
    >>> observer.histogram().edges, observer.histogram().counts
    (array([-1.5, -1. , -0.5,  0. ,  0.5,  1. ,  1.5]), array([1, 0, 0, 0, 3, 1]))
    """

    _OPTIONS = ("bins", "axis")

    def __init__(self, bins: int = 2048, *, axis: int | None = None) -> None:
        self.bins = _check.integer(bins, "bins", low=2, high=_arguments.MAX_BINS)
        super().__init__(axis=axis)

    def histogram(self, channel: int = 0) -> Bins:
        """The counts, of one channel if there is an `axis`.

        Raises ValueError before the first finite value, IndexError for a channel that is not there.
        """
        self._full()
        return bins_of(self._state, range(len(self._state["min"]))[channel])

    @staticmethod
    def informs(clip: Clip) -> bool:
        """Whether `clip` goes by histograms."""
        return clip.by_histograms

    def _fitted(self, clip: Clip, channels: View, grid: Grid) -> AffineParams:
        each = map(self.histogram, range(math.prod(channels.params)))
        return clip.fit_histograms(each, channels, grid)

    def _empty(self, channels: int) -> State:
        return uncounted(channels, self.bins)

    def _plus(self, state: State, batch: Batch) -> State:
        return counted(state, batch.rows, batch.range, batch.num_threads)

    def _validate(self, state: State, channels: int) -> None:
        super()._validate(state, channels)
        validate(state)

    def _merged(self, state: State, other: State) -> State:
        return added(state, other)

    def _seen(self, state: State) -> Range:
        return Range(state["min"], state["max"])
