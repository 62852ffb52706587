# SPDX-License-Identifier: MIT
"""Counts of values in bins whose width is a power of two, so that no rounding decides."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array
from bitmill.reference.convert import to_float32


def histogram(
    x: Array, exponent: Array, first: Array, *, bins: int, num_threads: int | None = None
) -> Array:
    """How many values of each row of `x` [R, C] lie in each of its `bins` bins: int64 [R, bins].

    A row's bins have the width 2^exponent; bin i holds the values with
    floor(x / 2^exponent) = first + i, exactly. `exponent` and `first` are int32 [R]. What lies
    outside all bins is not counted, nor are NaN and infinity; float64 is rounded to float32 first.
    """
    x, bins = _arguments.histogram(x, exponent, first, bins)
    counts = np.zeros((x.shape[0], bins), np.int64)
    for row, values in enumerate(to_float32(x).astype(np.float64)):
        bin = np.floor(np.ldexp(values, -exponent[row])) - first[row]
        inside = bin[(bin >= 0) & (bin < bins)].astype(np.int64)
        counts[row] = np.bincount(inside, minlength=bins)
    return counts
