# SPDX-License-Identifier: MIT
"""The least cost of k clusters of numbers, by trying every end of each in rational arithmetic."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

INFINITE = Fraction(1 << 200)


class Line:
    """Values in ascending order with weights, as fractions."""

    def __init__(self, values: list[float], weights: list[float]) -> None:
        self.x = [Fraction(v) for v in values]
        self.w = [Fraction(w) for w in weights]
        self.sums = [(Fraction(0),) * 3]
        for x, w in zip(self.x, self.w, strict=True):
            last = self.sums[-1]
            self.sums.append((last[0] + w, last[1] + w * x, last[2] + w * x * x))

    def cost(self, i: int, j: int) -> Fraction:
        """Σw(x − mean)² of the values i … j−1."""
        w, s, q = (b - a for a, b in zip(self.sums[i], self.sums[j], strict=True))
        return q - s * s / w if w else Fraction(0)

    def zero_cost(self, i: int, j: int) -> Fraction:
        """Σwx² of the values i … j−1."""
        return self.sums[j][2] - self.sums[i][2]

    def partition(self, edges: list[int], zero: int = -1) -> Fraction:
        """The cost of the clusters between these edges."""
        costs = (self.zero_cost if c == zero else self.cost for c in range(len(edges) - 1))
        return sum((f(i, j) for f, (i, j) in zip(costs, pairwise(edges), strict=True)), Fraction(0))

    def optima(self, most: int, *, pin_zero: bool = False) -> list[Fraction]:
        """The least cost of at most 1, 2, … `most` clusters, of which one may be that of 0."""
        n = len(self.x)
        cost = {(i, j): self.cost(i, j) for j in range(n + 1) for i in range(j + 1)}
        free = [Fraction(0)] + [INFINITE] * n
        used = [min(free[i] + self.zero_cost(i, j) for i in range(j + 1)) for j in range(n + 1)]
        found = [used[n]] if pin_zero else []
        for _ in range(most):
            if pin_zero:
                longer = [min(used[i] + cost[i, j] for i in range(j + 1)) for j in range(n + 1)]
            free = [min(free[i] + cost[i, j] for i in range(j + 1)) for j in range(n + 1)]
            if pin_zero:
                ends = [
                    min(free[i] + self.zero_cost(i, j) for i in range(j + 1)) for j in range(n + 1)
                ]
                used = [min(pair) for pair in zip(longer, ends, strict=True)]
            found.append((used if pin_zero else free)[n])
        return found[:most]
