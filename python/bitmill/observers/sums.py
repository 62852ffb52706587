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

_COLUMNS = 1 << 18  # of a row that are summed in double
_VALUES = 1 << 20  # that are copied at a time


def no_sums(channels: int) -> Array:
    """Sums of nothing: Python's integers, which do not overflow.

    >>> no_sums(2)
    array([0, 0], dtype=object)
    """
    return np.zeros(channels, object)


def square_sums(rows: Array, num_threads: int | None = None) -> Array:
    """Σx² of each row of finite values, in units.

    >>> [int(sum) / UNIT for sum in square_sums(np.float32([[1, -2], [0.5, 0]]))]
    [5.0, 0.25]
    """

    def sums(x: Array) -> list[Array]:
        return [kernels.error_sums(x, x, num_threads=num_threads).xx]

    found: Array = _sums(rows, sums)[0]
    return found


def moment_sums(rows: Array, num_threads: int | None = None) -> Array:
    """Σx, Σ|x| and Σx² of each row of finite values, and how many are 0, in units: [4, rows].

    >>> [int(sum) / UNIT for sum in moment_sums(np.float32([[1, -2, 0]]))[:, 0]]
    [-1.0, 3.0, 5.0, 1.0]
    """

    def sums(x: Array) -> list[Array]:
        bits, ones = x.view(np.int32), np.ones_like(x)
        magnitude = (bits & 0x7FFFFFFF).view(np.float32)
        plain = kernels.error_sums(x, ones, num_threads=num_threads)
        absolute = kernels.error_sums(magnitude, ones, num_threads=num_threads)
        zeros = x.shape[1] - np.count_nonzero(bits << 1, axis=1)
        return [plain.xy, absolute.xy, plain.xx, zeros.astype(np.float64)]

    return _sums(rows, sums)


def _sums(rows: Array, sums: Callable[[Array], list[Array]]) -> Array:
    """`sums` [k, rows] of all columns: those of pieces of a fixed length, added exactly."""
    count, length = rows.shape
    step = max(1, _VALUES // min(_COLUMNS, length))
    total = []
    for start in range(0, count, step):
        some = rows[start : start + step]
        pieces = (some[:, at : at + _COLUMNS] for at in range(0, length, _COLUMNS))
        total.append(sum(_exactly(np.stack(sums(_float32(piece)))) for piece in pieces))
    all_rows: Array = np.concatenate(total, axis=1)
    return all_rows


def _float32(piece: Array) -> Array:
    piece = np.ascontiguousarray(piece)
    return piece if piece.dtype == np.float32 else kernels.to_float32(piece)


def _exactly(sums: Array) -> Array:
    units: Array = np.frompyfunc(lambda value: int(math.ldexp(value, _LEAST)), 1, 1)(sums)
    return units
