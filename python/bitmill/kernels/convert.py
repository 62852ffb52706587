# SPDX-License-Identifier: MIT
"""Float conversions: float32 from and to the other float dtypes."""

from __future__ import annotations

import numpy as np

from bitmill import _check, _core
from bitmill._dtypes import FLOATS, Array, carrier, code, dtype
from bitmill._threads import resolve


def to_float32(x: Array, *, out: Array | None = None, num_threads: int | None = None) -> Array:
    """`bitmill.reference.to_float32`, fast."""
    x = _check.contiguous(x, "x", FLOATS)
    out = _check.output(out, x.shape, np.dtype(np.float32), x)
    _core.to_float32(carrier(x), code(x.dtype.name), out, resolve(num_threads))
    return out


def from_float32(
    x: Array, dtype_name: str, *, out: Array | None = None, num_threads: int | None = None
) -> Array:
    """`bitmill.reference.from_float32`, fast."""
    x = _check.contiguous(x, "x", ("float32",))
    name = _check.float_dtype(dtype_name, "dtype_name")
    out = _check.output(out, x.shape, dtype(name), x)
    _core.from_float32(x, code(name), carrier(out), resolve(num_threads))
    return out
