# SPDX-License-Identifier: MIT
"""What is known of values that are never there at once: counts in bins, and moments.

Observers gather them for each channel; `Clip.fit_histograms` and `Clip.fit_moments` go by them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array
from bitmill._results import Range

_LEAST, _BITS = -149, 24  # exponent of the least float32; bits of a normal one


class Window(NamedTuple):
    """Where the bins of each channel lie, int32 [channels]: x is in bin floor(x / 2^exponent)."""

    exponent: Array
    first: Array
    """The bin of the least value."""
    last: Array
    """The bin of the greatest one."""


def window(seen: Range, bins: int) -> Window:
    """The window of at most `bins` bins for values with these ranges, float32 [channels].

    2^exponent is the least width with floor(max / 2^exponent) − floor(min / 2^exponent) < bins that
    is not below the distance of float32 neighbours at max |x|, nor 2^−149. So it depends on min and
    max alone and grows with the range, and the counts of a wider window are those of a narrower one
    with pairs of bins added up. A channel without values (min = inf, max = −inf) has that of 0.

    >>> window(Range(np.float32([-1, 5, 0]), np.float32([1, 5, 0])), 2048)[0].tolist()
    [-9, -21, -149]
    """
    return _window(seen.min.tobytes(), seen.max.tobytes(), bins)


@lru_cache(maxsize=32)
def _window(lo: bytes, hi: bytes, bins: int) -> Window:
    """Kept, for most batches change no range: finding it took half of a small update."""
    least, most = (np.frombuffer(ends, np.float32) for ends in (lo, hi))
    empty = np.isinf(most)
    # By a kernel: NumPy would obey a mode of the caller that takes subnormal values for zero.
    both = np.stack([np.where(empty, 0, least), np.where(empty, 0, most)])
    low, high = kernels.from_float32(both, "float64", num_threads=1)
    magnitude = np.maximum(-low, high)
    finest = np.where(magnitude == 0, _LEAST, np.maximum(np.frexp(magnitude)[1] - _BITS, _LEAST))
    # As narrow as the range allows, or a little too narrow.
    fitting = np.frexp((high - low) / (bins + 1))[1] - 1
    exponent = np.where(low == high, finest, np.maximum(fitting, finest))
    while (narrow := _index(high, exponent) - _index(low, exponent) >= bins).any():
        exponent = exponent + narrow
    ends = (exponent, _index(low, exponent), _index(high, exponent))
    found = Window(*(part.astype(np.int32) for part in ends))
    for part in found:
        part.flags.writeable = False
    return found


def _index(x: Array, exponent: Array) -> Array:
    index: Array = np.floor(np.ldexp(x, -exponent))
    return index


@dataclass(frozen=True, eq=False)
class Bins:
    """A histogram: how many values lie in each of some neighbouring bins of one width.

    Bin i holds the x with floor(x / 2^exponent) = first + i. So 0.0 is the edge before bin −first,
    if there is one. `min` and `max` are the least and greatest value, exactly; they lie in the
    first and the last bin.
    """

    exponent: int
    first: int
    counts: Array
    """int64 [bins]."""
    min: float
    max: float

    @property
    def width(self) -> float:
        """Of a bin: a power of two."""
        return math.ldexp(1.0, self.exponent)

    @property
    def edges(self) -> Array:
        """Where the bins begin and end, exactly: float64 [bins + 1]."""
        at = np.arange(self.first, self.first + len(self.counts) + 1, dtype=np.float64)
        return np.ldexp(at, self.exponent)

    @property
    def centres(self) -> Array:
        """The middle of each bin: float64 [bins]."""
        edges = self.edges
        middle: Array = edges[:-1] + self.width / 2
        return middle

    @property
    def total(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    def magnitudes(self) -> Bins:
        """The histogram of |x|, in bins of the same width.

        Negative values that are edges are counted one bin too low, and where values have both signs
        `min` is the edge below the least magnitude.

        >>> Bins(0, -2, np.array([1, 2, 4]), -1.5, 0.25).magnitudes().counts
        array([6, 1])
        """
        index = np.arange(self.first, self.first + len(self.counts))
        folded = np.where(index < 0, -1 - index, index)
        first = int(folded.min())
        counts = np.zeros(int(folded.max()) - first + 1, np.int64)
        np.add.at(counts, folded - first, self.counts)
        nearest = math.ldexp(first + int(np.flatnonzero(counts)[0]), self.exponent)
        least = nearest if self.min < 0 < self.max else min(abs(self.min), abs(self.max))
        return Bins(self.exponent, first, counts, least, max(-self.min, self.max))

    def percentile(self, p: float) -> float:
        """`np.percentile` of the values, by the method "linear", to within a bin.

        The values of a bin are taken to be spread evenly over it. 0 gives `min`, 100 `max`.

        >>> Bins(0, 0, np.array([1, 2, 1]), 0.5, 2.75).percentile(50)
        1.5
        """
        rank = p / 100 * (self.total - 1)
        lower = self._in_order(int(rank))
        return lower + (rank - int(rank)) * (self._in_order(math.ceil(rank)) - lower)

    def _in_order(self, rank: int) -> float:
        """Where the value with this many before it is likely to be."""
        if rank <= 0:
            return self.min
        up_to = np.cumsum(self.counts)
        if rank >= up_to[-1] - 1:
            return self.max
        bin = int(np.searchsorted(up_to, rank, side="right"))
        count = int(self.counts[bin])
        within = (rank - (int(up_to[bin]) - count) + 0.5) / count
        return min(max((self.first + bin + within) * self.width, self.min), self.max)


@dataclass(frozen=True)
class Moments:
    """Averages over many values; `zeros` of the `count` are 0."""

    count: int
    zeros: int
    mean: float
    mean_abs: float
    """Mean |x|, about 0 and not about the mean: that would take a second pass."""
    mean_square: float
    std: float
    """Standard deviation of the population."""
    min: float
    max: float


def full_ranges(known: Iterable[Bins | Moments], shape: tuple[int, ...]) -> Range:
    """The least and greatest values of all, in this shape.

    >>> full_ranges([Bins(0, 0, np.array([2, 1]), 0.5, 1.25)], (1, 1))
    Range(min=array([[0.5]], dtype=float32), max=array([[1.25]], dtype=float32))
    """
    ends = np.array([(one.min, one.max) for one in known]).reshape(-1, 2)
    return Range(*kernels.to_float32(np.ascontiguousarray(ends.T)).reshape(2, *shape))
