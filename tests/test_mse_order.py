# SPDX-License-Identifier: MIT
"""Which clip is never worse than which, group by group, as values come back.

Codes and values are computed in float32, by up to two operations each: a value may be off by `off`,
2^-22 of its magnitude and the offset's, which changes a squared error d² by off·(2·d + off).
"""

import numpy as np
import pytest

import bitmill as bm
from bitmill._dtypes import STORAGES
from test_mse_grid import DRAWS, RULES

GROUP = 48
ALL = RULES | {"offset": {"symmetric": False, "offset": True}}
KINDS = DRAWS | {
    "outlier": lambda rng, shape: rng.standard_normal(shape) * 10 ** rng.binomial(2, 0.05, shape),
    "positive": lambda rng, shape: 5 + rng.random(shape),
    "integers": lambda rng, shape: rng.integers(-20, 21, shape),
    "sparse": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) < 0.1),
}  # fmt: skip
HALF_UNIT = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""How far a number is from the next one of the dtype, relative to it, at most."""


def errors(x, w, scheme):
    """Σw(x − x̂)² of every group, and by how much float32 may change it."""
    takes = scheme.clip != bm.clip.MinMax()
    q = bm.quantize(x, scheme, importance=w if takes else None)
    y = bm.dequantize(q).astype(np.float64)
    d, off = np.abs(x - y), np.abs(y)
    if q.offset is not None:
        off = off + np.repeat(np.abs(q.offset.astype(np.float64)), GROUP, axis=1)
    off = 2.0**-22 * off
    return in_groups(w, d * d), in_groups(w, off * (2 * d + off))


def in_groups(w, values):
    weighted = values if w is None else w * values
    return weighted.reshape(len(values), -1, GROUP).sum(axis=2)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scales", STORAGES)
@pytest.mark.parametrize("rule", ALL)
def test_minmax_is_not_better_than_fast_nor_fast_than_exact(rng, rule, scales, weighted):
    """But for fast and exact, by what it costs to store the exact scale: up to Σwx² times the
    square of half a unit. The fast one may be luckier.
    """
    draws = [draw(rng, (8, 3 * GROUP)) for draw in KINDS.values()]
    x = np.concatenate(draws).astype(np.float32)
    w = np.where(rng.random(x.shape) < 0.2, 0, rng.random(x.shape) ** 3) if weighted else None
    if weighted:  # where all importance lies on zeros, a group is fitted as if there was none
        x[:, ::GROUP], w[:, ::GROUP] = 1.5, 1
    for bits in (2, 3, 4, 5, 6, 8):
        schemes = [
            bm.Affine(bits, group_size=GROUP, scales=scales, clip=clip, **ALL[rule])
            for clip in ("mse-exact", "mse", "minmax")
        ]
        exact, fast, usual = (errors(x, w, scheme) for scheme in schemes)
        assert (fast[0] <= usual[0] + fast[1] + usual[1]).all(), bits
        assert (exact[0] <= usual[0] + exact[1] + usual[1]).all(), bits
        storing = HALF_UNIT[scales] ** 2 * in_groups(w, x.astype(np.float64) ** 2)
        storing = 0 if rule == "offset" else storing
        assert (exact[0] <= fast[0] + storing + exact[1] + fast[1]).all(), bits
