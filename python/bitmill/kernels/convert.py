# SPDX-License-Identifier: MIT
"""Float conversions: float32 from and to the other float dtypes."""

from __future__ import annotations

from bitmill import _arguments, _core
from bitmill._dtypes import FLOATS, Array, carrier, code, name_of
from bitmill._threads import resolve


def to_float32(x: Array, *, out: Array | None = None, num_threads: int | None = None) -> Array:
    """`bitmill.reference.to_float32`, fast."""
    x, out = _arguments.convert(x, FLOATS, "float32", out)
    _core.to_float32(carrier(x), code(name_of(x.dtype)), out, resolve(num_threads))
    return out


def from_float32(
    x: Array, dtype_name: str, *, out: Array | None = None, num_threads: int | None = None
) -> Array:
    """`bitmill.reference.from_float32`, fast."""
    x, out = _arguments.convert(x, ("float32",), dtype_name, out)
    _core.from_float32(x, code(name_of(out.dtype)), carrier(out), resolve(num_threads))
    return out
