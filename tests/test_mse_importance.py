# SPDX-License-Identifier: MIT
"""Importance: which errors it weighs, in which forms it comes, and what of it counts."""

import numpy as np
import pytest

import bitmill as bm
from bitmill import kernels
from bitmill._importance import importance_for
from conftest import same_bits

RULES = {
    "absmax": {},
    "signed_max": {"scale_rule": "signed_max"},
    "asymmetric": {"symmetric": False},
    "offset": {"symmetric": False, "offset": True},
}
VIEWS = [
    {"axis": "row"}, {"group_size": 16}, {"group_size": 7}, {"axis": None},
    {"axis": 0}, {"axis": 1}, {"axis": 2}, {"axis": -1},
]  # fmt: skip


def params(q):
    return [q.scale, q.zero_point, q.offset]


def same_arrays(q, wanted, what=""):
    assert list(q.arrays) == list(wanted.arrays), what
    for name, array in q.arrays.items():
        same_bits(array, wanted.arrays[name], (what, name))


def groups(array, axis="row", group_size=None):
    """Values group by group, in the order of their parameters, by NumPy alone."""
    if axis is None:
        return [array.reshape(-1)]
    if axis == "row":
        step = group_size or array.shape[-1]
        rows = array.reshape(-1, array.shape[-1])
        return [row[i : i + step] for row in rows for i in range(0, len(row), step)]
    return list(np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).copy())


@pytest.mark.parametrize("clip", ["mse", "mse-exact"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("view", VIEWS, ids=str)
@pytest.mark.parametrize("shape", [(4, 5, 30), (2, 3, 4, 25)])
def test_every_group_is_fitted_by_its_own_importance(rng, view, rule, clip, shape):
    x = rng.standard_normal(shape, np.float32)
    scheme = bm.Affine(3, clip=clip, **view, **RULES[rule])
    for given in (rng.random(shape[-1]) * 9, rng.random(shape) * 9):
        q = bm.quantize(x, scheme, importance=given)
        weights = np.broadcast_to(importance_for(given, shape), shape)
        exact = clip == "mse-exact"
        made = [
            kernels.mse_params(v[None], w[None], **scheme.grid._asdict(), exact=exact)
            for v, w in zip(groups(x, **view), groups(weights, **view), strict=True)
        ]
        for k, found in enumerate(params(q)):
            if found is not None:
                same_bits(found.reshape(-1), np.concatenate([m[k].reshape(-1) for m in made]))


@pytest.mark.parametrize("clip", ["mse", "mse-exact"])
@pytest.mark.parametrize("rule", RULES)
def test_powers_of_two_change_nothing(rng, rule, clip):
    x, w = rng.standard_normal((5, 60), np.float32), rng.random(60)
    scheme = bm.Affine(4, group_size=20, clip=clip, **RULES[rule])
    wanted = bm.quantize(x, scheme, importance=w)
    for factor in (2.0**-900, 0.25, 2, 2.0**70, 2.0**1000):
        same_arrays(bm.quantize(x, scheme, importance=w * factor), wanted, factor)


@pytest.mark.parametrize("rule", ["absmax", "signed_max", "asymmetric"])
def test_other_factors_change_no_more_than_the_last_bit_of_importance_does(rng, rule):
    """Weights are rounded to float32, so that errors are weighed by 1 + 2^-23 at most, twice."""
    x, w = rng.standard_normal((50, 64), np.float32), rng.random(64)
    scheme = bm.Affine(4, group_size=32, clip="mse-exact", **RULES[rule])

    def errors(factor):
        d = x - bm.dequantize(bm.quantize(x, scheme, importance=w * factor)).astype(np.float64)
        return (w * d * d).reshape(50, 2, 32).sum(axis=2)

    for factor in (3, 0.1, 1e20):
        np.testing.assert_allclose(errors(factor), errors(1), rtol=2e-6)


@pytest.mark.parametrize("clip", ["mse", "mse-exact"])
def test_ratios_between_groups_do_not_count(rng, clip):
    x, w = rng.standard_normal((3, 64), np.float32), rng.random((3, 64)).astype(np.float32)
    scheme = bm.Affine(4, group_size=32, clip=clip)
    factors = np.repeat([1, 2.0**-20], 32)
    wanted = bm.quantize(x, scheme, importance=w)
    same_arrays(bm.quantize(x, scheme, importance=w * factors), wanted)


@pytest.mark.parametrize("rule", ["absmax", "signed_max"])
@pytest.mark.parametrize("clip", ["mse", "mse-exact"])
def test_values_without_importance_do_not_move_the_scale(rng, clip, rule):
    """As long as they are not the largest ones, from which the fast search starts."""
    x, w = rng.standard_normal((4, 64), np.float32), np.ones(64)
    x[:, 0], w[5:9] = 4, 0
    scheme = bm.Affine(4, clip=clip, **RULES[rule])
    wanted = bm.quantize(x, scheme, importance=w)
    for value in (0, -3.9, 3):
        x[:, 5:9] = value
        made = bm.quantize(x, scheme, importance=w)
        if clip == "mse-exact":
            same_bits(made.scale, wanted.scale, value)
        else:  # the ladder of scales begins at a deviation without weights
            np.testing.assert_allclose(made.scale, wanted.scale, rtol=0.05)


def test_an_outlier_without_importance_does_not_move_the_exact_scale(rng):
    x, w = rng.standard_normal((4, 64), np.float32), np.ones(64)
    w[7] = 0
    scheme = bm.Affine(4, clip="mse-exact")
    wanted = bm.quantize(x, scheme, importance=w)
    x[:, 7] = 1000
    same_bits(bm.quantize(x, scheme, importance=w).scale, wanted.scale)


@pytest.mark.parametrize("clip", ["mse", "mse-exact"])
@pytest.mark.parametrize("rule", RULES)
def test_importance_that_is_zero_or_the_same_everywhere_is_none(rng, rule, clip):
    x = rng.standard_normal((3, 48), np.float32)
    scheme = bm.Affine(4, group_size=16, clip=clip, **RULES[rule])
    wanted = bm.quantize(x, scheme)
    same_arrays(bm.quantize(x, scheme, importance=np.zeros(48)), wanted)
    if clip == "mse-exact" and rule != "offset":
        same_arrays(bm.quantize(x, scheme, importance=np.full(48, 7.0)), wanted)


def test_importance_may_have_any_float_dtype_and_strides(rng):
    x = rng.standard_normal((6, 32), np.float32)
    w = rng.integers(0, 200, (32, 12)).astype(np.float16).T[::2]
    scheme = bm.Affine(4, clip="mse")
    wanted = bm.quantize(x, scheme, importance=np.ascontiguousarray(w).astype(np.float64))
    before = w.tobytes()
    same_arrays(bm.quantize(x, scheme, importance=w), wanted)
    assert w.tobytes() == before


@pytest.mark.parametrize(
    ("importance", "error", "message"),
    [
        (np.ones(5), ValueError, r"importance has shape \(5,\); wanted \(4,\) or \(3, 4\)"),
        (np.ones((4, 3)), ValueError, r"importance has shape \(4, 3\)"),
        (np.ones((1, 4)), ValueError, r"importance has shape \(1, 4\)"),
        (np.array([1.0, 2, -0.5, 1]), ValueError, r"importance\.flat\[2\] is -0\.5"),
        (np.array([1.0, np.nan, 2, 1]), ValueError, r"importance\.flat\[1\] is nan"),
        (np.array([1.0, 2, 3, np.inf]), ValueError, r"importance\.flat\[3\] is inf"),
        (np.ones(4, np.int64), TypeError, r"importance has dtype int64"),
        (np.float32(1), ValueError, r"importance has 0 dimensions"),
    ],
)
def test_bad_importance_is_refused(importance, error, message):
    x = np.ones((3, 4), np.float32)
    with pytest.raises(error, match=message):
        bm.quantize(x, bm.Affine(4, clip="mse"), importance=importance)


@pytest.mark.parametrize("clip", ["minmax", "percentile:99.9", "aciq", "meanstd:3", "entropy"])
def test_clips_that_weigh_no_errors_take_no_importance(clip):
    scheme = bm.Affine(8, clip=clip)
    with pytest.raises(ValueError, match=r"importance goes with a clip that weighs errors"):
        bm.quantize(np.ones((3, 4), np.float32), scheme, importance=np.ones(4))
