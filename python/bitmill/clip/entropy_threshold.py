# SPDX-License-Identifier: MIT
"""Where to cut a histogram so that coarser levels tell most about what was in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitmill._dtypes import Array

_UNIFORM = 1e-4  # weight of the uniform density in Q, so that no bin has probability 0
_TIED = 1e-12  # divergences this close are equal: another logarithm must not decide
_ENTRIES = 1 << 14  # of candidates times levels that are looked at together


def entropy_threshold(counts: Array, levels: int, zero: int = 0) -> int:
    """How many bins to keep on each side of the edge `zero` of a histogram, by least divergence.

    For every k the bins zero − k … zero + k − 1 (those that exist) are kept:

    * P are their counts, with what lies beyond added to the first and the last one;
    * Q are their counts without that, merged into `levels` runs of bins (run j ends before bin
      ⌊(j + 1)·bins/levels⌋), the sum of each spread evenly over those of its bins where P is not
      0. As a density it is mixed with 10⁻⁴ of the uniform one, as the last run may be empty.

    The k of least Σ P·log(P/Q) wins; of those within 10⁻¹² the widest. This is the calibration of
    TensorRT (Migacz, "8-bit inference with TensorRT", GTC 2017) and ONNX Runtime, but for two
    things. Runs differ by at most one bin, where theirs leave the remainder to the last one. And at
    most a tenth of the values is clipped: a cut through the first bin that is not empty has all
    of P and all of Q there, so no divergence, which is what theirs take for values far from 0.
    All is kept if there are not more bins than levels, or nothing in them. The result passes
    through log.

    `counts` is an int64 array, `levels` at least 2.

    >>> counts = np.array([500, 400, 300, 200, 100, 40, 10, 4, 1, 0, 0, 0, 0, 0, 0, 1])
    >>> entropy_threshold(counts, 4)
    5
    """
    whole = max(zero, counts.size - zero)
    sides = np.arange(1, whole + 1)
    start, stop = np.maximum(zero - sides, 0), np.minimum(zero + sides, counts.size)
    histogram = _Histogram.of(counts)
    inside, total = histogram.counts[stop] - histogram.counts[start], histogram.counts[-1]
    tried = (stop - start >= levels) & (10 * inside >= 9 * total)
    sides, start, stop = sides[tried], start[tried], stop[tried]
    if total == 0 or not sides.size:
        return whole
    step = max(1, _ENTRIES // levels)
    parts = (slice(first, first + step) for first in range(0, sides.size, step))
    divergence = np.concatenate([histogram.divergence(start[p], stop[p], levels) for p in parts])
    near = np.flatnonzero(divergence <= divergence.min() + _TIED)
    return int(sides[near[-1]])


class _Histogram(NamedTuple):
    """Sums over the bins before each edge: counts c, bins that are not empty, and c·ln c."""

    counts: Array
    filled: Array
    entropy: Array

    @classmethod
    def of(cls, counts: Array) -> _Histogram:
        """Of `counts`."""
        terms = (counts, (counts > 0).astype(np.int64), _times_log(counts))
        return cls(*(np.concatenate([[0], np.add.accumulate(part)]) for part in terms))

    def divergence(self, start: Array, stop: Array, levels: int) -> Array:
        """Σ P·log(P/Q) if bins start … stop − 1 are kept, for many of both.

        Q is the same in all bins of a run where P is not 0, so sums over runs are all it takes.
        """
        below, above = self.counts[start], self.counts[-1] - self.counts[stop]
        width = (stop - start)[:, np.newaxis]
        edges = start[:, np.newaxis] + width * np.arange(levels + 1) // levels
        kept = np.diff(self.counts[edges])
        filled = np.diff(self.filled[edges])
        p = kept.copy()
        plogp = self.entropy[stop] - self.entropy[start]
        for run, at, more in ((0, start, below), (-1, stop - 1, above)):
            own = self.counts[at + 1] - self.counts[at]
            filled[:, run] += (own == 0) & (more > 0)
            p[:, run] += more
            plogp += _times_log(own + more) - _times_log(own)
        inside = kept.sum(axis=1, keepdims=True)
        spread = kept / (np.maximum(filled, 1) * inside)
        plogq = (p * np.log((1 - _UNIFORM) * spread + _UNIFORM / width)).sum(axis=1)
        total = self.counts[-1]
        found: Array = (plogp - plogq) / total - np.log(total)
        return found


def _times_log(counts: Array) -> Array:
    """c·ln c, 0 for 0."""
    return counts * np.log(np.maximum(counts, 1))
