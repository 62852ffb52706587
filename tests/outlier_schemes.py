# SPDX-License-Identifier: MIT
"""Outlier schemes of every kind, weights for them, and which of these are kept."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import bitmill as bm
from bitmill.schemes.base import Cut

INNER: list[Any] = [
    bm.Affine(4),
    bm.Affine(4, group_size=32),
    bm.Affine(2, axis=None),
    bm.Affine(8, axis=1),
    bm.Affine(3, symmetric=False),
    bm.Affine(4, symmetric=False, offset=True, group_size=32),
    bm.Affine(4, symmetric=False, offset=True, axis=None),
    bm.Affine(4, clip="mse"),
    bm.Affine(4, group_size=32, scales=bm.Scales("float16", super_block=64)),
    bm.NF4(group_size=32),
    bm.IQ4_NL(),
    bm.Float("fp8_e4m3"),
    bm.Float("mxfp4"),
    bm.KMeans(3),
    bm.KMeans(2, "row"),
    bm.LearnedTable(3),
]
OWN_ROWS = [inner for inner in INNER if inner.cut((2, 2)) == Cut(0)]
AMOUNTS: list[dict[str, Any]] = [
    {"fraction": 0.01},
    {"fraction": 0.01, "by": "loss"},
    {"fraction": 0.03, "per": "row"},
    {"threshold": 20},
    {"threshold": "percentile:99"},
    {"threshold": "mad:6"},
    {"count": 5},
    {"budget_bits": 33.0},
    {"mode": "column"},
    {"fraction": 0.05, "mode": "column"},
]
KINDS = [bm.Outliers(inner, **amount) for inner, amount in itertools.product(INNER, AMOUNTS)]


def name_of(scheme: bm.Outliers) -> str:
    return scheme.describe().replace(" ", "-") + scheme.by * (scheme.by == "loss") + scheme.per


def values(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal values, and one in fifty far outside."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(np.float32)
    x.reshape(-1)[rng.integers(x.size, size=x.size // 50)] *= 30
    return x


def kept(q: bm.QTensor) -> list[int]:
    """Flat places of the weights that were kept."""
    assert isinstance(q.scheme, bm.Outliers)
    return q.scheme.places(q.arrays, q.shape).tolist()


def by_hand(x: np.ndarray, count: int) -> list[int]:
    """Places of the largest magnitudes; of equal ones the first."""
    order = np.argsort(-np.abs(x.reshape(-1).astype(np.float32)), kind="stable")
    return sorted(order[:count].tolist())
