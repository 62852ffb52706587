# SPDX-License-Identifier: MIT
"""Ascending positions as steps of one or two bytes, in a room that no data can exceed.

With gap = position − (the one before, or −1) − 1, a position is gap div e escapes, each of value e,
and then one step of gap mod e, where e is the greatest value of the dtype. All gaps of n positions
below L add up to at most L − n, so n + (L − n) div e steps have room for any; escapes fill the
rest. So the position after any step is the sum of all steps so far, and of all that are no escapes.
"""

from __future__ import annotations

import numpy as np

from bitmill._dtypes import Array

_DTYPES = ("uint8", "uint16")


def steps_for(length: int, count: int) -> tuple[str, int]:
    """The dtype, and how many steps hold `count` positions below `length`: the fewest bytes.

    >>> steps_for(1000, 10), steps_for(100_000, 10), steps_for(1000, 0)
    (('uint8', 13), ('uint16', 11), ('uint8', 0))
    """
    if count == 0:
        return _DTYPES[0], 0
    found = [(name, count + (length - count) // _escape(name)) for name in _DTYPES]
    return min(found, key=lambda each: np.dtype(each[0]).itemsize * each[1])


def to_steps(positions: Array, length: int) -> Array:
    """Steps [S, m] for ascending positions [S, n], int64, in each of S ranges below `length`.

    >>> to_steps(np.array([[3, 4, 600]]), 700)
    array([[  3,   0, 255, 255,  85]], dtype=uint8)
    """
    rows, count = positions.shape
    name, room = steps_for(length, count)
    steps = np.full((rows, room), _escape(name), name)
    gaps = np.diff(positions, axis=1, prepend=-1) - 1
    escapes, last = np.divmod(gaps, _escape(name))
    at = np.cumsum(escapes, axis=1) + np.arange(count)
    np.put_along_axis(steps, at, last.astype(name), axis=1)
    return steps


def to_positions(steps: Array, length: int, count: int) -> Array:
    """The inverse of `to_steps`: int64 [S, count].

    Raises ValueError for steps that do not tell of `count` positions below `length` in each range.

    >>> to_positions(np.array([[3, 0, 255, 255, 85]], np.uint8), 700, 3)
    array([[  3,   4, 600]])
    """
    is_last = steps != _escape(steps.dtype.name)
    ends = np.cumsum(steps, axis=1, dtype=np.int64) + np.cumsum(is_last, axis=1) - 1
    if (is_last.sum(axis=1) == count).all():
        found: Array = ends[is_last].reshape(len(steps), count)
        if found[:, -1:].max(initial=0) < max(1, length):
            return found
    raise ValueError(f"outlier_steps: they tell of no {count} positions below {length}")


def _escape(name: str) -> int:
    return int(np.iinfo(name).max)
