# SPDX-License-Identifier: MIT
"""Values near the largest float32 are decoded to finite ones, or refused; never to infinity."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill._minifloats import MINIFLOATS
from bitmill.schemes.floats import KINDS
from bitmill.schemes.overflow import ScaleOverflowError

MAX = float(np.finfo(np.float32).max)
TWO_LEVEL = bm.Scales("float32", bits=6, super_block=256)
MICROSCALING = [kind for kind in KINDS if kind.startswith("mx")]
TABLES = [
    cls(clip=clip, scale_rule=rule, scales=scales)
    for cls in (bm.NF4, bm.FP4, bm.IQ4_NL, bm.LearnedTable)
    for clip in ("minmax", "mse")
    for rule in ("absmax", "signed_max")
    for scales in ("float32", "bfloat16")
]
SCHEMES = [
    *map(bm.Float, KINDS), *(bm.Float(kind, rule="floor") for kind in MICROSCALING), *TABLES,
    bm.IQ4_NL(16, scales=TWO_LEVEL), bm.IQ4_NL(16, clip="mse", scales=TWO_LEVEL),
    bm.NF4(double_quantization=True), bm.NF4(clip="mse", double_quantization=True),
    bm.Table((-3, 0, 5, 7), 16, scales="bfloat16"), bm.KMeans(2), bm.KMeans(2, "row"),
]  # fmt: skip


def patterns(rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of 64 values of magnitude 1 and less."""
    normal = rng.standard_normal((4, 64))
    normal /= np.abs(normal).max()
    flat = rng.uniform(-1, 1, (4, 64))
    flat[:, 0] = 1
    few = np.where(rng.random((4, 64)) < 0.1, np.sign(normal), 0.01)
    return [normal, np.sign(normal), few, -np.abs(normal), np.abs(normal), flat]


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_values_near_the_largest_float_stay_finite_or_are_refused(rng, scheme):
    importance = np.abs(rng.standard_normal(64)) if scheme.takes_importance else None
    refused = 0
    for share in (1, 0.9999, 0.98, 0.9, 0.8):
        for pattern in patterns(rng):
            x = (pattern * share * MAX).astype(np.float32)
            try:
                q = bm.quantize(x, scheme, importance=importance)
            except ScaleOverflowError:
                assert share > 0.98
                refused += 1
            else:
                assert np.isfinite(np.asarray(q)).all()
                assert np.isfinite(np.asarray(q.scale if q.scale is not None else 0, "f4")).all()
    assert refused <= 12


@pytest.mark.parametrize("kind", MICROSCALING)
def test_microscaling_saturates_at_the_largest_float(kind):
    top = MINIFLOATS[KINDS[kind].element]
    largest = top.max * 2.0 ** (127 - top.emax)
    x = np.zeros((2, 32), np.float32)
    x[0, :2] = MAX, -MAX
    x[1, :2] = largest, 1
    q = bm.quantize(x, bm.Float(kind))
    assert np.asarray(q)[:, :2].tolist() == [[largest, -largest], [largest, 0]]
    assert q.arrays["scale"].tolist() == [[254 - top.emax]] * 2
    assert q.scheme.health(x, q.arrays, fitted=True) == {"clipped": 2, "zero_groups": 0}
    assert (np.asarray(bm.quantize(x, bm.Float(kind, rule="floor"))) == np.asarray(q)).all()


@pytest.mark.parametrize("kind", MICROSCALING)
def test_scales_below_the_largest_are_rounded_up_as_ever(kind):
    x = np.full((1, 32), MAX / 2, np.float32)
    q = bm.quantize(x, bm.Float(kind))
    assert q.arrays["scale"].tolist() == [[254 - MINIFLOATS[KINDS[kind].element].emax]]
    assert np.asarray(q).max() == 2.0**127
    assert not any(q.scheme.health(x, q.arrays, fitted=True).values())


def test_the_error_names_the_group_and_what_overflows():
    x = np.ones((2, 64), np.float32)
    x[1, 40] = -MAX
    message = (
        r"group \(1, 1\) spans -3\.40282347e\+38 to 1 .*, whose IQ4_NL values overflow float32"
    )
    with pytest.raises(ValueError, match=message):
        bm.quantize(x, bm.IQ4_NL())
    with pytest.raises(ValueError, match=r"NF4 scale overflows bfloat16: use scales='float32'"):
        bm.quantize(x, bm.NF4(32, scales="bfloat16"))


def test_a_search_takes_what_the_rule_cannot(rng):
    x = (rng.uniform(-1, 1, (1, 32)) * MAX).astype(np.float32)
    x[0, 0] = -MAX
    with pytest.raises(ValueError, match="overflow float32"):
        bm.quantize(x, bm.IQ4_NL())
    assert bm.metrics(x, bm.quantize(x, bm.IQ4_NL(clip="mse"))).sqnr_db > 15


@pytest.mark.parametrize("scheme", [bm.Float("mxfp4"), bm.NF4(), bm.IQ4_NL(clip="mse")], ids=str)
def test_the_largest_bfloat16_values_are_taken(scheme):
    largest = ml_dtypes.finfo(ml_dtypes.bfloat16).max
    x = np.full((1, 64), largest, ml_dtypes.bfloat16)
    x[0, 1] = -largest
    assert np.isfinite(np.asarray(bm.quantize(x, scheme))).all()
