# SPDX-License-Identifier: MIT
"""Errors, histograms and order statistics."""

from __future__ import annotations

from typing import Any

from bitmill import _check
from bitmill._arguments.shared import (
    row_importance,
)
from bitmill._dtypes import FLOATS, Array

MAX_BINS = 32767
"""Of a histogram; and its least and greatest exponent, and index of a bin."""

EXPONENTS, INDEXES = (-149, 128), (-(1 << 24), 1 << 24)


def error_sums(x: Any, y: Any) -> tuple[Array, Array]:
    """x, y."""
    x, y = _check.matrix(x, "x", FLOATS), _check.matrix(y, "y", ("float32",))
    _check.same_shape(x, y, "x and y")
    return x, y


def weighed_error(x: Any, y: Any, importance: Any) -> tuple[Array, Array, Array]:
    """x, y, importance [R or 1, C]."""
    x, y = error_sums(x, y)
    if importance is None:
        raise TypeError("importance is None; wanted a NumPy array, or error_sums without it")
    weights = row_importance(importance, x)
    assert weights is not None
    return x, y, weights


def histogram(x: Any, exponent: Any, first: Any, bins: Any) -> tuple[Array, int]:
    """x, bins."""
    x = _check.matrix(x, "x")
    for given, name, (low, high) in ((exponent, "exponent", EXPONENTS), (first, "first", INDEXES)):
        _check.shaped(given, name, x.shape[:1], ("int32",))
        if given.size and not (low <= given.min() and given.max() <= high):
            raise ValueError(f"{name} has values outside {low}..{high}")
    return x, _check.integer(bins, "bins", low=1, high=MAX_BINS)


def order_statistics(x: Any, rank: Any, magnitude: Any) -> tuple[Array, int, bool]:
    """x, rank, magnitude."""
    x = _check.matrix(x, "x")
    if x.shape[1] == 0:
        raise ValueError(f"x has shape {x.shape}: rows without values have no ranks")
    rank = _check.integer(rank, "rank", low=0, high=x.shape[1] - 1)
    return x, rank, _check.flag(magnitude, "magnitude")
