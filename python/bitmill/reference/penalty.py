# SPDX-License-Identifier: MIT
"""Exact 1-D k-means by a penalty for every cluster, which takes no longer for many of them.

With a penalty p per cluster, the least cost of the first j points is
F[j] = min over i of F[i] + C(i, j) + p, whatever their number. A larger penalty makes fewer
clusters, and some penalty makes k, or some make fewer and more at the same total.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from bitmill.reference.points import Costs

GUESSES = 8
"""Passes in which a power law may say which penalty to try next."""


class Path(NamedTuple):
    """Where points are cut into clusters, what those cost, and the penalty that found them."""

    places: list[int]
    cost: float
    penalty: float

    @property
    def clusters(self) -> int:
        """The number of clusters."""
        return len(self.places) - 1


class _Queue:
    """Which i may still be the best, and from which j on: a later one wins from some j on."""

    def __init__(self, costs: Costs) -> None:
        self.costs, self.points = costs, len(costs.w) - 1
        self.least = np.zeros(self.points + 1)
        self.entries, self.front = [(0, 1)], 0

    def value(self, i: int, j: int) -> float:
        """F[i] + C(i, j)."""
        return float(self.least[i] + self.costs.between(i, j))

    def best(self, j: int) -> int:
        """The best i for the next j."""
        while self.front + 1 < len(self.entries) and self.entries[self.front + 1][1] <= j:
            self.front += 1
        return self.entries[self.front][0]

    def add(self, i: int) -> None:
        """Put in i, whose F is known: behind those that are better for some j from i + 1 on."""
        while len(self.entries) > self.front:
            last, start = self.entries[-1]
            start = max(start, i + 1)
            if self.value(i, start) >= self.value(last, start):
                break
            self.entries.pop()
        if len(self.entries) == self.front:
            self.entries.append((i, i + 1))
        elif first := self._first(i, last, start):
            self.entries.append((i, first))

    def _first(self, i: int, last: int, start: int) -> int:
        """The first j behind `start` for which i is better than `last`; 0 if there is none."""
        low, high, step = start, start, 1
        while True:
            if low == self.points:
                return 0
            high = min(low + step, self.points)
            if self.value(i, high) < self.value(last, high):
                break
            low, step = high, 2 * step
        while high - low > 1:
            middle = (low + high) // 2
            if self.value(i, middle) < self.value(last, middle):
                high = middle
            else:
                low = middle
        return high


def cheapest(costs: Costs, penalty: float) -> Path:
    """The path of least cost and penalties."""
    queue = _Queue(costs)
    best = np.zeros(queue.points + 1, np.int64)
    for j in range(1, queue.points + 1):
        best[j] = queue.best(j)
        queue.least[j] = queue.value(int(best[j]), j) + penalty
        if j < queue.points:
            queue.add(j)
    places = [queue.points]
    while places[-1]:
        places.append(int(best[places[-1]]))
    return path_of(costs, places[::-1], penalty)


def path_of(costs: Costs, places: list[int], penalty: float) -> Path:
    """A path with its cost, summed from its start."""
    cost = 0.0
    for i, j in pairwise(places):
        cost += float(costs.between(i, j))
    return Path(places, cost, penalty)


def spliced(few: Path, many: Path, k: int) -> list[int]:
    """k clusters from two paths of the same total, of which one has fewer and the other more.

    Somewhere a cluster of the first contains one of the other: there the start of the other, up to
    and with that place, goes on as the first. What is left has the same total again, or less.
    """
    more = k - few.clusters
    i = max(i for i in range(few.clusters) if few.places[i] <= many.places[i + more])
    return many.places[: i + more + 1] + few.places[i + 1 :]


def penalized(costs: Costs, k: int) -> list[int]:
    """Where the points are cut into k clusters of least cost: k + 1 places, 1 < k < m."""
    points = len(costs.w) - 1
    few = path_of(costs, [0, points], np.inf)
    many = path_of(costs, list(range(points + 1)), 0.0)
    penalty = 4 * few.cost / (float(k) * k * k)
    guess = True
    for passes in range(1, 1 << 62):
        if not guess:
            penalty = (few.cost - many.cost) / (many.clusters - few.clusters)
        found = cheapest(costs, penalty)
        if found.clusters == k:
            return found.places
        if not few.clusters < found.clusters < many.clusters:
            if not guess:
                return spliced(few, many, k)
        elif found.clusters < k:
            few = found
        else:
            many = found
        guess = False
        if passes < GUESSES:  # costs of clusters fall with the cube of their number, about
            ratio = found.clusters / k
            penalty *= ratio * ratio * ratio
            guess = many.penalty < penalty < few.penalty
        elif passes % 2:  # halve what is left
            penalty = (many.penalty + few.penalty) / 2
            guess = many.penalty < penalty < few.penalty
    raise AssertionError("unreachable")
