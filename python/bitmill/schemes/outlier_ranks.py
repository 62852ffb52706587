# SPDX-License-Identifier: MIT
"""Which values have the largest magnitudes, or lie beyond a limit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array

_BLOCK = 1 << 18  # values that are compared at a time


def largest(x: Array, count: int, *, num_threads: int | None = None) -> Array:
    """Places of the `count` largest magnitudes in each row of `x` [S, L], ascending: int64 [S, n].

    Of equal ones the first are taken. Raises ValueError for NaN and infinity.

    >>> largest(np.float32([[1, -3, 2, 3, 3]]), 2)
    array([[1, 3]])
    """
    rows, length = x.shape
    if count == 0 or rows == 0:
        return np.zeros((rows, count), np.int64)
    found = kernels.order_statistics(x, length - count, magnitude=True, num_threads=num_threads)
    if found.nonfinite:
        raise _check.nonfinite_error(x)
    least = found.low.view(np.int32).tolist()
    return np.stack([_of_row(row, bits, count) for row, bits in zip(x, least, strict=True)])


def beyond(x: Array, limit: float) -> Array:
    """Places in `x` [L] of magnitudes above `limit`, ascending: int64.

    >>> beyond(np.float32([1, -3, 2]), 1.5)
    array([1, 2])
    """
    most, found = _bits_up_to(limit), [np.zeros(0, np.int64)]
    for start, part in blocks(x):
        found.append(start + np.flatnonzero(_magnitudes(part) > most))
    return np.concatenate(found)


def blocks(row: Array) -> Iterator[tuple[int, Array]]:
    """Where each block of the values of a row starts, and they as float32."""
    for start in range(0, row.size, _BLOCK):
        yield start, kernels.to_float32(row[start : start + _BLOCK])


def _of_row(row: Array, least: int, count: int) -> Array:
    """`largest` of one row, by the bits of the least magnitude that is taken."""
    above, equal, room = [], [], count
    for start, part in blocks(row):
        magnitude = _magnitudes(part)
        here = np.flatnonzero(magnitude >= least)
        is_equal = magnitude[here] == least
        above.append(start + here[~is_equal])
        equal.append(start + here[is_equal][:room])
        room -= len(equal[-1])
    taken = count - sum(map(len, above))
    return np.sort(np.concatenate([*above, np.concatenate(equal)[:taken]]))


def _magnitudes(x: Array) -> Array:
    """The bits of |x|, which are ordered as the values are: also where the caller has subnormal
    numbers taken for zero."""
    magnitudes: Array = x.view(np.int32) & 0x7FFFFFFF
    return magnitudes


def _bits_up_to(limit: float) -> int:
    """The bits of the greatest float32 that is not above `limit`."""
    nearest = kernels.to_float32(np.array([limit]))
    is_above = kernels.from_float32(nearest, "float64")[0] > limit
    return int(nearest.view(np.int32)[0]) - int(is_above)
