# SPDX-License-Identifier: MIT
"""Integer products of matrices: exact sums of products of codes, and the values they stand for."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array
from bitmill.reference.convert import from_float32
from bitmill.reference.requantize import requantize


def matmul_int8(
    x: Array, w: Array, *, out: Array | None = None, num_threads: int | None = None
) -> Array:
    """x·wᵀ, exactly: int8 [M, K] and int8 [N, K] give int32 [M, N].

    Raises ValueError for K above 131,071, where a sum may reach 2^31.

    >>> matmul_int8(np.int8([[-128, 1]]), np.int8([[-128, 5], [127, -1]]))
    array([[ 16389, -16257]], dtype=int32)
    """
    x, w, out = _arguments.matmul_int8(x, w, out)
    out[...] = x.astype(np.int64) @ w.astype(np.int64).T
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
    """Codes of activations times codes of weights, as values: [M, N] of a dtype that stores scales.

        y = Σ_k (x − x_zero_point)·(w − w_zero_point) · x_scale · w_scale + bias

    The sum over k is an exact integer, rounded once to float32; both products and the sum with
    `bias` are rounded to float32 in this order, and the result to `dtype_name`.

    `x` is int8 or uint8 [M, K], a row a token; `x_scale` float32 [M, 1], `x_zero_point` of x's
    dtype [M, 1], or None for 0. `w` is uint8 [P, ceil(K / 4), 16, 4], P = ceil(N / 16), as
    `bitmill.layouts.Tiles(16)` packs: entry [p, k, i, j] is the code at column 4k + j of row
    16p + i; those behind the last row or column are any. `w_scale` is float32 [N, 1],
    `w_zero_point` uint8 [N, 1]; int8 codes come as w + 128, with the zero-point 128. `w_sum` is
    int32 [N, 1] and must be Σ_k (w − w_zero_point), which the kernel needs so that it multiplies
    codes as they are. `bias` is float32 [N].

    Raises ValueError for K above 65,793, where a sum of products of bytes may reach 2^31.
    """
    given = x, x_scale, x_zero_point, w, w_scale, w_zero_point, w_sum, bias
    out = _arguments.matmul_w8a8(*given, dtype_name, out)
    codes = _rows_of(w)[: len(w_scale), : x.shape[1]]
    centred_x = x.astype(np.int64) - (0 if x_zero_point is None else x_zero_point.astype(np.int64))
    centred_w = codes.astype(np.int64) - w_zero_point
    sums = (centred_x @ centred_w.T).astype(np.float32)
    y = sums * x_scale * w_scale.T
    return from_float32(y if bias is None else y + bias, dtype_name, out=out)


def matmul_sums(
    x: Array,
    w: Array,
    w_zero_point: Array,
    bias: Array | None = None,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Sums of products of codes, and integers that are added to them: int32 [M, N].

        Σ_k x·(w − w_zero_point) + bias

    `x` is int8 [M, K], or uint8, of which 128 is subtracted; `w` and `w_zero_point` are those of
    `matmul_w8a8`; `bias` is int32 [N]. Where x has a zero-point, the bias has its share, which is
    known before x is: −(x_zero_point − 128, if x is uint8)·Σ_k (w − w_zero_point). Sums wrap around
    at 2^32, on the way too, so that all is well if they fit with everything added.

    Raises ValueError for K above 65,793, where a sum of products of bytes may reach 2^31.

    >>> w = np.zeros((1, 1, 16, 4), np.uint8)
    >>> w[0, 0, :2, :3] = [[129, 130, 131], [0, 128, 255]]
    >>> zero_point = np.full((2, 1), 128, np.uint8)
    >>> matmul_sums(np.int8([[1, -2, 3]]), w, zero_point, np.int32([1000, 0]))
    array([[1006,  253]], dtype=int32)
    """
    out = _arguments.matmul_sums(x, w, w_zero_point, bias, out)
    codes = _rows_of(w)[: len(w_zero_point), : x.shape[1]]
    signed = x.astype(np.int64) - (128 if x.dtype == np.uint8 else 0)
    sums = signed @ (codes.astype(np.int64) - w_zero_point).T
    out[...] = (sums if bias is None else sums + bias).astype(np.int32)
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
    """Codes of products of codes, in integers alone: int8 or uint8 [M, N].

    `requantize` of what `matmul_sums` gives; see there for all arguments.

    >>> w = np.full((1, 1, 16, 4), 129, np.uint8)
    >>> zero_point = np.full((2, 1), 128, np.uint8)
    >>> half = np.full(2, 1 << 30, np.int32), np.zeros(2, np.int32)
    >>> matmul_requantized(np.int8([[7, 1]]), w, zero_point, None, *half, qmin=-128, qmax=127)
    array([[4, 4]], dtype=int8)
    """
    given = x, w, w_zero_point, bias, multiplier, shift, zero_point, qmin, qmax
    out = _arguments.matmul_requantized(*given, rounding, dtype_name, out)
    return requantize(
        matmul_sums(x, w, w_zero_point, bias), multiplier, shift, zero_point, qmin=qmin, qmax=qmax,
        rounding=rounding, dtype_name=dtype_name, out=out,
    )  # fmt: skip


def _rows_of(tiles: Array) -> Array:
    """Rows and columns of [panels, fours, 16, 4]."""
    panels, fours, tall, wide = tiles.shape
    return tiles.swapaxes(1, 2).reshape(panels * tall, fours * wide)
