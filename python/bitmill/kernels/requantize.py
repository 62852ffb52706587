# SPDX-License-Identifier: MIT
"""Sums of integer products to codes, in integers alone."""

from __future__ import annotations

from bitmill import _arguments, _core
from bitmill._dtypes import Array
from bitmill._threads import resolve


def requantize(
    acc: Array,
    multiplier: Array,
    shift: Array,
    zero_point: int = 0,
    *,
    qmin: int,
    qmax: int,
    rounding: str = "single",
    dtype_name: str = "int8",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """`bitmill.reference.requantize`, fast."""
    given = acc, multiplier, shift, zero_point, qmin, qmax, rounding, dtype_name
    out = _arguments.requantize(*given, out)
    threads = resolve(num_threads)
    rows, columns = acc.shape
    if acc.size:
        _core.requantize(
            acc, rows, columns, multiplier, shift, zero_point, qmin, qmax, rounding == "double",
            out, threads,
        )  # fmt: skip
    return out
