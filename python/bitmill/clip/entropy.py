# SPDX-License-Identifier: MIT
"""Ranges whose codes tell most about how the values were distributed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill._results import AffineParams, Range
from bitmill._sizes import group_count
from bitmill.clip.base import Clip
from bitmill.clip.clipped import fit_clipped
from bitmill.clip.entropy_threshold import entropy_threshold
from bitmill.clip.extremes import finite_ranges
from bitmill.clip.matrix import each_block, matrix_of
from bitmill.clip.moments import means
from bitmill.grid import Grid, View
from bitmill.summaries import Bins, full_ranges

_BINS = 2048
_CHUNK = 1 << 16  # values of one group that are counted at a time


@dataclass(frozen=True)
class Entropy(Clip):
    """The range of least Kullback-Leibler divergence between values and codes, by a histogram.

    The calibration of TensorRT and ONNX Runtime, for activations as a rule: see
    `bitmill.clip.entropy_threshold`. `bins` bins of one width lie on each side of a centre, up to
    the value farthest from it, and a whole number of them is kept on both sides:

    ==========  ======  =========================  =====================
    grid        centre  histogram                  levels
    ==========  ======  =========================  =====================
    symmetric   0       |x|                        qmax + 1
    asymmetric  0       two-sided, as far as data  qmax − qmin + 1
    offset      mean    two-sided, as far as data  qmax − qmin + 1
    ==========  ======  =========================  =====================

    Values of exactly 0 are not counted: with many of them, as after a ReLU, their bin would
    outweigh all others, and the narrowest range win. They are not clipped either: if 0 is within
    the data, it is within the range, of offset grids too.

    Groups with fewer values than levels, or grids with at least as many levels as bins (16 bits),
    have their full range. Each group takes a search of 0.5 to 10 ms: this is for tensors and
    channels, not for groups of 32. What is least is not the squared error, which at 8 bits may well
    be less without a clip. The result passes through log. In strings: "entropy", or
    "entropy:4096" for other numbers of bins.

    Raises TypeError for `bins` that are no int, ValueError for less than 16 or more than 65,536.

    >>> import bitmill as bm, numpy as np
    >>> x = np.append(np.linspace(-1, 1, 999), 40).astype(np.float32)
    >>> q = bm.quantize(x, bm.Affine(4, clip=bm.clip.Entropy()))
    >>> float(q.scale[0] * 7) < 2  # instead of 40
    True
    """

    name: ClassVar[str] = "entropy"
    by_histograms: ClassVar[bool] = True
    bins: int = _BINS

    def __post_init__(self) -> None:
        object.__setattr__(self, "bins", _check.integer(self.bins, "bins", low=16, high=1 << 16))

    def fit(
        self, x: Array, view: View, grid: Grid, *, num_threads: int | None = None
    ) -> AffineParams:
        """The scale rule of `grid` applied to that range of every group."""
        full = finite_ranges(x, view, num_threads=num_threads)
        centre = np.zeros(view.params)
        if grid.rule == "offset":
            centre = means(x, view)
        farthest = np.maximum(centre - full.min, full.max - centre)
        kept = self._kept_shares(x, view, grid, centre, farthest)
        # A share of 1 gives the full range, whatever the product rounds to: infinity is cut to it.
        return _fit(centre, np.where(kept == 1, np.inf, kept * farthest), full, view, grid)

    def fit_histograms(self, bins: Iterable[Bins], view: View, grid: Grid) -> AffineParams:
        """The same by the bins that are there, or by wider ones if they are more than `bins`.

        The bin that begins at 0, on symmetric grids also the one that ends there, is not counted,
        for it cannot tell which of its values are 0. The centre of offset grids is the edge next
        to the mean.
        """
        known = list(bins)
        found = np.array([self._by_bins(one, grid) for one in known])
        centre, reach = found.T.reshape(2, *view.params)
        return _fit(centre, reach, full_ranges(known, view.params), view, grid)

    def _by_bins(self, bins: Bins, grid: Grid) -> tuple[float, float]:
        """The centre, and how far the range reaches from it."""
        counts, edge = bins.counts.copy(), 0
        if grid.rule == "offset":
            mean = (bins.centres * counts).sum() / bins.total
            edge = round(math.ldexp(mean, -bins.exponent))
        index = np.arange(bins.first, bins.first + counts.size)
        counts[index == 0] = 0
        at = index - edge
        if grid.qmin < 0:
            counts[index == -1] = 0
            at = np.where(at < 0, -1 - at, at)
        below, above = max(0, -int(at.min())), max(0, int(at.max()) + 1)
        doublings = ((max(below, above) - 1) // self.bins).bit_length()
        at, below, above = at >> doublings, -(-below >> doublings), -(-above >> doublings)
        wider = np.zeros(below + above, np.int64)
        np.add.at(wider, at + below, counts)
        levels = grid.qmax + 1
        kept = entropy_threshold(wider, levels, below) if wider.sum() >= levels else math.inf
        if kept >= max(below, above):
            return math.ldexp(edge, bins.exponent), math.inf
        return math.ldexp(edge, bins.exponent), math.ldexp(kept, bins.exponent + doublings)

    def _kept_shares(
        self, x: Array, view: View, grid: Grid, centre: Array, farthest: Array
    ) -> Array:
        """How much of the way to the farthest value is kept, of every group."""
        matrix, group_size = matrix_of(x, view)
        shares = np.ones((matrix.shape[0], group_count(matrix.shape[1], group_size)))
        centre, farthest = centre.reshape(shares.shape), farthest.reshape(shares.shape)
        for place, values in each_block(matrix, group_size):
            found = shares[place]
            for at in np.ndindex(found.shape):
                end = farthest[place][at]
                if end > 0:
                    about = float(centre[place][at])
                    found[at] = self._kept_share(values[at], grid, about, float(end))
        return shares.reshape(view.params)

    def _kept_share(self, values: Array, grid: Grid, centre: float, farthest: float) -> float:
        counts = self._counts(values, centre, farthest)
        levels = grid.qmax + 1
        if grid.qmin < 0:
            counts, zero = counts[0] + counts[1], 0
        else:
            below, above = (np.trim_zeros(side, "b") for side in counts)
            counts, zero = np.concatenate([below[::-1], above]), below.size
        if counts.sum() < levels:
            return 1.0
        return entropy_threshold(counts, levels, zero) / self.bins

    def _counts(self, values: Array, centre: float, farthest: float) -> Array:
        """Values by their distance from the centre, below (row 0) and above it: [2, bins]."""
        counts = np.zeros(2 * self.bins, np.int64)
        width = farthest / self.bins
        for start in range(0, values.size, _CHUNK):
            part = values[start : start + _CHUNK].astype(np.float32).astype(np.float64)
            part = part[part != 0] - centre
            at = np.minimum((np.abs(part) / width).astype(np.int64), self.bins - 1)
            counts += np.bincount(at + self.bins * (part >= 0), minlength=counts.size)
        return counts.reshape(2, self.bins)

    @classmethod
    def parse(cls, argument: str | None) -> Entropy:
        """The clip of "entropy", or of "entropy:4096".

        >>> Entropy.parse("4096")
        Entropy(bins=4096)
        """
        if argument is None:
            return cls()
        if not argument.isdecimal():
            raise ValueError(f"clip {cls.name!r} takes a number of bins, not {argument!r}")
        return cls(int(argument))

    def __str__(self) -> str:
        return self.name if self.bins == _BINS else f"{self.name}:{self.bins}"


def _fit(centre: Array, reach: Array, full: Range, view: View, grid: Grid) -> AffineParams:
    """Parameters for what lies within reach, and for 0.

    0 is in the range of other grids anyway; of offset ones it is if it is in that of the data.
    """
    lo, hi = np.minimum(centre - reach, 0), np.maximum(centre + reach, 0)
    return fit_clipped(lo, hi, full, view, grid)
