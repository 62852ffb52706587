# SPDX-License-Identifier: MIT
"""Order statistics of rows."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments, _core
from bitmill._dtypes import Array, carrier, code, name_of
from bitmill._results import OrderStatistics
from bitmill._threads import resolve


def order_statistics(
    x: Array, rank: int, *, magnitude: bool = False, num_threads: int | None = None
) -> OrderStatistics:
    """`bitmill.reference.order_statistics`, fast."""
    x, rank, magnitude = _arguments.order_statistics(x, rank, magnitude)
    rows, length = x.shape
    out = np.zeros((2, rows), np.float32)
    threads = resolve(num_threads)
    nonfinite = _core.order_statistics(
        carrier(x), code(name_of(x.dtype)), rows, length, rank, magnitude, out, threads
    )
    return OrderStatistics(out[0], out[1], nonfinite)
