# SPDX-License-Identifier: MIT
"""Counts of values in bins whose width is a power of two."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments, _core
from bitmill._dtypes import Array, carrier, code, name_of
from bitmill._threads import resolve


def histogram(
    x: Array, exponent: Array, first: Array, *, bins: int, num_threads: int | None = None
) -> Array:
    """`bitmill.reference.histogram`, fast."""
    x, bins = _arguments.histogram(x, exponent, first, bins)
    counts = np.zeros((x.shape[0], bins), np.int64)
    threads = resolve(num_threads)
    if x.size:
        rows, length = x.shape
        source = carrier(x), code(name_of(x.dtype)), rows, length
        _core.histogram(*source, exponent, first, bins, counts, threads)
    return counts
