# SPDX-License-Identifier: MIT
"""Exact 1-D k-means by dynamic programming, its layers by divide and conquer.

The least cost of the first j points in t clusters is D[t][j] = min over i of D[t−1][i] + C(i, j),
where C(i, j) is the cost of points i … j−1 in one cluster. The best i grows with j: once it is
known for one j, those before it look below, those behind it above. Equal costs: the least i.
"""

from __future__ import annotations

import numpy as np

from bitmill.reference.points import Costs, Points, prefix_sums

TOGETHER = 8
"""Neighbours that are no longer divided: each looks at all that is left."""


class Layers:
    """D[t][j] as `cost`, and the best i as `best`, for t up to `count`.

    Layer t is found for j = t … m − spare(t), where `whole` clusters in all leave so many points to
    those that come later; None: for all j.
    """

    def __init__(self, costs: Costs, count: int, whole: int | None) -> None:
        self.costs, self.points = costs, len(costs.w) - 1
        self.best = np.zeros((count + 2, self.points + 1), np.int64)
        self.cost = np.full((count + 2, self.points + 1), np.inf)
        self.cost[0, 0] = 0
        for t in range(1, count + 1):
            last = self.points - (0 if whole is None else whole - t)
            self._divide(t, t, last, t - 1, 0 if t == 1 else last - 1)

    def pick(self, t: int, j: int, low: int, high: int) -> int:
        """Find D[t][j] among i = low … high, as far as these are below j; the best of them."""
        i = np.arange(low, min(high, j - 1) + 1)
        found = self.cost[t - 1, i] + self.costs.between(i, j)
        at = int(np.argmin(found))
        self.cost[t, j], self.best[t, j] = found[at], low + at
        return low + at

    def _divide(self, t: int, first: int, last: int, low: int, high: int) -> None:
        """Find D[t][first … last], whose best i lie in low … high."""
        if last - first < TOGETHER:
            for j in range(first, last + 1):
                self.pick(t, j, low, high)
            return
        middle = (first + last) // 2
        at = self.pick(t, middle, low, high)
        self._divide(t, first, middle - 1, low, at)
        self._divide(t, middle + 1, last, at, high)

    def path(self, t: int, j: int) -> list[int]:
        """Where the first j points are cut for D[t][j]: t + 1 places from 0 to j."""
        places = [j]
        for layer in range(t, 0, -1):
            places.append(int(self.best[layer, places[-1]]))
        return places[::-1]


def divided(costs: Costs, k: int) -> list[int]:
    """Where the points are cut into k clusters of least cost: k + 1 places."""
    points = len(costs.w) - 1
    layers = Layers(costs, k - 1, k)
    layers.pick(k, points, k - 1, points - 1 if k > 1 else 0)
    return layers.path(k, points)


class _Side:
    """The points on one side of 0, which is behind the last: some clusters, then that of 0."""

    def __init__(self, points: Points, most: int) -> None:
        self.points, self.most = len(points.x), min(most, len(points.x))
        self.layers = Layers(Costs(points), self.most, None)
        squares = prefix_sums(points.w * points.x * points.x)
        zeros = np.maximum(squares[-1] - squares, 0.0)
        totals = self.layers.cost[: self.most + 1] + zeros
        self.ends = totals.argmin(axis=1)
        self.cost = totals.min(axis=1)

    def path(self, count: int) -> list[int]:
        """Where `count` clusters are cut that leave the rest to the cluster of 0."""
        return self.layers.path(count, int(self.ends[count]))


def around_zero(points: Points, k: int) -> tuple[list[int], int]:
    """Where the points are cut if one of at most k centroids is 0, and the number of its cluster.

    Beside that cluster there are a below and k − 1 − a above it, as far as there are points. Both
    sides are solved for every a; equal costs: the least.
    """
    negative = int((points.x < 0).sum())
    left = _Side(Points(points.x[:negative], points.w[:negative], points.ends[:0]), k - 1)
    above = Points(points.x[negative:], points.w[negative:], points.ends[:0])
    right = _Side(above.mirrored(), k - 1)
    below = np.arange(left.most + 1)
    behind = np.minimum(k - 1 - below, right.most)
    count = int(np.argmin(left.cost[below] + right.cost[behind]))
    cuts = [len(points.x) - place for place in reversed(right.path(int(behind[count])))]
    return left.path(count) + cuts, count
