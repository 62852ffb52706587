# SPDX-License-Identifier: MIT
"""The points of exact 1-D k-means, and what it costs to join neighbours in a cluster."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitmill._dtypes import Array

TINY = 2.0**-1022
"""The least weight of a cluster: where rounding leaves none, nothing is divided by zero."""


class Sum:
    """A sum with what was rounded off: as good as in twice the precision.

    >>> total = Sum()
    >>> for value in (1.0, 2.0**60, -(2.0**60)):
    ...     total.add(value)
    >>> total.value
    1.0
    """

    def __init__(self) -> None:
        self.rounded, self.rest = 0.0, 0.0

    def add(self, value: float) -> None:
        """Add one value (Knuth's TwoSum)."""
        total = self.rounded + value
        part = total - self.rounded
        self.rest += (self.rounded - (total - part)) + (value - part)
        self.rounded = total

    @property
    def value(self) -> float:
        """The sum, rounded once."""
        return self.rounded + self.rest


def prefix_sums(terms: Array) -> Array:
    """0, then the sums of the first 1, 2, … terms, each rounded once."""
    total, out = Sum(), [0.0]
    for term in terms.tolist():
        total.add(term)
        out.append(total.value)
    return np.array(out)


class Points(NamedTuple):
    """Different values in ascending order, float64 [m], with their weights, all above 0.

    Point i stands for the values before `ends[i]` that do not belong to one before it.
    """

    x: Array
    w: Array
    ends: Array

    @classmethod
    def of(cls, values: Array, weights: Array | None) -> Points:
        """The points of a row: equal values are one point, of their weights added up in order.

        Values without weight belong to the point below them, or to the first one. If no value has
        weight, each counts once.
        """
        w = np.ones_like(values) if weights is None or not weights.any() else weights
        starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
        x, total, ends = [], [], []
        for start, end in zip(starts, [*starts[1:], len(values)], strict=True):
            if (weight := sum(w[start:end].tolist())) > 0:
                x.append(values[start])
                total.append(weight)
                ends.append(end)
            elif ends:
                ends[-1] = end
        return cls(np.array(x), np.array(total), np.array(ends, np.int64))

    def mirrored(self) -> Points:
        """The points −x, in ascending order; without `ends`."""
        return Points(-self.x[::-1], self.w[::-1], self.ends[:0])

    def place(self, i: int) -> int:
        """Where the values of the first `i` points end."""
        return int(self.ends[i - 1]) if i else 0


class Costs:
    """Prefix sums [m+1] of the weights w of points, of w(x − c) and of w(x − c)²; c: the mean."""

    def __init__(self, points: Points) -> None:
        self.w = prefix_sums(points.w)
        center = prefix_sums(points.w * points.x)[-1] / max(self.w[-1], TINY)
        d = points.x - center
        wd = points.w * d
        self.s, self.q = prefix_sums(wd), prefix_sums(wd * d)

    def between(self, i: Array | int, j: Array | int) -> Array:
        """Σw(x − mean)² of points i … j−1: Q − S²/W, at least 0, for each i or each j."""
        w, s, q = self.w[j] - self.w[i], self.s[j] - self.s[i], self.q[j] - self.q[i]
        cost: Array = np.maximum(q - s * s / np.maximum(w, TINY), 0.0)
        return cost
