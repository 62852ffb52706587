# SPDX-License-Identifier: MIT
"""Tables of values."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from bitmill import _check
from bitmill._arguments.shared import (
    ranges,
    row_importance,
    stored_codes,
)
from bitmill._dtypes import STORAGES, Array, dtype
from bitmill._sizes import (
    group_count,
    word_count,
)

TABLE_RULES = ("absmax", "signed_max")
"""How a range becomes the scale of a table."""


def table_quantize(
    x: Any, values: Any, rule: Any, scales: Any, group_size: Any, bits: Any, out: Any
) -> tuple[Array, Array, int | None, Array]:
    """x, values [1, n], group size, out."""
    x, size = ranges(x, group_size)
    values = _tables(values, x.shape[0], None)
    _check.choice(rule, "rule", TABLE_RULES)
    _check.choice(scales, "scales", STORAGES)
    if not values.any():
        raise ValueError("values are all 0: no scale makes anything of them")
    return x, values, size, _table_codes(x, values, bits, out)


def table_encode(
    x: Any,
    values: Any,
    scale: Any,
    group_size: Any,
    rows_per_table: Any,
    bits: Any,
    out: Any,
) -> tuple[Array, Array, Array | None, int | None, Array]:
    """x, values [T, n], scale, group size, out."""
    x, size = ranges(x, group_size)
    values = _tables(values, x.shape[0], rows_per_table)
    if scale is not None:
        shape = (x.shape[0], group_count(x.shape[1], size))
        scale = _check.shaped(scale, "scale", shape, STORAGES)
    return x, values, scale, size, _table_codes(x, values, bits, out, values, scale)


def table_decode(
    codes: Any,
    values: Any,
    scale: Any,
    group_size: Any,
    rows_per_table: Any,
    words: tuple[Any, Any],
    dtype_name: Any,
    out: Any,
) -> tuple[Array, Array, Array | None, int | None, int, Array]:
    """codes or words, values [T, n], scale, group size, row length, out.

    `words` is bits and length.
    """
    bits, length = words
    if bits is None and isinstance(codes, np.ndarray):
        _check.contiguous(codes, "codes", ("uint8",))
    codes, length = stored_codes(codes, bits, length, None if bits is None else False)
    size, rows = _check.group_size(group_size), codes.shape[0]
    values = _tables(values, rows, rows_per_table)
    if scale is not None:
        scale = _check.shaped(scale, "scale", (rows, group_count(length, size)), STORAGES)
    to = dtype(_check.float_dtype(dtype_name, "dtype_name"))
    out = _check.output(out, (rows, length), to, codes, values, scale)
    return codes, values, scale, size, length, out


def table_sums(
    x: Any, values: Any, scales: Any, importance: Any, group_size: Any
) -> tuple[Array, Array, Array, Array | None, int | None]:
    """x, values [1, n], scales, importance, group size."""
    x, size = ranges(x, group_size)
    values = _tables(values, x.shape[0], None)
    shape = (x.shape[0], group_count(x.shape[1], size))
    count = scales.shape[-1] if isinstance(scales, np.ndarray) and scales.ndim == 3 else 1
    scales = _check.shaped(scales, "scales", (*shape, count), ("float32",))
    return x, values, scales, row_importance(importance, x), size


def _tables(values: Any, rows: int, rows_per_table: Any) -> Array:
    """[T, n]: as many tables of 2 to 256 finite values as those rows take."""
    if isinstance(values, np.ndarray) and values.ndim == 1:
        values = values.reshape(1, -1)
    tables = _check.matrix(values, "values", ("float32",))
    if not 2 <= tables.shape[1] <= 256:
        raise ValueError(f"values has {tables.shape[1]} entries in a table; wanted 2 to 256")
    if not np.isfinite(tables).all():
        raise ValueError("values are not all finite")
    wanted = 1
    if rows_per_table is not None:
        per = _check.integer(rows_per_table, "rows_per_table", low=1, high=sys.maxsize)
        wanted = -(-rows // per)
    if len(tables) != wanted:
        raise ValueError(
            f"values has {len(tables)} tables; {rows} rows take {wanted} at "
            f"rows_per_table={rows_per_table}"
        )
    return tables


def _table_codes(x: Array, values: Array, bits: Any, out: Any, *inputs: Array | None) -> Array:
    """`out`, or a new array, for the codes of x, or for the words they are packed into."""
    if bits is None:
        return _check.output(out, x.shape, np.dtype(np.uint8), x, *inputs)
    bits = _check.integer(bits, "bits", low=1, high=8)
    if values.shape[1] > 1 << bits:
        raise ValueError(f"the codes of {values.shape[1]} values do not fit {bits} bits")
    shape = (x.shape[0], word_count(x.shape[1], bits))
    return _check.output(out, shape, np.dtype(np.uint32), x, *inputs)
