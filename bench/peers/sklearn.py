# SPDX-License-Identifier: MIT
"""scikit-learn: k-means++ and Lloyd's steps, once."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans

from peers import Rival


def kmeans1d(x, k, ours):
    column = x.astype(np.float32).reshape(-1, 1)

    def run():
        return KMeans(k, n_init=1, random_state=0).fit(column).inertia_

    def check(inertia):
        assert inertia >= ours * (1 - 1e-4)

    return Rival(run, check)
