# SPDX-License-Identifier: MIT
"""Sums that add up in any order: pieces of batches are summed in double, and their sums exactly."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array

_LEAST = 298
"""Sums are held as integers, in units of 2^−298: the square of the least float32 is one unit."""
UNIT = 1 << _LEAST

_ROWS, _COLUMNS = 16, 1 << 16  # that are summed at a time


def no_sums(channels: int) -> Array:
    """Sums of nothing: Python's integers, which do not overflow.

    >>> no_sums(2)
    array([0, 0], dtype=object)
    """
    return np.zeros(channels, object)


def square_sums(rows: Array) -> Array:
    """Σx² of each row of finite values, in units.

    >>> [int(sum) / UNIT for sum in square_sums(np.float32([[1, -2], [0.5, 0]]))]
    [5.0, 0.25]
    """
    found: Array = _sums(rows, lambda x: kernels.error_sums(x, x).xx[np.newaxis])[0]
    return found


def moment_sums(rows: Array) -> Array:
    """Σx, Σ|x| and Σx² of each row of finite values, in units: [3, rows].

    >>> [int(sum) / UNIT for sum in moment_sums(np.float32([[1, -2]]))[:, 0]]
    [-1.0, 3.0, 5.0]
    """
    return _sums(rows, _moments)


def _moments(x: Array) -> Array:
    ones = np.ones_like(x)
    plain = kernels.error_sums(x, ones)
    return np.stack([plain.xy, kernels.error_sums(np.abs(x), ones).xy, plain.xx])


def _sums(rows: Array, sums: Callable[[Array], Array]) -> Array:
    """`sums` [k, rows] of all columns, by pieces of a fixed width, so that only they are copied."""
    total = []
    for start in range(0, rows.shape[0], _ROWS):
        some = rows[start : start + _ROWS]
        pieces = (some[:, at : at + _COLUMNS] for at in range(0, rows.shape[1], _COLUMNS))
        total.append(sum(_exactly(sums(_float32(piece))) for piece in pieces))
    all_rows: Array = np.concatenate(total, axis=1)
    return all_rows


def _float32(piece: Array) -> Array:
    return kernels.to_float32(np.ascontiguousarray(piece))


def _exactly(sums: Array) -> Array:
    units: Array = np.frompyfunc(lambda value: int(math.ldexp(value, _LEAST)), 1, 1)(sums)
    return units
