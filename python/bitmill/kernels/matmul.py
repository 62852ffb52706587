# SPDX-License-Identifier: MIT
"""Integer products of matrices."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments, _core
from bitmill._dtypes import Array, carrier, code
from bitmill._threads import resolve


def matmul_int8(
    x: Array, w: Array, *, out: Array | None = None, num_threads: int | None = None
) -> Array:
    """`bitmill.reference.matmul_int8`, fast."""
    x, w, out = _arguments.matmul_int8(x, w, out)
    _core.matmul_int8(x, w, x.shape[0], w.shape[0], x.shape[1], out, resolve(num_threads))
    return out


def matmul_w8a8(
    x: Array,
    x_scale: Array,
    x_zero_point: Array | None,
    w: Array,
    w_scale: Array,
    w_zero_point: Array,
    w_sum: Array,
    bias: Array | None = None,
    *,
    dtype_name: str = "float32",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """`bitmill.reference.matmul_w8a8`, fast."""
    given = x, x_scale, x_zero_point, w, w_scale, w_zero_point, w_sum, bias
    out = _arguments.matmul_w8a8(*given, dtype_name, out)
    unsigned = x.dtype == np.uint8
    zeros = np.zeros(x_scale.shape, np.int32) if x_zero_point is None else x_zero_point
    x_params = x_scale, zeros.astype(np.int32) - (128 if unsigned else 0)
    w_params = w_scale, w_zero_point, w_sum
    shape = x.shape[0], w_scale.shape[0], x.shape[1]
    to, threads = (carrier(out), code(dtype_name)), resolve(num_threads)
    _core.matmul_w8a8(x, unsigned, x_params, w, w_params, bias, *shape, *to, threads)
    return out
