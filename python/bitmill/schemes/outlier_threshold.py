# SPDX-License-Identifier: MIT
"""Thresholds for outliers: a magnitude, a percentile of them, or deviations from the median."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bitmill import _check, kernels, percentile
from bitmill._dtypes import Array
from bitmill.schemes.outlier_ranks import beyond, blocks

MAGNITUDE, PERCENTILE, MAD = "magnitude", "percentile", "mad"
_SIGMA = 1.4826
"""Standard deviations in one median absolute deviation of normal values."""
_HALVED = 2.0**126


class Threshold(NamedTuple):
    """Where outliers begin."""

    kind: str
    number: float

    def positions(self, x: Array, *, num_threads: int | None = None) -> Array:
        """Places of the outliers in `x` [L], ascending: int64. ValueError for NaN and infinity.

        >>> Threshold(MAD, 3.0).positions(np.float32([9, 1, 2, 3, 40]))
        array([4])
        """
        if x.size == 0:
            return np.zeros(0, np.int64)
        if self.kind == MAD:
            return _deviating(x, self.number, num_threads)
        rows = x[np.newaxis]
        if self.kind == PERCENTILE:
            options: dict[str, Any] = {"magnitude": True, "num_threads": num_threads}
            return beyond(x, float(percentile.of_rows(rows, self.number, x, **options)[0]))
        if not np.isfinite(kernels.absmax(rows, num_threads=num_threads)).all():
            raise _check.nonfinite_error(x)
        return beyond(x, self.number)


def parse(given: Any) -> Threshold:
    """The threshold that a number, "percentile:99.9" or "mad:6" says.

    >>> parse(6), parse("percentile:99.9")
    (Threshold(kind='magnitude', number=6.0), Threshold(kind='percentile', number=99.9))
    """
    if not isinstance(given, str):
        return Threshold(MAGNITUDE, _check.positive(given, "threshold"))
    kind, _, number = given.partition(":")
    if kind not in (PERCENTILE, MAD):
        raise ValueError(f"threshold={given!r} is not a number, 'percentile:99.9' or 'mad:6'")
    value = _check.parsed_number(number, f"threshold {kind!r}")
    if kind == PERCENTILE:
        return Threshold(kind, _check.between(value, "threshold 'percentile'", 0, 100))
    return Threshold(kind, _check.positive(value, "threshold 'mad'"))


def _deviating(x: Array, sigmas: float, num_threads: int | None) -> Array:
    """Places of values more than so many σ̂ from the median m, with σ̂ = 1.4826 · median |x − m|.

    Where more than half of the values are equal, σ̂ is the root of the mean of (x − m)².
    """
    deviations = _deviations(x, num_threads)
    sigma = _SIGMA * _median(deviations, num_threads)
    if sigma == 0:
        row = deviations[np.newaxis]
        squares = kernels.error_sums(row, row, num_threads=num_threads).xx
        sigma = float(np.sqrt(squares[0] / x.size))
    return beyond(deviations, sigmas * sigma)


def _deviations(x: Array, num_threads: int | None) -> Array:
    """|x − m| from the median, float32: half of it where that could overflow."""
    nearest = kernels.to_float32(np.array([_median(x, num_threads)]))
    median = kernels.from_float32(nearest, "float64")
    largest = kernels.absmax(x[np.newaxis], num_threads=num_threads)
    unit = 0.5 if largest[0, 0] > _HALVED else 1.0
    found = np.empty(x.size, np.float32)
    for start, part in blocks(x):
        apart = kernels.from_float32(part, "float64") - median
        found[start : start + part.size] = kernels.to_float32(np.abs(apart) * unit)
    return found


def _median(x: Array, num_threads: int | None) -> float:
    return float(percentile.of_rows(x[np.newaxis], 50, x, num_threads=num_threads)[0])
