# SPDX-License-Identifier: MIT
"""What k-means asks of data: how often values occur, sums over those that are alike, codes."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array
from bitmill._results import BucketSums, DistinctValues, ValueCounts
from bitmill._sizes import MOST_DISTINCT
from bitmill.reference.convert import to_float32
from bitmill.reference.pack import pack


def value_counts(
    x: Array, weights: Array | None = None, *, num_threads: int | None = None
) -> ValueCounts:
    """How often each pattern of bits occurs in `x` [R, C], float16 or bfloat16: int64 [65536].

    With `weights`, float32 [R, C] or [C] for every row, each 0 or from 2⁻⁴⁰ to 1, also the sums of
    the weights of each pattern, float64 [65536], added up in the order of the elements.

    >>> value_counts(np.array([[1, 2, 1]], np.float16)).counts[0x3C00]
    np.int64(2)
    """
    x, weights = _arguments.value_counts(x, weights)
    bits = x.view(np.uint16).reshape(-1)
    sums = None
    if weights is not None:
        each = np.broadcast_to(weights, x.shape).reshape(-1).astype(np.float64)
        sums = np.bincount(bits, each, minlength=65536).astype(np.float64)
    return ValueCounts(np.bincount(bits, minlength=65536), sums)


def distinct_values(
    x: Array, weights: Array | None = None, *, num_threads: int | None = None
) -> DistinctValues | None:
    """The different values of `x`, float32 [R, C], if there are at most 65,536; else None.

    They differ if their bits do, but −0.0 counts as 0.0. `weights` as for `value_counts`: they are
    added up in order.

    >>> found = distinct_values(np.array([[2, -1, 2]], np.float32))
    >>> found.values, found.counts
    (array([ 2., -1.], dtype=float32), array([2, 1]))
    """
    x, weights = _arguments.distinct_values(x, weights)
    bits, at, counts = np.unique(_bits(x), return_inverse=True, return_counts=True)
    if len(bits) > MOST_DISTINCT:
        return None
    sums = None
    if weights is not None:
        each = np.broadcast_to(weights, x.shape).reshape(-1).astype(np.float64)
        sums = np.bincount(at, each, minlength=len(bits)).astype(np.float64)
    return DistinctValues(bits.view(np.float32), counts, sums)


def bucket_sums(
    x: Array,
    slots: Array,
    shift: int,
    weights: Array | None = None,
    *,
    num_threads: int | None = None,
) -> BucketSums:
    """Σw, Σwr and Σwr² over the values of `x`, float32 [R, C], whose bits begin alike.

    A value of the bits b, read as uint32, belongs to the bucket slots[b >> 16] + (b mod 2¹⁶ >>
    shift), and r is b mod 2^shift; where that entry of `slots`, int32 [65536], is below 0, to none.
    −0.0 is taken for 0.0. There are as many buckets as the largest entry asks for. `weights` as for
    `value_counts`: they are added up in order; without them, sums are exact up to 2⁶⁴ and rounded
    once.

    >>> x = np.array([[1, 1.25, -3]], np.float32)
    >>> slots = np.where(np.arange(65536) >= 0x8000, 0, -1).astype(np.int32)
    >>> bucket_sums(x, slots, 16).counts[0]
    np.int64(1)
    """
    x, shift, buckets, weights = _arguments.bucket_sums(x, slots, shift, weights)
    bits = _bits(x)
    slot = slots[bits >> 16]
    inside = slot >= 0
    bucket = (slot + ((bits & 0xFFFF) >> shift).astype(np.int64))[inside]
    rest = (bits & ((1 << shift) - 1))[inside]
    counts = np.bincount(bucket, minlength=buckets)
    if weights is None:
        r, rr = np.zeros(buckets, np.uint64), np.zeros(buckets, np.uint64)
        np.add.at(r, bucket, rest)
        np.add.at(rr, bucket, rest.astype(np.uint64) ** 2)
        return BucketSums(counts, counts.astype(float), r.astype(float), rr.astype(float))
    w = np.broadcast_to(weights, x.shape).reshape(-1)[inside].astype(np.float64)
    terms = (w, w * rest, w * rest * rest)
    sums = (np.bincount(bucket, term, minlength=buckets).astype(float) for term in terms)
    return BucketSums(counts, *sums)


def assign_codes(
    x: Array,
    thresholds: Array,
    *,
    rows_per_table: int | None = None,
    bits: int | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """How many thresholds are below each value of `x` [R, C]: uint8 [R, C], uint16 above 255.

    `thresholds` is float32 [T, k−1], each row in ascending order; a row of them serves
    `rows_per_table` rows of `x`, None: all. float64 is rounded to float32 first. With `bits`, codes
    are packed as `pack` does. NaN has the code 0.

    >>> x = np.array([[0, 1, 1.5, 9]], np.float32)
    >>> assign_codes(x, np.array([[1, 4]], np.float32))
    array([[0, 0, 1, 2]], dtype=uint8)
    """
    x, thresholds, per_table, out = _arguments.assign_codes(
        x, thresholds, rows_per_table, bits, out
    )
    values = to_float32(x)
    codes = np.zeros(x.shape, np.uint8 if thresholds.shape[1] <= 255 else np.uint16)
    for row in range(len(x)):
        codes[row] = np.searchsorted(thresholds[row // per_table], values[row], "left")
    codes[np.isnan(values)] = 0
    out[...] = codes if bits is None else pack(codes, bits)
    return out


def _bits(x: Array) -> Array:
    """Those of all values as uint32; the two zeros are one value."""
    bits = x.reshape(-1).view(np.uint32)
    return np.where(bits == 1 << 31, np.uint32(0), bits)
