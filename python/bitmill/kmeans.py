# SPDX-License-Identifier: MIT
"""Exact k-means of the values of a tensor, or of each of its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bitmill import _check, kernels
from bitmill._arguments import MAX_CLUSTERS, pinned_values
from bitmill._dtypes import Array
from bitmill._floats import default_floats
from bitmill._importance import scaled
from bitmill._results import Clusters
from bitmill._sizes import MOST_DISTINCT
from bitmill.population import Buckets, Population, of_few, of_patterns, one_by_one

_BLOCK = 1 << 21  # values whose rows are clustered together


@dataclass(frozen=True, eq=False)
class Codebook:
    """k values, and which of them stands for each element."""

    centroids: Array
    """float64 [k], in ascending order; a zero is +0.0."""
    assignments: Array
    """The number of the centroid of each element, in the shape of x: uint8, uint16 above 256."""
    counts: Array
    """int64 [k]: how many elements each centroid stands for."""
    inertia: float
    """Σw(x − centroid)²."""
    exact: bool
    """Whether no other k values have less inertia."""
    bound: float
    """√(inertia/Σw) is above that of the best k values by at most this; 0 if they are these."""


class _Solution(NamedTuple):
    population: Population
    edges: Array
    centroids: Array
    inertia: float
    bound: float


class _Prepared(NamedTuple):
    """Arguments: `x`, as a matrix whose rows its last axis makes too, and weights / 2^exponent
    [R or 1, C] as kernels take them, or None."""

    origin: Array
    rows: Array
    weights: Array | None
    exponent: int


@default_floats()
def kmeans1d(
    x: Any,
    k: int,
    weights: Any = None,
    *,
    exact: bool = False,
    num_threads: int | None = None,
) -> Codebook:
    """The k values (1 … 4096) that stand for those of `x` with the least Σw(x − centroid)².

    Numbers on a line have clusters that are intervals, so that dynamic programming finds the best
    ones (Wang and Song 2011, "Ckmeans.1d.dp", R Journal 3(2)): no start, no luck, no iterations.
    float16 and bfloat16 are solved exactly, and float32 with up to 65,536 different values. More
    of them are put into buckets by their first 16 bits, those at the ends of clusters by 24, and
    the buckets are solved exactly: `bound` says how far that may be from the best. `exact=True`
    solves all values instead, with about 150 bytes of memory for each, in about half a second per
    million.

    `x` is what `quantize` takes, but not empty; float64 is rounded to float32 first. `weights`,
    from 0 on, one per element of the last axis or of `x`, are rounded to float32; below 2⁻⁴⁰ of the
    largest they count as 0, and where all are 0, as 1. Where fewer different values have weight
    than k, the last centroid is repeated. The result depends on nothing but the arguments.

    Raises TypeError and ValueError as `quantize` does.

    >>> import bitmill as bm, numpy as np
    >>> book = bm.kmeans1d(np.array([1, 2, 9, 11, 2], np.float32), 2)
    >>> book.centroids, book.assignments, book.counts
    (array([ 1.66666667, 10.        ]), array([0, 0, 1, 1, 0], dtype=uint8), array([3, 2]))
    >>> round(book.inertia, 4), book.exact
    (2.6667, True)
    """
    origin, rows, w, exponent = _prepared(x, weights)
    k = _check.integer(k, "k", low=1, high=MAX_CLUSTERS)
    exact = _check.flag(exact, "exact")
    found = _solved(rows, w, origin, k, exact=exact, pin_zero=False, threads=num_threads)
    thresholds = _thresholds(found.population.tops, found.edges)
    codes = kernels.assign_codes(rows, thresholds[np.newaxis], num_threads=num_threads)
    before = np.append(0, np.cumsum(found.population.counts))
    return Codebook(
        found.centroids,
        codes.reshape(origin.shape),
        np.diff(before[found.edges]),
        _times_power(found.inertia, exponent),
        found.bound == 0,
        found.bound,
    )


@default_floats()
def centroids(
    x: Any,
    k: int,
    weights: Any = None,
    *,
    pin_zero: bool = False,
    num_threads: int | None = None,
) -> Array:
    """The centroids of `kmeans1d` alone, float64 [k].

    With `pin_zero` exactly one of them is 0, and the others are the best beside it.

    >>> centroids(np.array([0.5, -0.5, 9, 11], np.float32), 2, pin_zero=True)
    array([ 0., 10.])
    """
    origin, rows, w, _ = _prepared(x, weights)
    k = _check.integer(k, "k", low=1, high=MAX_CLUSTERS)
    pin_zero = _check.flag(pin_zero, "pin_zero")
    found = _solved(rows, w, origin, k, exact=False, pin_zero=pin_zero, threads=num_threads)
    return found.centroids


@default_floats()
def row_centroids(
    x: Any,
    k: int,
    weights: Any = None,
    *,
    rows_per_codebook: int = 1,
    pin_zero: bool = False,
    num_threads: int | None = None,
) -> Array:
    """Centroids of each so many rows of a matrix [R, C]: float64 [ceil(R/rows_per_codebook), k].

    `weights` are [C] or [R, C]; all else is as for `centroids`.

    >>> row_centroids(np.array([[1, 1, 3], [5, 7, 7]], np.float32), 2)
    array([[1., 3.],
           [5., 7.]])
    """
    origin, _, w, _ = _prepared(x, weights)
    if origin.ndim != 2:
        raise ValueError(f"x has shape {origin.shape}; wanted 2-D: x.reshape(rows, columns)")
    k = _check.integer(k, "k", low=1, high=MAX_CLUSTERS)
    pin_zero = _check.flag(pin_zero, "pin_zero")
    span = _check.integer(rows_per_codebook, "rows_per_codebook", low=1, high=1 << 62)
    rows, columns = origin.shape
    span = min(span, rows)
    every = None if w is None else np.broadcast_to(w, origin.shape)
    out = np.empty((-(-rows // span), k))
    together = span
    if span * columns <= _one_by_one(k, pin_zero):
        together *= max(1, _BLOCK // (span * columns))
    for start in range(0, rows, together):
        stop = min(start + together, rows)
        whole = stop - (stop - start) % span  # what comes behind it is a last, short piece
        for first, last in ((start, whole), (whole, stop)):
            part = origin[first:last]
            if len(part) == 0:
                continue
            each = None if every is None else np.ascontiguousarray(every[first:last])
            to = out[-(-first // span) : -(-last // span)]
            to[...] = _of_pieces(part, each, min(span, len(part)), k, pin_zero, num_threads)
    return out


def _of_pieces(
    x: Array, weights: Array | None, span: int, k: int, pin_zero: bool, threads: int | None
) -> Array:
    """The centroids of each `span` rows of `x` [n · span, C]."""
    if span * x.shape[1] > _one_by_one(k, pin_zero):
        found = _solved(x, weights, x, k, exact=False, pin_zero=pin_zero, threads=threads)
        return found.centroids[np.newaxis]
    values = kernels.to_float32(x, num_threads=threads).reshape(len(x) // span, -1)
    if not np.isfinite(values).all():
        raise _check.nonfinite_error(x)
    if weights is None:
        values.sort(axis=1)
        each = None
    else:
        order = np.argsort(values, axis=1, kind="stable")
        values = np.take_along_axis(values, order, axis=1)
        each = np.take_along_axis(weights.reshape(values.shape), order, axis=1).astype(np.float64)
    wide = values.astype(np.float64)
    return kernels.kmeans_edges(wide, each, k, pin_zero=pin_zero, num_threads=threads).centroids


def _prepared(x: Any, weights: Any) -> _Prepared:
    origin = _check.array(x)
    if origin.size == 0:
        raise ValueError(f"x has shape {origin.shape}; no values have no clusters")
    rows = origin.reshape(-1, origin.shape[-1])
    w = None if weights is None else scaled(weights, origin.shape, "weights")
    if w is None or not w.values.any():
        return _Prepared(origin, rows, None, 0)
    return _Prepared(origin, rows, w.values.reshape(-1, rows.shape[1]), w.exponent)


def _one_by_one(k: int, pin_zero: bool) -> int:
    """So many different values are solved one by one."""
    return pinned_values(k) if pin_zero else MOST_DISTINCT


def _solved(
    x: Array,
    weights: Array | None,
    origin: Array,
    k: int,
    *,
    exact: bool,
    pin_zero: bool,
    threads: int | None,
) -> _Solution:
    """The best clusters of the values of `x` [R, C]."""
    if x.dtype.itemsize == 2:
        return _solution(of_patterns(x, weights, threads), k, pin_zero, threads)
    values = kernels.to_float32(x, num_threads=threads) if x.dtype != np.float32 else x
    most = _one_by_one(k, pin_zero)
    if exact or x.size <= most:
        return _solution(one_by_one(values, weights, origin), k, pin_zero, threads)
    few = of_few(values, weights, origin, threads)
    if few is not None and len(few.values) <= most:
        return _solution(few, k, pin_zero, threads)
    buckets = Buckets.of(values, weights, origin, threads)
    found = _solution(buckets.population(), k, pin_zero, threads)
    if pin_zero:
        return found
    parts = buckets.split(found.edges, values, weights, threads)
    return _solution(parts.population(), k, pin_zero, threads)


def _solution(people: Population, k: int, pin_zero: bool, threads: int | None) -> _Solution:
    """The best clusters of a population, and how far they may be from those of its members.

    M is the least cost of the means of buckets, S that of their members around them. No k values
    have a cost whose root is below √M − √S (Minkowski's inequality); that of ours is √(M + S).
    """
    weights = None if people.weights is None else people.weights[np.newaxis]
    found: Clusters = kernels.kmeans_edges(
        people.values[np.newaxis], weights, k, pin_zero=pin_zero, num_threads=threads
    )
    cost, spread, weight = float(found.cost[0]), people.spread, people.weight
    least = max(0.0, math.sqrt(cost) - math.sqrt(spread))
    bound = (math.sqrt(cost + spread) - least) / math.sqrt(weight) if spread else 0.0
    return _Solution(people, found.edges[0], found.centroids[0], cost + spread, bound)


def _thresholds(tops: Array, edges: Array) -> Array:
    """float32 [k−1]: the largest value of each cluster but the last, as assign_codes takes them."""
    inner = edges[1:-1]
    above = np.where(inner == len(tops), np.float32(np.inf), tops[np.minimum(inner, len(tops)) - 1])
    return np.where(inner == 0, np.float32(-np.inf), above)


def _times_power(inertia: float, exponent: int) -> float:
    try:
        return math.ldexp(inertia, exponent)
    except OverflowError:
        raise ValueError(
            "weights are so large that Σw(x − centroid)² overflows float64: divide them by their "
            "maximum"
        ) from None
