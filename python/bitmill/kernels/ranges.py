# SPDX-License-Identifier: MIT
"""Ranges: absmax and min/max of groups along rows, and of columns."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments, _check, _core
from bitmill._dtypes import Array, carrier, code, name_of
from bitmill._results import Range
from bitmill._sizes import group_count
from bitmill._threads import resolve

Source = tuple[Array, int, int, int, int]
"""What to read: array, code of its dtype, rows, columns, and group size or rows at a time."""

_COLUMN_CHUNK = 1 << 18  # values that one thread merges into one row of column ranges, about


def absmax(x: Array, group_size: int | None = None, *, num_threads: int | None = None) -> Array:
    """`bitmill.reference.absmax`, fast."""
    out, source = _groups(x, group_size)
    threads = resolve(num_threads)
    if x.size:
        _core.absmax(*source, out, threads)
    return out


def minmax(x: Array, group_size: int | None = None, *, num_threads: int | None = None) -> Range:
    """`bitmill.reference.minmax`, fast."""
    lo, source = _groups(x, group_size)
    hi = np.zeros_like(lo)
    threads = resolve(num_threads)
    if x.size:
        _core.minmax(*source, lo, hi, threads)
    return Range(lo, hi)


def _groups(x: Array, group_size: int | None) -> tuple[Array, Source]:
    """An array of zeros for the ranges, and what to read."""
    x, size = _arguments.ranges(x, group_size)
    rows, length = x.shape
    out = np.zeros((rows, group_count(length, size)), np.float32)
    return out, (carrier(x), code(name_of(x.dtype)), rows, length, min(size or length, length))


def column_absmax(x: Array, *, num_threads: int | None = None) -> Array:
    """`bitmill.reference.column_absmax`, fast."""
    parts, source = _chunks(x)
    threads = resolve(num_threads)
    largest = np.zeros(x.shape[1], np.float32)
    if x.size:
        _core.column_absmax(*source, parts, threads)
        _core.column_absmax(*_whole(parts), largest, threads)
    return largest


def column_minmax(x: Array, *, num_threads: int | None = None) -> Range:
    """`bitmill.reference.column_minmax`, fast."""
    lo, source = _chunks(x)
    hi = np.zeros_like(lo)
    threads = resolve(num_threads)
    least, most, unused = np.zeros((3, x.shape[1]), np.float32)
    if x.size:
        _core.column_minmax(*source, lo, hi, threads)
        _core.column_minmax(*_whole(lo), least, unused, threads)
        _core.column_minmax(*_whole(hi), unused, most, threads)
    return Range(least, most)


def _chunks(x: Array) -> tuple[Array, Source]:
    """A row of zeros for the ranges of each chunk of rows, and what to read."""
    x = _check.matrix(x, "x")
    rows, columns = x.shape
    # Wide matrices are shared by columns: more than 64 chunks would only cost memory.
    step = max(1, _COLUMN_CHUNK // max(1, columns), -(-rows // 64))
    parts = np.zeros((-(-rows // step), columns), np.float32)
    return parts, (carrier(x), code(name_of(x.dtype)), rows, columns, step)


def _whole(parts: Array) -> Source:
    """The ranges of all chunks, to be read as one."""
    rows, columns = parts.shape
    return parts, code("float32"), rows, columns, rows
