# SPDX-License-Identifier: MIT
"""Affine quantization with one set of parameters per column."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments, _core
from bitmill._dtypes import Array, carrier, code, name_of
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
    x, params, out = _arguments.column_encode(x, (scale, zero_point, offset), qmin, qmax, out)
    rows, columns = x.shape
    threads = resolve(num_threads)
    if x.size:
        _core.column_encode(
            (qmin, qmax, 0, 0, 0), carrier(x), code(name_of(x.dtype)), rows, columns,
            *_widened(*params, no_offset=0.0), out, threads,
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
    params = scale, zero_point, offset
    codes, params, out = _arguments.column_decode(codes, params, dtype_name, out)
    rows, columns = codes.shape
    threads = resolve(num_threads)
    if out.size:
        # -0.0 is the number that changes no sum; +0.0 would turn -0.0 into +0.0.
        _core.column_decode(
            decoding(codes, None, None, "float32"), codes, rows, columns,
            *_widened(*params, no_offset=-0.0), carrier(out), code(name_of(out.dtype)), threads,
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
