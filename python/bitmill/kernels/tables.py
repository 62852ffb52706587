# SPDX-License-Identifier: MIT
"""Codes that stand for the values of a table."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bitmill import _arguments, _core
from bitmill._arguments import RULES
from bitmill._dtypes import Array, carrier, code, dtype, name_of
from bitmill._lookup import Lookup, largest, lookup, padded
from bitmill._results import TableCodes, TableSums
from bitmill._sizes import group_count
from bitmill._threads import resolve

Tables = tuple[Array, Array, Array, float, float]
"""(values, thresholds, order, divisor, empty) as `csrc/bind/tables.cpp` reads them."""


def table_encode(
    x: Array,
    values: Array,
    scale: Array | None = None,
    *,
    group_size: int | None = None,
    rows_per_table: int | None = None,
    bits: int | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """`bitmill.reference.table_encode`, fast."""
    x, values, scale, size, out = _arguments.table_encode(
        x, values, scale, group_size, rows_per_table, bits, out
    )
    threads = resolve(num_threads)
    if x.size:
        rows, length = x.shape
        _core.table_encode(
            _quantizer(scale, bits), _tables(values), rows_per_table or rows, carrier(x),
            code(name_of(x.dtype)), rows, length, min(size or length, length), _carrier(scale), out,
            threads,
        )  # fmt: skip
    return out


def table_quantize(
    x: Array,
    values: Array,
    *,
    rule: str = "absmax",
    scales: str = "float32",
    group_size: int | None = None,
    bits: int | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> TableCodes:
    """`bitmill.reference.table_quantize`, fast: each group is read from memory once."""
    x, values, size, codes = _arguments.table_quantize(
        x, values, rule, scales, group_size, bits, out
    )
    threads = resolve(num_threads)
    rows, length = x.shape
    has_zero = bool((values == 0).any())
    scale = np.full((rows, group_count(length, size)), has_zero, dtype(scales))
    if x.size == 0:
        return TableCodes(codes, scale, 0, 0, 0)
    divisor = largest(values)
    tables = _tables(values, float(abs(divisor) if rule == "absmax" else divisor), float(has_zero))
    counts = _core.table_quantize(
        (0, 255, RULES.index(rule), code(scales), bits or 0), tables, carrier(x),
        code(name_of(x.dtype)), rows, length, min(size or length, length), carrier(scale), codes,
        threads,
    )  # fmt: skip
    return TableCodes(codes, scale, *counts)


def table_decode(
    codes: Array,
    values: Array,
    scale: Array | None = None,
    *,
    group_size: int | None = None,
    rows_per_table: int | None = None,
    bits: int | None = None,
    length: int | None = None,
    dtype_name: str = "float32",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """`bitmill.reference.table_decode`, fast."""
    codes, values, scale, size, length, out = _arguments.table_decode(
        codes, values, scale, group_size, rows_per_table, (bits, length), dtype_name, out
    )
    threads = resolve(num_threads)
    if out.size:
        rows = len(codes)
        _core.table_decode(
            _quantizer(scale, bits), _tables(values), rows_per_table or rows, codes, rows, length,
            min(size or length, length), _carrier(scale), carrier(out), code(name_of(out.dtype)),
            threads,
        )  # fmt: skip
    return out


def table_sums(
    x: Array,
    values: Array,
    scales: Array,
    importance: Array | None = None,
    *,
    group_size: int | None = None,
    num_threads: int | None = None,
) -> TableSums:
    """`bitmill.reference.table_sums`, fast."""
    x, values, scales, importance, size = _arguments.table_sums(
        x, values, scales, importance, group_size
    )
    made = TableSums(np.zeros(scales.shape), np.zeros(scales.shape))
    threads = resolve(num_threads)
    if x.size and scales.size:
        rows, length = x.shape
        by_row = importance is not None and importance.shape[0] == rows
        _core.table_sums(
            _tables(values), carrier(x), code(name_of(x.dtype)), rows, length,
            min(size or length, length), importance, by_row, scales, scales.shape[2], *made,
            threads,
        )  # fmt: skip
    return made


def _tables(values: Array, divisor: float = 1.0, empty: float = 0.0) -> Tables:
    """Prepared tables; a single one is kept, for preparing it takes as long as 100,000 codes."""
    prepared = padded(lookup(values)) if len(values) > 1 else _prepared(values.tobytes())
    return (*prepared, divisor, empty)


@lru_cache(maxsize=16)
def _prepared(values: bytes) -> Lookup:
    return padded(lookup(np.frombuffer(values, np.float32).reshape(1, -1)))


def _quantizer(scale: Array | None, bits: int | None) -> tuple[int, int, int, int, int]:
    """As `csrc/bind/quantizer.hpp` reads it; without scales their dtype does not matter."""
    return 0, 255, 0, code("float32" if scale is None else name_of(scale.dtype)), bits or 0


def _carrier(scale: Array | None) -> Array | None:
    return None if scale is None else carrier(scale)
