# SPDX-License-Identifier: MIT
"""Affine quantization with one set of parameters per column."""

from __future__ import annotations

import numpy as np

from bitmill import _check, _core
from bitmill._dtypes import Array, carrier, code, code_dtype, dtype
from bitmill._threads import resolve
from bitmill.kernels.affine import decoding
from bitmill.kernels.convert import to_float32


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
    """`bitmill.reference.column_encode`, fast."""
    x = _check.matrix(x, "x")
    _check.code_range(qmin, qmax)
    rows, columns = x.shape
    params = _check.affine_params((columns,), scale, zero_point, offset)
    out = _check.output(out, x.shape, code_dtype(qmin, qmax), x, *params)
    if x.size:
        _core.column_encode(
            (qmin, qmax, 0, 0, 0), carrier(x), code(x.dtype.name), rows, columns,
            *_widened(*params, no_offset=0.0), out, resolve(num_threads),
        )  # fmt: skip
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
    """`bitmill.reference.column_decode`, fast."""
    codes, _ = _check.codes(codes, None, None, None)
    rows, columns = codes.shape
    params = _check.affine_params((columns,), scale, zero_point, offset)
    name = _check.float_dtype(dtype_name, "dtype_name")
    out = _check.output(out, codes.shape, dtype(name), codes, *params)
    if out.size:
        # -0.0 is the number that changes no sum; +0.0 would turn -0.0 into +0.0.
        _core.column_decode(
            decoding(codes, None, None, "float32"), codes, rows, columns,
            *_widened(*params, no_offset=-0.0), carrier(out), code(name), resolve(num_threads),
        )  # fmt: skip
    return out


def _widened(
    scale: Array, zero_point: Array | None, offset: Array | None, *, no_offset: float
) -> tuple[Array, Array, Array]:
    """Parameters as the kernels read them, a vector of each at a time: float32, int32, float32."""
    zeros = np.zeros(scale.shape, np.int32) if zero_point is None else zero_point.astype(np.int32)
    if offset is None:
        return to_float32(scale), zeros, np.full(scale.shape, no_offset, np.float32)
    return to_float32(scale), zeros, to_float32(offset)
