# SPDX-License-Identifier: MIT
"""Products of matrices with weights of 4 bits."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments, _core
from bitmill._dtypes import Array, carrier, code, name_of
from bitmill._threads import resolve

_CODES = np.arange(16, dtype=np.float32)
"""What codes stand for before a zero-point is subtracted."""


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
    """`bitmill.reference.matmul_w4a8`, fast: weights are read as they lie in memory, once."""
    given = x, x_scale, x_zero_point, w, w_scale, w_zero_point, values, bias
    out = _arguments.matmul_w4a8(*given, rows, group_size, dtype_name, out)
    unsigned, zeros = x.dtype == np.uint8, x_zero_point
    if unsigned:
        zeros = np.full((len(x), 1), -128) if zeros is None else zeros.astype(np.int32) - 128
    if zeros is not None:
        zeros = zeros.astype(np.int32)
    table = None if values is None else np.tile(values.view(np.uint8) ^ np.uint8(128), 4)
    _core.matmul_w4a8(
        x, int(unsigned), (x_scale, zeros), w, (carrier(w_scale), w_zero_point, table),
        code(name_of(w_scale.dtype)), 8 if values is None else 128, _whole(x, group_size), bias,
        len(x), rows, x.shape[1], carrier(out), code(dtype_name), resolve(num_threads),
    )  # fmt: skip
    return out


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
    """`bitmill.reference.matmul_w4a16`, fast: weights are read once for 128 rows of x."""
    given = x, w, w_scale, w_zero_point, values, bias
    out = _arguments.matmul_w4a16(*given, rows, group_size, dtype_name, out)
    if values is None:
        values = _CODES - np.float32(8) if w_zero_point is None else _CODES
    _core.matmul_w4a16(
        x, 2, (None, None), w, (carrier(w_scale), w_zero_point, values.view(np.uint8)),
        code(name_of(w_scale.dtype)), 0, _whole(x, group_size), bias,
        len(x), rows, x.shape[1], carrier(out), code(dtype_name), resolve(num_threads),
    )  # fmt: skip
    return out


def _whole(x: Array, group_size: int | None) -> int:
    """Columns of a group: whole eights."""
    all_of_them: int = max(8, -(-x.shape[1] // 8) * 8)
    return all_of_them if group_size is None else min(group_size, all_of_them)
