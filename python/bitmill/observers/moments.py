# SPDX-License-Identifier: MIT
"""Moments of all batches."""

from __future__ import annotations

import math

import numpy as np

from bitmill import summaries
from bitmill._results import AffineParams, Range
from bitmill.clip import Clip
from bitmill.grid import Grid, View
from bitmill.observers.base import Observer
from bitmill.observers.batch import Batch
from bitmill.observers.minmax import is_empty, unseen, wider
from bitmill.observers.state import State, require
from bitmill.observers.sums import UNIT, moment_sums, no_sums


class Moments(Observer):
    """Number, Σx, Σ|x|, Σx², min and max, for clips that go by mean and deviation.

    Every batch is summed in double in a fixed order (pieces of 262,144 values of a channel, and in
    them as `bitmill.reference.error_sums`), and these sums exactly: so the result depends on how
    values are cut into batches, in the last bits, but not on the order in which states are merged.

    `compute` takes the clips "minmax", "aciq" and "meanstd". A Laplace density is fitted by mean
    |x|, about 0, and not by the deviation from the mean, which would take a second pass over all
    batches: for values about 0, or of one sign, as for symmetric grids and after a ReLU, that is
    what is wanted.

    >>> import bitmill as bm, numpy as np
    >>> observer = bm.observers.Moments()
    >>> observer.update(np.array([1.0, -1.0, 3.0], np.float32))
    >>> observer.update(np.array([1.0, 0.0], np.float32))
    >>> found = observer.moments()
    >>> found.mean, found.mean_abs, found.mean_square, found.zeros
    (0.8, 1.2, 2.4, 1)
    """

    def moments(self, channel: int = 0) -> summaries.Moments:
        """The averages, of one channel if there is an `axis`.

        Raises ValueError before the first finite value, IndexError for a channel that is not there.
        """
        full = self._full()
        channel = range(full.min.size)[channel]
        count, zeros = (int(self._state[name][channel]) for name in ("count", "zeros"))
        x, absolute, square = (int(sum) for sum in self._state["sums"][:, channel])
        # In whole numbers, so that a large mean takes nothing from a small deviation.
        variance = max(0, count * square * UNIT - x * x) / (count * UNIT) ** 2
        units = count * UNIT
        return summaries.Moments(
            count=count,
            zeros=zeros,
            mean=x / units,
            mean_abs=absolute / units,
            mean_square=square / units,
            std=math.sqrt(variance),
            min=float(full.min[channel]),
            max=float(full.max[channel]),
        )

    @staticmethod
    def informs(clip: Clip) -> bool:
        """Whether `clip` goes by moments."""
        return clip.by_moments

    def _fitted(self, clip: Clip, channels: View, grid: Grid) -> AffineParams:
        each = map(self.moments, range(math.prod(channels.params)))
        return clip.fit_moments(each, channels, grid)

    def _empty(self, channels: int) -> State:
        nothing = np.zeros(channels, np.int64)
        sums = np.stack([no_sums(channels)] * 3)
        return unseen(channels) | {"count": nothing, "zeros": nothing, "sums": sums}

    def _plus(self, state: State, batch: Batch) -> State:
        rows, finite = batch.finite_rows
        *sums, zeros = moment_sums(rows, batch.num_threads)
        skipped = rows.shape[1] - finite  # which are zeros in `rows`
        zeros = (zeros // UNIT).astype(np.int64) - skipped
        more = {"count": finite, "zeros": zeros, "sums": np.stack(sums)}
        return _added(state, more) | wider(state, batch.range)

    def _merged(self, state: State, other: State) -> State:
        return _added(state, other) | wider(state, self._seen(other))

    def _validate(self, state: State, channels: int) -> None:
        super()._validate(state, channels)
        count, zeros, (x, absolute, square) = (state[k] for k in ("count", "zeros", "sums"))
        require((count > 0) != is_empty(self._seen(state)), "one of ranges and counts")
        require((zeros >= 0) & (zeros <= count), "one that counts zeros")
        require((abs(x) <= absolute) & (square >= 0), "one of such sums")

    def _seen(self, state: State) -> Range:
        return Range(state["min"], state["max"])


def _added(state: State, more: State) -> State:
    return {name: state[name] + more[name] for name in ("count", "zeros", "sums")}
