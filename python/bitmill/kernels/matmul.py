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


def matmul_sums(
    x: Array,
    w: Array,
    w_zero_point: Array,
    bias: Array | None = None,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """`bitmill.reference.matmul_sums`, fast."""
    out = _arguments.matmul_sums(x, w, w_zero_point, bias, out)
    _core.matmul_sums(*_panels(x, w, w_zero_point, bias), out, resolve(num_threads))
    return out


def matmul_requantized(
    x: Array,
    w: Array,
    w_zero_point: Array,
    bias: Array | None,
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
    """`bitmill.reference.matmul_requantized`, fast: sums are requantized while they are cached."""
    given = x, w, w_zero_point, bias, multiplier, shift, zero_point, qmin, qmax
    out = _arguments.matmul_requantized(*given, rounding, dtype_name, out)
    _core.matmul_requantized(
        *_panels(x, w, w_zero_point, bias), multiplier, shift, zero_point, qmin, qmax,
        rounding == "double", out, resolve(num_threads),
    )  # fmt: skip
    return out


def _panels(
    x: Array, w: Array, w_zero_point: Array, bias: Array | None
) -> tuple[Array, bool, Array, Array, Array | None, int, int, int]:
    """The operands, whether 128 goes off x, and the sizes."""
    unsigned, shape = x.dtype == np.uint8, (x.shape[0], len(w_zero_point), x.shape[1])
    return x, unsigned, w, w_zero_point, bias, *shape


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
