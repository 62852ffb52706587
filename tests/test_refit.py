# SPDX-License-Identifier: MIT
"""Scales and biases refitted to the outputs of a float layer."""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
from bitmill.post_training.least_squares import RIDGES
from bitmill.post_training.parameters import parameters_of, with_parameters
from bitmill.post_training.refitting import refit


def layer(rows=6, columns=80, tokens=600, seed=0):
    """Weights, inputs with unlike columns that go together, and the bias of a float layer."""
    rng = np.random.default_rng(seed)
    w = rng.standard_t(4, (rows, columns)).astype(np.float32)
    mix = rng.standard_normal((columns, columns)) / 9 + np.diag(rng.gamma(2, 1, columns))
    x = (rng.standard_normal((tokens, columns)) @ mix + 0.3).astype(np.float32)
    return w, x, rng.standard_normal(rows).astype(np.float32)


def parts(x, y, cut=0.75):
    at = int(len(x) * cut)
    return (x[:at], y[:at]), (x[at:], y[at:])


def by_augmented_rows(q, x, y, n, ridge):
    """Scales and bias of row n, by least squares with rows that stand for the ridge."""
    size = q.scheme.group_size or q.shape[1]
    unit = np.asarray(q, np.float64)[n] / np.repeat(q.scale[n].astype(float), size)[: q.shape[1]]
    starts = range(0, q.shape[1], size)
    features = [x[:, s : s + size] @ unit[s : s + size] for s in starts]
    if q.offset is not None:
        unit = unit - np.repeat(q.offset[n] / q.scale[n].astype(float), size)[: q.shape[1]]
        features = [x[:, s : s + size] @ unit[s : s + size] for s in starts]
        features += [x[:, s : s + size].sum(axis=1) for s in starts]
    held = np.concatenate([a[n] for a in (q.scale, q.offset) if a is not None]).astype(float)
    phi = np.stack(features, axis=1).astype(float)
    centred = phi - phi.mean(axis=0)
    middle = np.median(np.square(x.astype(float)).sum(axis=0))
    per_group = lambda u: np.add.reduceat(u * u, np.arange(0, len(u), size))  # noqa: E731
    floor = per_group(unit) * middle
    if q.offset is not None:
        floor = np.r_[floor, per_group(np.ones(len(unit))) * middle]
    pull = np.sqrt(ridge * np.maximum(np.diag(centred.T @ centred), floor))
    left = (y[:, n] - y[:, n].mean()) - centred @ held
    change = np.linalg.lstsq(
        np.vstack([centred, np.diag(pull)]), np.r_[left, np.zeros(len(held))], rcond=None
    )[0]
    found = held + change
    return found, y[:, n].mean() - phi.mean(axis=0) @ found


@pytest.mark.parametrize(
    "scheme",
    [
        bm.Affine(4, group_size=32),
        bm.Affine(3),
        bm.Affine(4, group_size=32, symmetric=False),
        bm.Affine(3, group_size=16, symmetric=False, offset=True),
        bm.NF4(group_size=16),
    ],
    ids=lambda scheme: scheme.describe(),
)
def test_kept_rows_solve_the_least_squares(scheme):
    w, x, b = layer()
    q, y = bm.quantize(w, scheme), x @ w.T + b
    fit, held_out = parts(x, y)
    made = refit(q, b, fit, held_out)
    assert made.kept.any()
    for n in np.flatnonzero(made.kept):
        got = np.concatenate(
            [a[n] for a in (made.weights.scale, made.weights.offset) if a is not None]
        )
        solutions = [by_augmented_rows(q, *fit, n, ridge) for ridge in RIDGES]
        assert any(
            np.allclose(got, scales, rtol=1e-4, atol=1e-5)
            and np.isclose(made.bias[n], bias, atol=1e-3)
            for scales, bias in solutions
        )


SCHEMES = [
    bm.Affine(4),
    bm.Affine(2, group_size=32, scales="float16"),
    bm.Affine(4, group_size=32, symmetric=False, clip="mse", scales="bfloat16"),
    bm.Affine(3, group_size=32, symmetric=False, offset=True, scales="float16"),
    bm.Affine(4, group_size=32, scales=bm.Scales("float16", super_block=64)),
    bm.Affine(4, axis=None),
    bm.Affine(8, axis=1),
    bm.IQ4_NL(),
    bm.LearnedTable(),
    bm.NF4(double_quantization=True),
    bm.KMeans(3),
    bm.Float("fp8_e4m3"),
    bm.Float("mxfp4"),
    bm.Outliers(bm.Affine(4, group_size=32), 0.01),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.describe())
@pytest.mark.parametrize("tokens", [2, 20, 600])
def test_no_row_is_worse_on_what_is_held_out(scheme, tokens):
    w, x, b = layer(columns=96, tokens=tokens)
    q, y = bm.quantize(w, scheme), x @ w.T + b
    fit, held_out = parts(x, y)
    made = refit(q, b, fit, held_out)

    def errors(weights, bias):
        lost = held_out[0] @ np.asarray(weights, np.float64).T + bias - held_out[1]
        return np.square(lost).sum(axis=0)

    before, after = errors(q, b), errors(made.weights, made.bias)
    assert (after <= before * (1 + 1e-5)).all()
    assert (after[~made.kept] == before[~made.kept]).all()
    for name, array in q.arrays.items():
        if name.removeprefix("super_") not in ("scale", "offset"):
            assert np.array_equal(made.weights.arrays[name], array)
    if tokens == 600:
        assert after.sum() < before.sum()


def test_scales_and_bias_that_were_spoiled_come_back():
    w, x, b = layer()
    q = bm.quantize(w, bm.Affine(4, group_size=16))
    y = x @ np.asarray(q).T + b
    spoiled = bm.QTensor(
        q.scheme, q.shape, q.dtype, q.arrays | {"scale": q.scale * np.float32(1.3)}
    )
    made = refit(spoiled, None, *parts(x, y))
    assert made.kept.all()
    assert np.allclose(made.weights.scale, q.scale, rtol=0.1)
    assert bm.metrics(y, x @ np.asarray(made.weights).T + made.bias).sqnr_db > 30


@pytest.mark.parametrize("rule", ["absmax", "signed_max"])
@pytest.mark.parametrize("offset", [False, True])
def test_two_level_scales_are_the_nearest_to_the_floats(rule, offset):
    scales = bm.Scales("float16", bits=6, super_block=64)
    kind = {"symmetric": False, "offset": True} if offset else {"scale_rule": rule}
    scheme = bm.Affine(4, group_size=16, scales=scales, **kind)
    w, x, b = layer(columns=96)
    w[2, :16] = 0
    q, y = bm.quantize(w, scheme), x @ w.T + b
    held = parameters_of(q)
    for factor in (1, 1.25):
        wanted = {name: values * factor for name, values in held.items()}
        got = with_parameters(q, wanted)
        assert np.array_equal(got.codes, q.codes)
        assert np.array_equal(got.scale == 0, q.scale == 0)
        for name, values in wanted.items():
            step = np.repeat(got.arrays[f"super_{name}"].astype(float), 4, axis=1)[:, :6]
            assert (np.abs(parameters_of(got)[name] - values) <= np.abs(step) * 0.51).all()
    assert refit(q, b, *parts(x, y)).kept.any()


def test_a_fit_that_does_not_help_changes_nothing():
    w, b = layer()[0].round(), np.ones(6, np.float32)
    x = np.random.default_rng(3).integers(-4, 5, (600, 80)).astype(np.float32)
    q = bm.QTensor(
        bm.Affine(8),
        w.shape,
        "float32",
        {"codes": w.astype(np.int8), "scale": np.ones((6, 1), np.float32)},
    )
    made = refit(q, b, *parts(x, x @ w.T + b))  # nothing is lost: integers are exact
    assert not made.kept.any()
    assert made.weights is q
    assert np.array_equal(made.bias, b)


@pytest.mark.parametrize("quiet", [1e-2, 1e-4, 1e-30])
@pytest.mark.parametrize("mean", [0, 1e4])
def test_scales_of_inputs_that_are_quiet_here_stay_near(quiet, mean):
    """Texts to come may be louder."""
    w, _, b = layer(columns=128)
    x = np.random.default_rng(2).standard_normal((600, 128)).astype(np.float32)
    q = bm.quantize(w, bm.Affine(3, group_size=32))
    seen = x * np.repeat(np.float32([1, 1, quiet, 1]), 32)
    seen[:, 64:96] += np.float32(mean * quiet)
    made = refit(q, b, *parts(seen, seen @ w.T + b))
    assert np.abs(made.weights.scale / q.scale - 1).max() < 0.4
    y = x @ w.T
    before, after = (bm.metrics(y, x @ np.asarray(each).T).sqnr_db for each in (q, made.weights))
    assert after > before - 0.5


def test_rows_that_overflow_do_not_stop_others():
    w, x, b = layer()
    q, y = bm.quantize(w, bm.Affine(3)), x @ w.T + b
    scale = q.scale.copy()
    scale[2] = 1e38
    q = bm.QTensor(q.scheme, q.shape, q.dtype, q.arrays | {"scale": scale})
    made = refit(q, b, *parts(x, y))
    assert made.kept.sum() >= 3
    assert not made.kept[2] or np.isfinite(made.weights.scale[2]).all()


def test_a_scale_that_would_change_its_sign_stays():
    x = np.random.default_rng(1).standard_normal((400, 32)).astype(np.float32)
    w = np.ones((1, 32), np.float32)
    w[:, 16:] = -1
    q = bm.quantize(w, bm.Affine(4, group_size=16))
    made = refit(q, None, *parts(x, -(x @ w.T)))
    assert (made.weights.scale > 0).all()


def test_constant_inputs_leave_the_bias_alone_to_fit():
    w, _, b = layer()
    x = np.ones((100, 80), np.float32)
    q, y = bm.quantize(w, bm.Affine(2, group_size=16)), x @ w.T + b
    made = refit(q, b, *parts(x, y))
    assert np.array_equal(made.weights.scale, q.scale)
    assert np.allclose(x @ np.asarray(made.weights).T + made.bias, y, atol=1e-4)


def test_weights_without_rows_or_columns():
    for shape in ((0, 8), (3, 0)):
        q = bm.quantize(np.zeros(shape, np.float32), bm.Affine(4))
        x, y = np.ones((4, shape[1]), np.float32), np.ones((4, shape[0]), np.float32)
        made = refit(q, None, (x, y), (x, y))
        assert made.kept.shape == (shape[0],)
        assert made.bias is None or np.allclose(made.bias, 1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x, y, b: (x[:, 1:], y, b), r"fit has x \(9, 31\)"),
        (lambda x, y, b: (x, y[:, 1:], b), r"wanted \[T, 32\] and \[T, 4\]"),
        (lambda x, y, b: (x[:0], y[:0], b), "at least one token"),
        (lambda x, y, b: (x * np.nan, y, b), "x of fit has 288 values that cannot"),
        (lambda x, y, b: (x, y, b[1:]), "bias has shape"),
    ],
)
def test_what_does_not_fit_is_said(spoil, message):
    x, y, b = np.ones((9, 32), np.float32), np.ones((9, 4), np.float32), np.ones(4, np.float32)
    q = bm.quantize(np.ones((4, 32), np.float32), bm.Affine(4))
    bad_x, bad_y, bad_b = spoil(x, y, b)
    with pytest.raises(ValueError, match=message):
        refit(q, bad_b, (bad_x, bad_y), (x, y))


def test_what_is_no_quantized_matrix_is_said():
    x = np.ones((9, 32), np.float32)
    for q in (x, bm.quantize(np.ones((1, 4, 32), np.float32), bm.Affine(4))):
        with pytest.raises(TypeError, match="wanted a QTensor of 2 dimensions"):
            refit(q, None, (x, x), (x, x))
    with pytest.raises(TypeError, match="wanted a pair"):
        refit(bm.quantize(x, bm.Affine(4)), None, x, (x, x))
