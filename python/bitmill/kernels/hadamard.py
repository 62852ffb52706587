# SPDX-License-Identifier: MIT
"""Products with Hadamard matrices."""

from __future__ import annotations

from bitmill import _arguments, _core
from bitmill._dtypes import Array, carrier, code, name_of
from bitmill._threads import resolve


def hadamard(
    x: Array,
    *,
    sign: Array | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """`bitmill.reference.hadamard`, fast."""
    x, factors, signs, out = _arguments.hadamard(x, sign, out)
    threads = resolve(num_threads)
    _core.hadamard(carrier(x), code(name_of(x.dtype)), len(x), factors, signs, out, threads)
    return out
