# SPDX-License-Identifier: MIT
"""What k-means asks of data: how often values of 16 bits occur, sums over segments, and codes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array
from bitmill._results import SegmentSums, ValueCounts
from bitmill.reference.convert import to_float32
from bitmill.reference.pack import pack
from bitmill.reference.sums import in_lanes


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


def segment_sums(
    x: Array,
    edges: Array,
    weights: Array | None = None,
    *,
    center: float = 0.0,
    num_threads: int | None = None,
) -> SegmentSums:
    """Σw, Σw(x − center) and Σw(x − center)² of x[edges[i]:edges[i+1]], float64 [m] each.

    `x` is float32 [n], `edges` int64 [m+1] in ascending order, `weights` float32 [n] or None for
    ones. Element i of a segment is added to lane i mod 8, then the lanes 4+4, 2+2, 1+1.

    >>> segment_sums(np.array([1, 2, 6], np.float32), np.array([0, 2, 3])).wx
    array([3., 6.])
    """
    x, edges, weights, center = _arguments.segment_sums(x, edges, weights, center)
    d = x.astype(np.float64) - center
    w = np.ones_like(d) if weights is None else weights.astype(np.float64)
    segments = list(pairwise(edges))
    return SegmentSums(
        *(np.array([in_lanes(v[i:j]) for i, j in segments]) for v in (w, w * d, w * d * d))
    )


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
    `rows_per_table` rows of `x`, None: all. float64 is rounded to float32 first. With `bits` (1 to 8)
    codes are packed as `pack` does. NaN has the code 0.

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
