# SPDX-License-Identifier: MIT
"""The values of a tensor as exact k-means takes them: different ones, or buckets of those alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array
from bitmill._results import BucketSums

_TOP = np.arange(1 << 16, dtype=np.uint32) << 16
_INFINITE = (_TOP & 0x7F800000) == 0x7F800000


@dataclass(frozen=True)
class Population:
    """Values in ascending order, each for `counts` elements that are alike.

    `values` are the means of those, float64 [m], `weights` the sums of their weights, or None where
    each has the weight 1, `tops` float32 [m] not below any of them nor above the next ones, and
    `spread` Σw(x − mean)² over all.
    """

    values: Array
    weights: Array | None
    counts: Array
    tops: Array
    spread: float = 0.0

    @property
    def weight(self) -> float:
        """The sum of all weights, in order: NumPy's own differs between CPUs."""
        return float(np.cumsum(self.counts if self.weights is None else self.weights)[-1])


def one_by_one(x: Array, weights: Array | None, origin: Array) -> Population:
    """Every element of `x`, float32 [R, C]; errors name their places in `origin`."""
    if not np.isfinite(x).all():
        raise _check.nonfinite_error(origin)
    flat = x.reshape(-1)
    order = None if weights is None else np.argsort(flat, kind="stable")
    tops = np.sort(flat) if order is None else flat[order]
    every = None if weights is None else np.broadcast_to(weights, x.shape).reshape(-1)[order]
    return Population(
        tops.astype(np.float64),
        None if every is None else every.astype(np.float64),
        np.ones(flat.size, np.int64),
        tops,
    )


def of_patterns(x: Array, weights: Array | None, num_threads: int | None) -> Population:
    """The different values of `x`, float16 or bfloat16 [R, C]."""
    found = kernels.value_counts(x, weights, num_threads=num_threads)
    patterns = np.flatnonzero(found.counts).astype(np.uint16)
    sums = None if found.weights is None else found.weights[patterns]
    return _counted(patterns.view(x.dtype).astype(np.float32), found.counts[patterns], sums, x)


def of_few(
    x: Array, weights: Array | None, origin: Array, num_threads: int | None
) -> Population | None:
    """The different values of `x`, float32 [R, C], if there are at most 65,536."""
    found = kernels.distinct_values(x, weights, num_threads=num_threads)
    return None if found is None else _counted(*found, origin)


def _counted(values: Array, counts: Array, sums: Array | None, origin: Array) -> Population:
    """Values, each for so many elements of such weights, or of 1; zeros may be two values."""
    if not np.isfinite(values).all():
        raise _check.nonfinite_error(origin)
    order = np.argsort(values, kind="stable")
    tops, counts = values[order], counts[order]
    weights = counts.astype(np.float64) if sums is None else sums[order]
    return Population(tops.astype(np.float64), weights, counts, tops)


@dataclass(frozen=True)
class Buckets:
    """Values whose bits begin alike, in ascending order: `sizes` bits from `starts` on."""

    starts: Array
    sizes: Array
    sums: BucketSums

    @classmethod
    def of(cls, x: Array, weights: Array | None, origin: Array, num_threads: int | None) -> Buckets:
        """Those of float32 [R, C] by 16 bits, of which bfloat16 keeps no more."""
        slots = np.arange(1 << 16, dtype=np.int32)
        sums = kernels.bucket_sums(x, slots, 16, weights, num_threads=num_threads)
        if sums.counts[_INFINITE].any():
            raise _check.nonfinite_error(origin)
        return cls(_TOP, np.full(1 << 16, 1 << 16, np.uint32), sums)._in_order()

    def split(
        self, edges: Array, x: Array, weights: Array | None, num_threads: int | None
    ) -> Buckets:
        """Those on both sides of each edge in 256 parts, by the next 8 bits."""
        inner = edges[(edges > 0) & (edges < len(self.starts))]
        chosen = np.unique(np.concatenate([inner - 1, inner]))
        slots = np.full(1 << 16, -1, np.int32)
        slots[self.starts[chosen] >> 16] = np.arange(len(chosen)) << 8
        parts = kernels.bucket_sums(x, slots, 8, weights, num_threads=num_threads)
        starts = self.starts[chosen, np.newaxis] + (np.arange(256, dtype=np.uint32) << 8)
        rest = np.delete(np.arange(len(self.starts)), chosen)
        pairs = zip(self.sums, parts, strict=True)
        return Buckets(
            np.append(self.starts[rest], starts),
            np.append(self.sizes[rest], np.full(starts.size, 1 << 8, np.uint32)),
            BucketSums(*(np.append(column[rest], part) for column, part in pairs)),
        )._in_order()

    def _in_order(self) -> Buckets:
        """Without those that are empty."""
        keys = np.where(self.starts >> 31, ~self.starts, self.starts | 0x80000000)
        order = np.argsort(keys)
        order = order[self.sums.counts[order] > 0]
        sums = BucketSums(*(column[order] for column in self.sums))
        return Buckets(self.starts[order], self.sizes[order], sums)

    def population(self) -> Population:
        """A value is base + step · r, exactly, where r are its other bits as a number."""
        base = self.starts.view(np.float32).astype(np.float64)
        step = (self.starts + 1).view(np.float32).astype(np.float64) - base
        counts, w, wr, wrr = self.sums
        some = np.where(w > 0, w, 1)
        mean = np.minimum(wr / some, self.sizes - 1.0)
        below_zero = np.maximum(self.starts, 0x80000001)  # kernels count −0.0 as 0.0
        last = np.where(self.starts >> 31, below_zero, self.starts + (self.sizes - 1))
        spread = step * step * np.maximum(wrr - wr * wr / some, 0)
        values = base + step * mean
        return Population(values, w, counts, last.view(np.float32), math.fsum(spread.tolist()))
