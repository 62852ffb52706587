# SPDX-License-Identifier: MIT
"""Affine quantization with one set of parameters per column, by the rules of `affine`."""

from __future__ import annotations

from bitmill import _arguments
from bitmill._dtypes import Array
from bitmill.reference.affine import decode, encode
from bitmill.reference.convert import from_float32


def column_encode(
    x: Array,
    scale: Array,
    zero_point: Array | None = None,
    offset: Array | None = None,
    *,
    qmin: int,
    qmax: int,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Codes [R, C] of `x` [R, C] for given parameters [C], by the rule of `affine_encode`."""
    x, params, out = _arguments.column_encode(x, (scale, zero_point, offset), qmin, qmax, out)
    out[...] = encode(x, *params, qmin, qmax)
    return out


def column_decode(
    codes: Array,
    scale: Array,
    zero_point: Array | None = None,
    offset: Array | None = None,
    *,
    dtype_name: str = "float32",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Values [R, C] of codes [R, C] for given parameters [C], by the rule of `affine_decode`."""
    params = scale, zero_point, offset
    codes, params, out = _arguments.column_decode(codes, params, dtype_name, out)
    out[...] = from_float32(decode(codes, *params), out.dtype.name)
    return out
