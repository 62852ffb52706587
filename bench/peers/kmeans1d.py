# SPDX-License-Identifier: MIT
"""kmeans1d: the exact optimum by SMAWK, in O(k n) after a sort."""

from __future__ import annotations

import numpy as np
from kmeans1d import cluster

from peers import Rival


def kmeans1d(x, k, ours):
    values = x.astype(np.float64).reshape(-1)

    def run():
        return cluster(values, k)

    def check(answer):
        centroids = np.array(answer.centroids)
        inertia = float(((values - centroids[np.array(answer.clusters)]) ** 2).sum())
        assert abs(inertia - ours) <= 5e-3 * ours

    return Rival(run, check)
