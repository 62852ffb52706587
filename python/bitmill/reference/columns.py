# SPDX-License-Identifier: MIT
"""Affine quantization with one set of parameters per column, by the rules of `affine`."""

from __future__ import annotations

from bitmill import _check
from bitmill._dtypes import Array, code_dtype, dtype
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
    x = _check.matrix(x, "x")
    _check.code_range(qmin, qmax)
    params = _check.affine_params(x.shape[1:], scale, zero_point, offset)
    out = _check.output(out, x.shape, code_dtype(qmin, qmax), x, *params)
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
    codes, _ = _check.codes(codes, None, None, None)
    params = _check.affine_params(codes.shape[1:], scale, zero_point, offset)
    to = dtype(_check.float_dtype(dtype_name, "dtype_name"))
    out = _check.output(out, codes.shape, to, codes, *params)
    out[...] = from_float32(decode(codes, *params), dtype_name)
    return out
