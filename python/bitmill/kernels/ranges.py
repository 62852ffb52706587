# SPDX-License-Identifier: MIT
"""Ranges: absmax and min/max of groups along rows, and of columns."""

from __future__ import annotations

import numpy as np

from bitmill import _check, _core
from bitmill._dtypes import Array, carrier, code
from bitmill._results import Range
from bitmill._threads import resolve

Source = tuple[Array, int, int, int, int]
"""What to read: array, code of its dtype, rows, columns, and group size or rows at a time."""

_COLUMN_CHUNK = 1 << 18  # values that one thread merges into one row of column ranges, about


def absmax(x: Array, group_size: int | None = None, *, num_threads: int | None = None) -> Array:
    """`bitmill.reference.absmax`, fast."""
    out, arguments = _groups(x, group_size)
    if x.size:
        _core.absmax(*arguments, out, resolve(num_threads))
    return out


def minmax(x: Array, group_size: int | None = None, *, num_threads: int | None = None) -> Range:
    """`bitmill.reference.minmax`, fast."""
    lo, arguments = _groups(x, group_size)
    hi = np.zeros_like(lo)
    if x.size:
        _core.minmax(*arguments, lo, hi, resolve(num_threads))
    return Range(lo, hi)


def _groups(x: Array, group_size: int | None) -> tuple[Array, Source]:
    """An array of zeros for the ranges, and the arguments that say what to read."""
    x = _check.matrix(x, "x")
    size = _check.group_size(group_size)
    rows, length = x.shape
    out = np.zeros((rows, _check.group_count(length, size)), np.float32)
    group = length if size is None else min(size, length)
    return out, (carrier(x), code(x.dtype.name), rows, length, group)


def column_absmax(x: Array, *, num_threads: int | None = None) -> Array:
    """`bitmill.reference.column_absmax`, fast."""
    parts, arguments = _chunks(x)
    if x.size:
        _core.column_absmax(*arguments, parts, resolve(num_threads))
    largest: Array = parts.max(axis=0, initial=0)
    return largest


def column_minmax(x: Array, *, num_threads: int | None = None) -> Range:
    """`bitmill.reference.column_minmax`, fast."""
    lo, arguments = _chunks(x)
    hi = np.zeros_like(lo)
    if x.size == 0:
        return Range(*np.zeros((2, x.shape[1]), np.float32))
    _core.column_minmax(*arguments, lo, hi, resolve(num_threads))
    # Not lo.min(): where NaN stands for "not finite", NumPy would still answer, but with a warning.
    return Range(np.minimum.reduce(lo, axis=0), np.maximum.reduce(hi, axis=0))


def _chunks(x: Array) -> tuple[Array, Source]:
    """A row of zeros for the ranges of each chunk of rows, and what to read."""
    x = _check.matrix(x, "x")
    rows, columns = x.shape
    step = max(1, _COLUMN_CHUNK // max(1, columns))
    parts = np.zeros((-(-rows // step), columns), np.float32)
    return parts, (carrier(x), code(x.dtype.name), rows, columns, step)
