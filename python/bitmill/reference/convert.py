# SPDX-License-Identifier: MIT
"""Float conversions: float32 from and to the other float dtypes, rounded once, to nearest even."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import FLOATS, Array


def to_float32(x: Array, *, out: Array | None = None, num_threads: int | None = None) -> Array:
    """float16 and bfloat16 exactly (subnormals kept), float64 rounded to nearest even.

    A NaN stays a NaN of the same sign; float16 and float64 NaNs become quiet.
    """
    x, out = _arguments.convert(x, FLOATS, "float32", out)
    with np.errstate(over="ignore", invalid="ignore"):
        out[...] = x.astype(np.float32)
    if x.dtype.name in ("float16", "float64"):
        bits = out.view(np.uint32)
        bits[np.isnan(out)] |= 0x00400000
    return out


def from_float32(
    x: Array, dtype_name: str, *, out: Array | None = None, num_threads: int | None = None
) -> Array:
    """float32 to another float dtype, to nearest even; beyond its range, infinity.

    A NaN becomes a quiet NaN with the sign and the leading bits of its payload; to float32 all bits
    stay as they are.
    """
    x, out = _arguments.convert(x, ("float32",), dtype_name, out)
    with np.errstate(over="ignore", invalid="ignore"):
        out[...] = x.astype(out.dtype)
    nan = np.isnan(x)
    bits = x[nan].view(np.uint32)
    if out.dtype.name == "float16":
        sign, payload = bits >> 16 & 0x8000, bits >> 13 & 0x03FF
        out.view(np.uint16)[nan] = sign | 0x7E00 | payload
    elif out.dtype.name == "bfloat16":
        out.view(np.uint16)[nan] = bits >> 16 | 0x0040
    return out
