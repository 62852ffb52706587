# SPDX-License-Identifier: MIT
"""Exact weighted k-means of numbers on a line, and what it asks of data."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments, _core
from bitmill._dtypes import Array, carrier, code, name_of
from bitmill._results import BucketSums, Clusters, DistinctValues, ValueCounts
from bitmill._sizes import MOST_DISTINCT
from bitmill._threads import resolve


def kmeans_edges(
    values: Array,
    weights: Array | None,
    k: int,
    *,
    pin_zero: bool = False,
    num_threads: int | None = None,
) -> Clusters:
    """`bitmill.reference.kmeans_edges`, fast."""
    values, weights, k, pin_zero = _arguments.kmeans_edges(values, weights, k, pin_zero)
    rows, length = values.shape
    out = Clusters(
        np.empty((rows, k + 1), np.int64),
        np.empty((rows, k)),
        np.empty(rows),
        np.empty(rows, np.int64),
    )
    threads = resolve(num_threads)
    _core.kmeans_edges(values, weights, rows, length, k, pin_zero, *out, threads)
    return out


def value_counts(
    x: Array, weights: Array | None = None, *, num_threads: int | None = None
) -> ValueCounts:
    """`bitmill.reference.value_counts`, fast."""
    x, weights = _arguments.value_counts(x, weights)
    counts = np.zeros(65536, np.int64)
    sums = None if weights is None else np.zeros(65536)
    threads = resolve(num_threads)
    if x.size:
        rows, length = x.shape
        by_row = weights is not None and weights.shape[0] == rows
        bits = x.view(np.uint16)
        _core.value_counts(bits, weights, rows, length, by_row, counts, sums, threads)
    return ValueCounts(counts, sums)


def distinct_values(
    x: Array, weights: Array | None = None, *, num_threads: int | None = None
) -> DistinctValues | None:
    """`bitmill.reference.distinct_values`, fast."""
    x, weights = _arguments.distinct_values(x, weights)
    shares = 1 if weights is not None else max(1, x.size >> 20)  # of which each takes memory
    threads = min(resolve(num_threads), shares)
    values = np.empty((threads, MOST_DISTINCT), np.uint32)
    counts = np.zeros((threads, MOST_DISTINCT), np.int64)
    sums = None if weights is None else np.zeros((threads, MOST_DISTINCT))
    sizes = np.zeros(threads, np.int64)
    if x.size:
        rows, length = x.shape
        by_row = weights is not None and weights.shape[0] == rows
        _core.distinct_values(
            x, weights, rows, length, by_row, values, counts, sums, sizes, threads
        )
    if sizes.max() > MOST_DISTINCT:
        return None
    seen = np.arange(MOST_DISTINCT) < sizes[:, np.newaxis]
    different, at = np.unique(values[seen], return_inverse=True)
    if len(different) > MOST_DISTINCT:
        return None
    times = np.zeros(len(different), np.int64)
    np.add.at(times, at, counts[seen])
    if sums is not None:
        sums = sums[seen][np.argsort(at)]
    return DistinctValues(different.view(np.float32), times, sums)


def bucket_sums(
    x: Array,
    slots: Array,
    shift: int,
    weights: Array | None = None,
    *,
    num_threads: int | None = None,
) -> BucketSums:
    """`bitmill.reference.bucket_sums`, fast."""
    x, shift, buckets, weights = _arguments.bucket_sums(x, slots, shift, weights)
    out = np.zeros((4, buckets))
    threads = resolve(num_threads)
    if x.size and buckets:
        rows, length = x.shape
        by_row = weights is not None and weights.shape[0] == rows
        _core.bucket_sums(x, weights, rows, length, by_row, slots, shift, buckets, out, threads)
    return BucketSums(out[0].view(np.int64), *out[1:])


def assign_codes(
    x: Array,
    thresholds: Array,
    *,
    rows_per_table: int | None = None,
    bits: int | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """`bitmill.reference.assign_codes`, fast."""
    x, thresholds, per_table, out = _arguments.assign_codes(
        x, thresholds, rows_per_table, bits, out
    )
    rows, length = x.shape
    _core.assign_codes(
        carrier(x), code(name_of(x.dtype)), rows, length, thresholds, thresholds.shape[1],
        per_table, bits or 0, out, resolve(num_threads),
    )  # fmt: skip
    return out
