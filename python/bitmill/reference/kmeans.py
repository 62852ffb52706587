# SPDX-License-Identifier: MIT
"""Exact weighted k-means of numbers on a line."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array
from bitmill._results import Clusters
from bitmill._sizes import divides_clusters
from bitmill.reference.divide import around_zero, divided
from bitmill.reference.penalty import penalized
from bitmill.reference.points import Costs, Points, Sum


def kmeans_edges(
    values: Array,
    weights: Array | None,
    k: int,
    *,
    pin_zero: bool = False,
    num_threads: int | None = None,
) -> Clusters:
    """The k clusters of each row whose Σw(x − centroid)² is least (Wang and Song 2011, R Journal).

    `values` is float64 [R, n], finite, each row in ascending order; `weights` float64 [R, n], from
    0 on, or None for ones; k is 1 … 4096. Clusters of numbers are intervals: cluster c of row r
    holds values[r, edges[r, c]:edges[r, c+1]]. Equal values are never parted. Where fewer different
    values have weight than there are clusters, those at the end are empty and repeat the last
    centroid. A value without weight belongs to the cluster of the one below it; a row without any
    weight is one whose weights are all 1. Among several optima, clusters end early.

    With `pin_zero`, exactly one centroid is 0, that of cluster `zero`, which costs Σwx² and may be
    empty. It takes k·n of at most 2²⁶ and at most 65,535 values.

    Up to so many clusters the layers of the dynamic programme are found by divide and conquer, in
    O(k n log n); more of them by a penalty per cluster, in O(n log n).

    >>> kmeans_edges(np.array([[1.0, 2.0, 9.0, 11.0]]), None, 2).centroids
    array([[ 1.5, 10. ]])
    """
    values, weights, k, pin_zero = _arguments.kmeans_edges(values, weights, k, pin_zero)
    rows = len(values)
    edges, centroids = np.zeros((rows, k + 1), np.int64), np.zeros((rows, k))
    cost, zero = np.zeros(rows), np.full(rows, -1, np.int64)
    for row in range(rows):
        points = Points.of(values[row], None if weights is None else weights[row])
        places, zero[row] = _places(points, k, pin_zero)
        edges[row] = [points.place(i) for i in _padded(places, k + 1)]
        found, cost[row] = _centroids(points, places, int(zero[row]))
        centroids[row] = _padded(found, k)
    return Clusters(edges, centroids, cost, zero)


def _places(points: Points, k: int, pin_zero: bool) -> tuple[list[int], int]:
    """Where the points are cut, and the number of the cluster whose centroid is 0, or -1."""
    count = len(points.x)
    if pin_zero:
        return around_zero(points, k)
    if k >= count:
        return list(range(count + 1)), -1
    solver = divided if divides_clusters(count, k) else penalized
    return solver(Costs(points), k), -1


def _padded(items: list[Any], length: int) -> list[Any]:
    return items + items[-1:] * (length - len(items))


def _centroids(points: Points, places: list[int], zero: int) -> tuple[list[float], float]:
    """Means, each as the first point and the mean distance from it, and their cost."""
    centroids, cost = [], Sum()
    for cluster, (i, j) in enumerate(pairwise(places)):
        x, w = points.x[i:j].tolist(), points.w[i:j].tolist()
        centroid = 0.0
        if cluster != zero:
            weight, offset = Sum(), Sum()
            for value, each in zip(x, w, strict=True):
                weight.add(each)
                offset.add(each * (value - x[0]))
            centroid = x[0] + offset.value / weight.value + 0.0
        for value, each in zip(x, w, strict=True):
            cost.add(each * ((value - centroid) * (value - centroid)))
        centroids.append(centroid)
    return centroids, cost.value
