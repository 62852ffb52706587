# SPDX-License-Identifier: MIT
"""Codes that stand for the values of a table: x ≈ values[code]·scale."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array, dtype
from bitmill._lookup import Lookup, largest, lookup
from bitmill._results import TableCodes, TableSums
from bitmill._sizes import group_count
from bitmill.reference.convert import from_float32, to_float32
from bitmill.reference.pack import pack, unpack
from bitmill.reference.ranges import minmax
from bitmill.reference.sums import in_lanes

LEAST_NORMAL = np.float32(2.0**-126)


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
    """Codes of `x` [R, C] in a table of 2 to 256 `values`, finite float32 in any order.

    The code is that of the value nearest to q = fl(x·fl(1/scale)), or the lower of two that are
    equally near. `scale` [R, groups] has any sign; q is the quotient x/scale where |scale| is below
    2^−126, and 0 where it is 0. Without scales q is x. uint8 [R, C], or with `bits` words that are
    packed as by `pack`.

    `values` is [n], or [T, n] with a table for every `rows_per_table` rows. `x` is taken to be
    finite; float64 is rounded to float32 first.
    """
    x, values, scale, size, out = _arguments.table_encode(
        x, values, scale, group_size, rows_per_table, bits, out
    )
    codes = np.empty(x.shape, np.uint8)
    for row, span, table, s in _each_group(values, scale, x.shape, size, rows_per_table):
        codes[row, span] = nearest(to_float32(x[row, span]), table, s)
    if bits is not None:
        return pack(codes, bits, out=out)
    out[...] = codes
    return out


def _each_group(
    values: Array,
    scale: Array | None,
    shape: tuple[int, ...],
    size: int | None,
    rows_per_table: int | None,
) -> Iterator[tuple[int, slice, Lookup, np.float32]]:
    """Row, columns, table and scale of every group."""
    tables = [lookup(table.reshape(1, -1)) for table in values]
    for row in range(shape[0]):
        table = tables[row // (rows_per_table or shape[0])]
        for group in range(group_count(shape[1], size)):
            span = slice(None) if size is None else slice(group * size, (group + 1) * size)
            s = np.float32(1) if scale is None else scale[row, group].astype(np.float32)
            yield row, span, table, s


def nearest(x: Array, table: Lookup, scale: np.float32) -> Array:
    """The codes of float32 values under one table and scale."""
    with np.errstate(all="ignore"):
        if scale == 0:
            q = np.zeros_like(x)
        elif abs(scale) < LEAST_NORMAL:
            q = x / scale
        else:
            q = x * (np.float32(1) / scale)
    codes: Array = table.order[0, np.searchsorted(table.thresholds[0], q, side="left")]
    return codes


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
    """Scale and codes of each group of `x` [R, C]: a rule, then `table_encode` with one table.

    Each rule is one float32 division, then rounded to the dtype `scales`:

    ============  =========================================================================
    "absmax"      max |x| / max |values|
    "signed_max"  v / u, with v the least or greatest x, u the least or greatest of `values`,
                  whichever lies further from 0 (of two, for v the least, for u the greatest)
    ============  =========================================================================

    A group of zeros gets the scale 1 if 0 is among the values, else 0, so that it is decoded to
    zeros. A scale that underflows becomes the smallest positive value of its dtype, keeping its
    sign; what is not finite is counted in `overflowed`, groups with NaN or infinity in `nonfinite`.
    """
    x, values, size, _ = _arguments.table_quantize(x, values, rule, scales, group_size, bits, out)
    lo, hi = minmax(x, size)
    bad = ~(np.isfinite(lo) & np.isfinite(hi))
    lo, hi = np.where(bad, np.float32(0), lo), np.where(bad, np.float32(0), hi)
    most = largest(values)
    if rule == "absmax":
        span, most = np.maximum(-lo, hi), abs(most)
    else:
        span = np.where(hi > -lo, hi, lo)
    with np.errstate(over="ignore", under="ignore"):
        scale, raised = _stored(span / most, span, scales)
    scale = np.where(span == 0, np.float32((values == 0).any()), scale)
    overflowed = int((~np.isfinite(scale)).sum())
    stored = from_float32(scale, scales)
    codes = table_encode(x, values, stored, group_size=group_size, bits=bits, out=out)
    return TableCodes(codes, stored, int(bad.sum()), overflowed, int(raised.sum()))


def _stored(exact: Array, span: Array, scales: str) -> tuple[Array, Array]:
    """Scales as the dtype stores them, widened, and which were raised to its smallest number."""
    to = dtype(scales)
    stored = to_float32(from_float32(exact, scales))
    smallest = np.array(1, f"uint{8 * to.itemsize}").view(to).astype(np.float32)
    raised = (stored == 0) & (span != 0)
    return np.where(raised, np.copysign(smallest, exact), stored), raised


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
    """Values [R, C] of codes, uint8 [R, C], or of packed words [R, W] (then `bits` and `length`).

    fl(values[code]·scale) in float32, then rounded once to `dtype_name`. A code without a value
    means the last one of the table.
    """
    codes, values, scale, size, length, out = _arguments.table_decode(
        codes, values, scale, group_size, rows_per_table, (bits, length), dtype_name, out
    )
    if bits is not None:
        codes = unpack(codes, bits, length, signed=False)
    for row, span, table, s in _each_group(values, scale, codes.shape, size, rows_per_table):
        index = np.minimum(codes[row, span], table.values.shape[1] - 1)
        with np.errstate(all="ignore"):
            out[row, span] = from_float32(table.values[0, index] * s, out.dtype.name)
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
    """Σw·x·t and Σw·t² over each group of `x` [R, C] for each of n scales, float64 [R, groups, n].

    t is the value that `table_encode` finds for x under that scale of `scales`, float32
    [R, groups, n]; w is `importance`, float32 [C] or [R, C], or 1. From these sums follow the error
    Σw·(x − s·t)² of a scale s, and the best scale for the same codes, Σwxt/Σwt².

    Products are float64, of which x·t, w·x and t² are exact; element i is added to lane i mod 16,
    then the lanes 8+8, 4+4, 2+2, 1+1.
    """
    x, values, scales, importance, size = _arguments.table_sums(
        x, values, scales, importance, group_size
    )
    made = TableSums(np.zeros(scales.shape), np.zeros(scales.shape))
    for k in range(scales.shape[2]):
        own = np.ascontiguousarray(scales[:, :, k])
        for (row, span, table, s), at in zip(
            _each_group(values, own, x.shape, size, None), np.ndindex(own.shape), strict=True
        ):
            group = to_float32(x[row, span])
            t = table.values[0, nearest(group, table, s)].astype(np.float64)
            w = np.float64(1) if importance is None else importance[row % len(importance), span]
            made.cross[(*at, k)] = in_lanes((w * group.astype(np.float64)) * t, 16) + 0.0
            made.square[(*at, k)] = in_lanes(w * (t * t), 16) + 0.0
    return made
