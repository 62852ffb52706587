# SPDX-License-Identifier: MIT
"""Products of matrices with weights of 4 bits: what they are, and in which order they are added."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array
from bitmill._sizes import group_count
from bitmill.reference.convert import from_float32
from bitmill.reference.fused import add_product


def matmul_w4a8(
    x: Array,
    x_scale: Array,
    x_zero_point: Array | None,
    w: Array,
    w_scale: Array,
    w_zero_point: Array | None = None,
    values: Array | None = None,
    bias: Array | None = None,
    *,
    rows: int,
    group_size: int | None = None,
    dtype_name: str = "float32",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Codes of activations times 4-bit codes of weights, as values: [M, N], N = `rows`.

        I_g = Σ_{k in g} (x − x_zero_point)·(w − w_zero_point)
        y = (I_0·w_scale_0 + I_1·w_scale_1 + …)·x_scale + bias

    Each I is an exact integer, rounded once to float32. Each product and each sum is rounded to
    float32, from left to right (the first sum is 0 + I_0·w_scale_0), and the result to
    `dtype_name`.

    `x` is int8 or uint8 [M, K], a row a token; `x_scale` float32 [M, 1]; `x_zero_point` of x's
    dtype [M, 1], or None for 0. `w` is uint8 [P, ceil(K / 8), 16, 4], P = ceil(N / 16), as
    `bitmill.layouts.Tiles(16, inner=Nibbles(8))` packs: byte [p, k, i, j] holds the codes of row
    16p + i at columns 8k + j, in its low nibble, and 8k + 4 + j; those behind the last row or
    column are any. `w_scale` is of float32, float16 or bfloat16, `w_zero_point` uint8, both
    [P, G, 16]: an entry for each row of a panel, G = ceil(K / group_size) groups. Without
    zero-points they are 8; with `values`, int8 [16], a code c is values[c] instead of
    c − w_zero_point. `bias` is float32 [N].

    `group_size` is a multiple of 8; None is one group a row. Raises ValueError for other groups,
    and for K above 65,793, where a sum of products of bytes may reach 2^31.

    >>> from bitmill.layouts import Nibbles, Tiles
    >>> w = Tiles(16, inner=Nibbles(8)).pack(np.int8([[1, -8], [7, 2]]))
    >>> scale = np.full((1, 1, 16), 0.5, np.float32)
    >>> matmul_w4a8(np.int8([[2, 3]]), np.float32([[10]]), None, w, scale, rows=2)
    array([[-110.,  100.]], dtype=float32)
    """
    given = x, x_scale, x_zero_point, w, w_scale, w_zero_point, values, bias
    out = _arguments.matmul_w4a8(*given, rows, group_size, dtype_name, out)
    codes = _codes_of(w)[:, : x.shape[1]].astype(np.int64)
    exact = x.astype(np.int64) - (0 if x_zero_point is None else x_zero_point.astype(np.int64))
    y = np.zeros((len(x), len(codes)), np.float32)
    for group, columns in _groups(x.shape[1], group_size):
        weights = _weights(codes[:, columns], w_zero_point, values, group)
        sums = (exact[:, columns] @ weights.T).astype(np.float32)
        y = y + sums * _entries(w_scale, group)
    return _finished(y * x_scale, bias, dtype_name, out)


def matmul_w4a16(
    x: Array,
    w: Array,
    w_scale: Array,
    w_zero_point: Array | None = None,
    values: Array | None = None,
    bias: Array | None = None,
    *,
    rows: int,
    group_size: int | None = None,
    dtype_name: str = "float32",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Floats times 4-bit codes of weights, as values: [M, N], N = `rows`.

        y = S_0·w_scale_0 + S_1·w_scale_1 + … + bias,  S_g = Σ_{k in g} x·v

    v is values[c] of the code c, or c − w_zero_point, which is exact. The sum of a group begins
    with 0, and each x·v is added to it in the order of k, rounded to float32 once: a product is not
    rounded before it is added. Those with w_scale are, and their sums, from left to right (the
    first sum is 0 + S_0·w_scale_0), and the result to `dtype_name`. Which NaN a NaN is, its sign
    and payload, is not specified.

    `x` is float32 [M, K], `values` float32 [16]. The others, and what is raised, are as in
    `matmul_w4a8`, but for K, which may be any.

    >>> from bitmill.layouts import Nibbles, Tiles
    >>> w = Tiles(16, inner=Nibbles(8)).pack(np.int8([[1, -8], [7, 2]]))
    >>> scale = np.full((1, 1, 16), 0.5, np.float32)
    >>> matmul_w4a16(np.float32([[0.25, 3]]), w, scale, rows=2)
    array([[-11.875,   3.875]], dtype=float32)
    """
    given = x, w, w_scale, w_zero_point, values, bias
    out = _arguments.matmul_w4a16(*given, rows, group_size, dtype_name, out)
    codes = _codes_of(w)[:, : x.shape[1]].astype(np.int64)
    y = np.zeros((len(x), len(codes)), np.float32)
    for group, columns in _groups(x.shape[1], group_size):
        weights = _weights(codes[:, columns], w_zero_point, values, group).astype(np.float32)
        sums = np.zeros_like(y)
        for a, b in zip(x[:, columns].T, weights.T, strict=True):
            sums = add_product(sums, a[:, None], b)
        y = y + sums * _entries(w_scale, group)
    return _finished(y, bias, dtype_name, out)


def _codes_of(w: Array) -> Array:
    """The codes [16 P, 8 S] of panels [P, S, 16, 4]."""
    panels, steps, tall, _ = w.shape
    codes = np.stack([w & 15, w >> 4], axis=3)
    return codes.swapaxes(1, 2).reshape(panels * tall, steps * 8)


def _groups(length: int, group_size: int | None) -> Iterator[tuple[int, slice]]:
    """Each group's number and columns."""
    size = group_size or max(length, 1)
    for group in range(group_count(length, size)):
        yield group, slice(group * size, min((group + 1) * size, length))


def _entries(params: Array, group: int) -> Array:
    """Of parameters [P, G, 16], those of one group, in the order of rows, as float32."""
    return params[:, group].reshape(-1).astype(np.float32)


def _weights(codes: Array, zero_point: Array | None, values: Array | None, group: int) -> Array:
    """What the codes of a group, int64, stand for, but for the scale."""
    if values is not None:
        return values.astype(np.float64 if values.dtype == np.float32 else np.int64)[codes]
    return codes - (8 if zero_point is None else zero_point[:, group].reshape(-1, 1).astype(int))


def _finished(y: Array, bias: Array | None, dtype_name: str, out: Array) -> Array:
    """The sums of those rows that there are, plus `bias`, as `dtype_name`."""
    y = np.ascontiguousarray(y[:, : out.shape[1]])
    return from_float32(y if bias is None else y + bias, dtype_name, out=out)
