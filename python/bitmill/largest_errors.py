# SPDX-License-Identifier: MIT
"""Where the largest errors are."""

from __future__ import annotations

import numpy as np

from bitmill._dtypes import Array

_BLOCK = 1 << 18  # values that are looked at together


def largest_error(x: Array, y: Array) -> int:
    """The first place at which |x − y| is largest, along two rows of values [C].

    >>> largest_error(np.array([1.0, 5.0, 2.0]), np.array([1.0, 2.0, 5.0]))
    1
    """
    largest, at = -1.0, 0
    for start in range(0, x.size, _BLOCK):
        errors = _errors(x[start : start + _BLOCK], y[start : start + _BLOCK])
        here = int(errors.argmax())
        if errors[here] > largest:
            largest, at = float(errors[here]), start + here
    return at


def largest_errors(x: Array, y: Array) -> Array:
    """The same of each row of two matrices [R, C]: places in the matrix laid flat, int64 [R]."""
    rows, length = x.shape
    at: Array = np.arange(rows, dtype=np.int64) * length
    if length > _BLOCK:
        at += np.array([largest_error(a, b) for a, b in zip(x, y, strict=True)], np.int64)
        return at
    step = max(1, _BLOCK // max(1, length))
    for start in range(0, rows if length else 0, step):
        part = slice(start, start + step)
        at[part] += _errors(x[part], y[part]).argmax(axis=1)
    return at


def _errors(x: Array, y: Array) -> Array:
    """|x − y| without rounding, as the error kernel has it."""
    errors: Array = np.abs(x.astype(np.float64) - y)
    return errors
