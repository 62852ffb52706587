# SPDX-License-Identifier: MIT
"""Products of matrices, and codes of their sums."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from bitmill import _check
from bitmill._dtypes import STORAGES, Array, dtype, name_of
from bitmill._sizes import (
    dot_tiles_shape,
    group_count,
    nibble_tiles_shape,
)

MOST_INT8, MOST_W8A8 = 131_071, 65_793
"""Longest rows whose sums of products, of two int8, and of an int8 and a uint8, stay below 2^31."""

MOST_W4A8_ANY_ZERO = 33_025
"""The same of an int8 or uint8 and a code of 4 bits less any byte."""


def matmul_int8(x: Any, w: Any, out: Any) -> tuple[Array, Array, Array]:
    """x, w, out."""
    x, w = _check.matrix(x, "x", ("int8",)), _check.matrix(w, "w", ("int8",))
    if x.shape[1] != w.shape[1]:
        raise ValueError(f"x and w have shapes {x.shape} and {w.shape}; wanted rows of one length")
    _summable(x, MOST_INT8)
    return x, w, _check.output(out, (len(x), len(w)), np.dtype(np.int32), x, w)


def matmul_w8a8(
    x: Any,
    x_scale: Any,
    x_zero_point: Any,
    w: Any,
    w_scale: Any,
    w_zero_point: Any,
    w_sum: Any,
    bias: Any,
    dtype_name: Any,
    out: Any,
) -> Array:
    """out."""
    _check.matrix(x, "x", ("int8", "uint8"))
    _summable(x, MOST_W8A8)
    _check.choice(dtype_name, "dtype_name", STORAGES)
    tokens, rows = (len(x), 1), (len(_check.matrix(w_scale, "w_scale", ("float32",))), 1)
    _check.shaped(x_scale, "x_scale", tokens, ("float32",))
    if x_zero_point is not None:
        _check.shaped(x_zero_point, "x_zero_point", tokens, (name_of(x.dtype),))
    _check.shaped(w, "w", dot_tiles_shape(rows[0], x.shape[1]), ("uint8",))
    _check.shaped(w_scale, "w_scale", rows, ("float32",))
    _check.shaped(w_zero_point, "w_zero_point", rows, ("uint8",))
    _check.shaped(w_sum, "w_sum", rows, ("int32",))
    if bias is not None:
        _check.shaped(bias, "bias", rows[:1], ("float32",))
    inputs = x, x_scale, x_zero_point, w, w_scale, w_zero_point, w_sum, bias
    return _check.output(out, (len(x), rows[0]), dtype(dtype_name), *inputs)


def matmul_sums(x: Any, w: Any, w_zero_point: Any, bias: Any, out: Any) -> Array:
    """out."""
    rows = _panels(x, w, w_zero_point, bias)
    return _check.output(out, (len(x), rows), np.dtype(np.int32), x, w, w_zero_point, bias)


def matmul_requantized(
    x: Any,
    w: Any,
    w_zero_point: Any,
    bias: Any,
    multiplier: Any,
    shift: Any,
    zero_point: Any,
    qmin: Any,
    qmax: Any,
    rounding: Any,
    dtype_name: Any,
    out: Any,
) -> Array:
    """out."""
    rows = _panels(x, w, w_zero_point, bias)
    _requantized(rows, multiplier, shift, zero_point, qmin, qmax, rounding, dtype_name)
    inputs = x, w, w_zero_point, bias, multiplier, shift
    return _check.output(out, (len(x), rows), np.dtype(dtype_name), *inputs)


def _panels(x: Any, w: Any, w_zero_point: Any, bias: Any) -> int:
    """How many rows w has, if it is weights of 8 bits for rows of x, with an integer for each."""
    _check.matrix(x, "x", ("int8", "uint8"))
    _summable(x, MOST_W8A8)
    rows = len(_check.matrix(w_zero_point, "w_zero_point", ("uint8",)))
    _check.shaped(w_zero_point, "w_zero_point", (rows, 1), ("uint8",))
    _check.shaped(w, "w", dot_tiles_shape(rows, x.shape[1]), ("uint8",))
    if bias is not None:
        _check.shaped(bias, "bias", (rows,), ("int32",))
    return rows


def matmul_w4a8(
    x: Any,
    x_scale: Any,
    x_zero_point: Any,
    w: Any,
    w_scale: Any,
    w_zero_point: Any,
    values: Any,
    bias: Any,
    rows: Any,
    group_size: Any,
    dtype_name: Any,
    out: Any,
) -> Array:
    """out."""
    _check.matrix(x, "x", ("int8", "uint8"))
    _summable(x, MOST_W8A8)
    _check.shaped(x_scale, "x_scale", (len(x), 1), ("float32",))
    if x_zero_point is not None:
        _check.shaped(x_zero_point, "x_zero_point", (len(x), 1), (name_of(x.dtype),))
    _nibbles(x, w, w_scale, w_zero_point, values, "int8", bias, rows, group_size)
    if w_zero_point is not None and x.shape[1] > MOST_W4A8_ANY_ZERO and (w_zero_point > 15).any():
        raise ValueError(
            f"w_zero_point has values above 15; with rows beyond {MOST_W4A8_ANY_ZERO:,} a sum of "
            "products may not fit int32"
        )
    inputs = x, x_scale, x_zero_point, w, w_scale, w_zero_point, values, bias
    _check.choice(dtype_name, "dtype_name", STORAGES)
    return _check.output(out, (len(x), rows), dtype(dtype_name), *inputs)


def matmul_w4a16(
    x: Any,
    w: Any,
    w_scale: Any,
    w_zero_point: Any,
    values: Any,
    bias: Any,
    rows: Any,
    group_size: Any,
    dtype_name: Any,
    out: Any,
) -> Array:
    """out."""
    _check.matrix(x, "x", ("float32",))
    _nibbles(x, w, w_scale, w_zero_point, values, "float32", bias, rows, group_size)
    inputs = x, w, w_scale, w_zero_point, values, bias
    _check.choice(dtype_name, "dtype_name", STORAGES)
    return _check.output(out, (len(x), rows), dtype(dtype_name), *inputs)


def _nibbles(
    x: Array,
    w: Any,
    w_scale: Any,
    w_zero_point: Any,
    values: Any,
    value_dtype: str,
    bias: Any,
    rows: Any,
    group_size: Any,
) -> None:
    """Raise unless these are weights of 4 bits, [rows, K], for rows of x."""
    count, length = _check.integer(rows, "rows", low=0, high=sys.maxsize), x.shape[1]
    if group_size is not None:
        _check.group_size(group_size)
        if group_size % 8:
            raise ValueError(
                f"group_size={group_size} is no multiple of 8 (or None for whole rows)"
            )
    _check.shaped(w, "w", nibble_tiles_shape(count, length), ("uint8",))
    params = -(-count // 16), group_count(length, group_size or max(length, 1)), 16
    _check.shaped(w_scale, "w_scale", params, STORAGES)
    if w_zero_point is not None:
        _check.shaped(w_zero_point, "w_zero_point", params, ("uint8",))
    if values is not None:
        _check.shaped(values, "values", (16,), (value_dtype,))
        if not np.isfinite(values).all():
            raise ValueError("values has entries that are not finite")
        if w_zero_point is not None:
            raise ValueError("w_zero_point goes with codes that stand for themselves, not values")
    if bias is not None:
        _check.shaped(bias, "bias", (count,), ("float32",))


def _summable(x: Array, most: int) -> None:
    """Raise if sums over the rows of x may not fit 32 bits."""
    if x.shape[1] > most:
        raise ValueError(
            f"x has rows of {x.shape[1]:,}; beyond {most:,} a sum of products may not fit int32: "
            "multiply parts of the rows, and add"
        )


ROUNDINGS = ("single", "double")
"""How `requantize` rounds."""

LEAST_SHIFT, MOST_SHIFT = -31, 30
"""Of a factor multiplier·2^(shift − 31)."""


def requantize(
    acc: Any,
    multiplier: Any,
    shift: Any,
    zero_point: Any,
    qmin: Any,
    qmax: Any,
    rounding: Any,
    dtype_name: Any,
    out: Any,
) -> Array:
    """out."""
    _check.matrix(acc, "acc", ("int32",))
    _requantized(acc.shape[1], multiplier, shift, zero_point, qmin, qmax, rounding, dtype_name)
    return _check.output(out, acc.shape, np.dtype(dtype_name), acc, multiplier, shift)


def _requantized(
    columns: int,
    multiplier: Any,
    shift: Any,
    zero_point: Any,
    qmin: Any,
    qmax: Any,
    rounding: Any,
    dtype_name: Any,
) -> None:
    """Raise unless sums of so many columns can become codes by these."""
    _check.shaped(multiplier, "multiplier", (columns,), ("int32",))
    _check.shaped(shift, "shift", (columns,), ("int32",))
    if multiplier[multiplier < 1 << 30].any():
        raise ValueError(
            "multiplier has values other than 0 and 2^30 to 2^31 - 1: "
            "take those of bm.integer.quantize_multiplier"
        )
    if columns and not LEAST_SHIFT <= shift.min() <= shift.max() <= MOST_SHIFT:
        raise ValueError(f"shift has values outside {LEAST_SHIFT}..{MOST_SHIFT}")
    codes_between(zero_point, qmin, qmax, dtype_name)
    _check.choice(rounding, "rounding", ROUNDINGS)


def codes_between(zero_point: Any, qmin: Any, qmax: Any, dtype_name: Any) -> None:
    """Raise unless these are codes of int8 or uint8."""
    limits = np.iinfo(_check.choice(dtype_name, "dtype_name", ("int8", "uint8")))
    _check.integer(zero_point, "zero_point", low=int(limits.min), high=int(limits.max))
    _check.integer(qmin, "qmin", low=int(limits.min), high=int(limits.max))
    _check.integer(qmax, "qmax", low=qmin, high=int(limits.max))
