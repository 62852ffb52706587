# SPDX-License-Identifier: MIT
"""Layers in integers alone: biases, sums, means, normalization and linear layers."""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
from bitmill.integer import QLinear
from bitmill.reference.requantize import rescale
from conftest import same_bits

SIGNED, UNSIGNED = bm.Affine(8, axis=None), bm.Affine(8, axis=None, symmetric=False)


def normal(rng, shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def test_a_bias_is_on_the_grid_of_the_sums():
    assert bm.integer.quantize_bias([0.25, -3.0], 0.5, [1.0, 2.0]).tolist() == [0, -3]  # ties
    assert bm.integer.quantize_bias([2.0**30], 1.0, 1.0).dtype == np.int32


@pytest.mark.parametrize(
    ("bias", "scale", "length", "message"),
    [
        (
            [0, 1.0],
            [1, 1e-40],
            0,
            "bias has 1 value .* the first, of channel 1, is 1, with a scale",
        ),
        ([2.0**31], 1, 0, "of channel 0"),
        ([2.0**31 - 1], 1, 1, "overflow int32; .* wanted at most 2147451007 steps"),
        ([np.nan, np.inf], [1, 1], 0, "bias has 2 values"),
        ([128.0], 1, 65793, "sums of 65793 products .* wanted at most 127 steps"),
        ([1.0], 1, 65794, "length=65794 must be between 0 and 65793"),
        ([1.0], [1, 2], 0, r"w_scale has shape \(2,\); wanted one number, or \(1,\)"),
        ([1.0], 0, 0, "w_scale has values that are not above 0"),
        ([[1.0]], 1, 0, r"bias has shape \(1, 1\); wanted one dimension"),
    ],
)
def test_a_bias_that_may_overflow_is_refused(bias, scale, length, message):
    with pytest.raises(ValueError, match=message):
        bm.integer.quantize_bias(bias, 1.0, scale, length=length)


@pytest.mark.parametrize("length", [0, 784, 65793])
def test_raised_scales_do_for_any_bias(rng, length):
    bias = 10.0 ** rng.uniform(-20, 20, 300)
    scale = bm.integer.bias_scale(bias, 0.03, 10.0 ** rng.uniform(-40, 2, 300), length=length)
    bm.integer.quantize_bias(bias, 0.03, scale, length=length)


def test_batch_normalization_is_folded(rng):
    w, x = normal(rng, (5, 7)), normal(rng, (11, 7))
    bias, mean, gamma, beta = normal(rng, (4, 5))
    var = np.abs(normal(rng, 5))
    y = x @ w.T
    for given in (bias, None):
        plain = y if given is None else y + given
        wanted = (plain - mean) / np.sqrt(var + 1e-5) * gamma + beta
        folded = bm.integer.fold_batchnorm(w, given, mean, var, gamma, beta)
        np.testing.assert_allclose(x @ folded.weight.T + folded.bias, wanted, rtol=2e-5, atol=1e-4)
    kernel = normal(rng, (5, 2, 3, 3))
    folded = bm.integer.fold_batchnorm(kernel, None, mean, var, gamma, beta)
    assert folded.weight.shape == kernel.shape


def test_batch_normalizations_that_do_not_fit_are_refused():
    one = np.ones(2)
    with pytest.raises(ValueError, match=r"mean has shape \(3,\); wanted \(2,\)"):
        bm.integer.fold_batchnorm(np.ones((2, 2)), one, np.ones(3), one, one, one)
    with pytest.raises(ValueError, match=r"var \+ eps has values"):
        bm.integer.fold_batchnorm(np.ones((2, 2)), one, one, -one, one, one)
    with pytest.raises(ValueError, match="weight has shape"):
        bm.integer.fold_batchnorm(one, one, one, one, one, one)


@pytest.mark.parametrize("rounding", ["single", "double"])
@pytest.mark.parametrize("schemes", [(SIGNED, SIGNED, SIGNED), (UNSIGNED, SIGNED, UNSIGNED)])
def test_a_sum_is_that_of_the_values(isa, rng, schemes, rounding):
    a, b = normal(rng, (4, 50)), normal(rng, (4, 50), 3)
    params = [bm.calibrate([v], s) for v, s in zip((a, b, a + b), schemes, strict=True)]
    qa, qb = params[0].quantize(a), params[1].quantize(b)
    got = bm.integer.add(qa, qb, params[2], rounding=rounding)
    exact = np.asarray(qa) + np.asarray(qb)
    assert np.abs(np.asarray(got) - exact).max() <= 0.5001 * params[2].scale[0]
    relu = bm.integer.add(qa, qb, params[2], activation="relu", rounding=rounding)
    assert (np.asarray(relu) == np.maximum(np.asarray(got), 0)).all()


@pytest.mark.parametrize("scheme", [SIGNED, UNSIGNED])
def test_a_mean_is_that_of_the_values(isa, rng, scheme):
    x = normal(rng, (2, 7, 6, 5))
    params = bm.calibrate([x], scheme)
    q = params.quantize(x)
    values = np.asarray(q)
    means = values[:, :6].reshape(2, 2, 3, 2, 3, 5).mean(axis=(2, 4))
    got = bm.integer.average_pool(q, params, window=(3, 3))
    assert got.shape == (2, 2, 2, 5)
    assert np.abs(np.asarray(got) - means).max() <= 0.5001 * params.scale[0]
    whole = bm.integer.average_pool(q, params)
    assert whole.shape == (2, 5)
    assert np.abs(np.asarray(whole) - values.mean(axis=(1, 2))).max() <= 0.5001 * params.scale[0]


@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
@pytest.mark.parametrize("rounding", ["single", "double"])
@pytest.mark.parametrize(("x_scheme", "y_scheme"), [(SIGNED, UNSIGNED), (UNSIGNED, SIGNED)])
def test_a_layer_is_what_its_formula_says(isa, rng, x_scheme, y_scheme, rounding, activation):
    x, w, bias = normal(rng, (2, 9, 70)), normal(rng, (33, 70)), normal(rng, 33, 5)
    given, to = bm.calibrate([x], x_scheme), bm.calibrate([x @ w.T + bias], y_scheme)
    q = bm.quantize(w, bm.Affine(8))
    layer = QLinear(q, bias, x=given, y=to, activation=activation, rounding=rounding)
    inputs = given.quantize(x)
    got = layer(inputs)
    x_zero = 0 if given.zero_point is None else int(given.zero_point[0])
    y_zero = 0 if to.zero_point is None else int(to.zero_point[0])
    scale = given.scale.astype(np.float64) * q.scale[:, 0].astype(np.float64)
    sums = (inputs.codes.astype(np.int64) - x_zero) @ q.codes.T.astype(np.int64)
    sums += np.rint(bias / scale).astype(np.int64)
    factor = bm.integer.quantize_multiplier(scale / to.scale)
    qmin, qmax = to.scheme.code_range
    if activation != "none":
        qmin = y_zero
    if activation == "relu6":
        qmax = min(qmax, y_zero + round(6 / float(to.scale[0])))
    wanted = np.clip(rescale(sums.astype(np.int32), *factor, rounding) + y_zero, qmin, qmax)
    assert (got.codes == wanted).all()
    assert got.shape == (2, 9, 33)


def test_a_layer_takes_extremes_without_overflow(isa):
    ones = bm.QParams(UNSIGNED, np.float32([1]), np.uint8([0]))
    out = bm.QParams(SIGNED, np.float32([2.0**24]))
    w = np.full((2, 65793), 127, np.float32)
    w[1] = -127
    layer = QLinear.from_floats(w, np.float32([127, -127]), x=ones, y=out)
    x = ones.quantize(np.full((1, 65793), 255, np.float32))
    assert np.asarray(layer(x)).tolist() == [[127 * 2.0**24, -127 * 2.0**24]]


def test_channels_next_to_nothing_keep_their_bias(rng):
    w = normal(rng, (3, 8))
    w[1] *= 1e-38
    x = normal(rng, (20, 8))
    bias = np.float32([0.1, 2.0, -0.3])
    given, to = bm.calibrate([x], SIGNED), bm.calibrate([x @ w.T + bias], SIGNED)
    with pytest.raises(ValueError, match="of channel 1"):
        QLinear(bm.quantize(w, bm.Affine(8)), bias, x=given, y=to)
    layer = QLinear.from_floats(w, bias, x=given, y=to)
    assert np.abs(np.asarray(layer(given.quantize(x)))[:, 1] - 2).max() <= 0.51 * to.scale[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bias_that_is_not_finite_is_named(bad):
    one = bm.QParams(SIGNED, np.float32([1]))
    for call in (
        lambda bias: QLinear.from_floats(np.ones((3, 4)), bias, x=one, y=one),
        lambda bias: bm.integer.bias_scale(bias, 1.0, np.ones(3)),
        lambda bias: QLinear(bm.quantize(np.ones((3, 4)), bm.Affine(8)), bias, x=one, y=one),
    ):
        with pytest.raises(ValueError, match=rf"bias has 1 value .* of channel 1, is {bad}"):
            call([0, bad, 1])


def test_a_bias_that_no_scale_does_for_is_named():
    small = bm.QParams(SIGNED, np.float32([1e-30]))
    with pytest.raises(ValueError, match=r"bias has the value 1e\+30 in channel 1; .* of 1e-30"):
        QLinear.from_floats(np.ones((2, 4)), [0, 1e30], x=small, y=small)


@pytest.mark.parametrize("rounding", ["single", "double"])
@pytest.mark.parametrize("x_scheme", [SIGNED, UNSIGNED])
@pytest.mark.parametrize("rows", [1, 7, 150])
def test_a_layer_has_the_bits_of_its_steps(isa, rng, rows, x_scheme, rounding):
    x, w, bias = normal(rng, (rows, 70)) + 1, normal(rng, (99, 70)), normal(rng, 99, 5)
    given, to = bm.calibrate([x], x_scheme), bm.calibrate([x @ w.T + bias], SIGNED)
    layer = QLinear.from_floats(w, bias, x=given, y=to, rounding=rounding)
    held = layer.weights.arrays
    inputs = given.quantize(x)
    tiles = held["codes"].swapaxes(1, 2).reshape(-1, held["codes"].shape[1] * 4)
    codes = tiles[:99, :70].astype(np.int32) - 128
    sums = (inputs.codes.astype(np.int32) - layer.x.zero_point) @ codes.T + layer.bias
    wanted = bm.integer.requantize(sums, *layer.factor, rounding=rounding)
    for threads in (1, 2):
        same_bits(layer(inputs, num_threads=threads).codes, wanted)


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
@pytest.mark.parametrize("scheme", [SIGNED, UNSIGNED])
def test_layers_of_nothing(isa, shape, scheme):
    zero = np.uint8([7]) if scheme is UNSIGNED else None
    one = bm.QParams(scheme, np.float32([1]), zero)
    w = bm.quantize(np.ones(shape, np.float32), bm.Affine(8))
    layer = QLinear(w, np.full(shape[0], 5), x=one, y=one)
    for tokens in (0, 2):
        got = layer(one.quantize(np.ones((tokens, shape[1]), np.float32)))
        assert got.shape == (tokens, shape[0])
        assert (np.asarray(got) == 5).all()


X = np.ones((2, 5), np.float32)
PARAMS = bm.QParams(SIGNED, np.float32([1]))
W = bm.quantize(X, bm.Affine(8))
LAYER = QLinear(W, x=PARAMS, y=PARAMS)
HALF = bm.QParams(SIGNED, np.float32([0.5]))
Q = PARAMS.quantize(X)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: QLinear(X, x=PARAMS, y=PARAMS), TypeError, "w is a ndarray; wanted a QTensor"),
        (lambda: QLinear(W, x=Q, y=PARAMS), TypeError, "x is a QTensor; wanted QParams"),
        (
            lambda: QLinear(bm.quantize(X, bm.Affine(8, symmetric=False)), x=PARAMS, y=PARAMS),
            ValueError,
            "and codes without zero-points",
        ),
        (
            lambda: QLinear(W, x=bm.QParams(bm.Affine(4, axis=None), np.float32([1])), y=PARAMS),
            ValueError,
            "x has the scheme Affine",
        ),
        (lambda: QLinear(W, [1], x=PARAMS, y=PARAMS), ValueError, r"bias has shape \(1,\)"),
        (
            lambda: QLinear(W, x=PARAMS, y=PARAMS, activation="tanh"),
            ValueError,
            "activation='tanh' is not one of: none, relu, relu6",
        ),
        (
            lambda: QLinear(W, x=PARAMS, y=PARAMS, rounding="up"),
            ValueError,
            "rounding='up' is not one of: single, double",
        ),
        (lambda: LAYER(X), TypeError, "x is a ndarray; wanted a QTensor"),
        (lambda: LAYER(W), ValueError, "x has the scheme Affine"),
        (lambda: LAYER(HALF.quantize(X)), ValueError, "x has scale 0.5 and zero-point 0; wanted 1"),
        (lambda: LAYER(PARAMS.quantize(X[:, :4])), ValueError, r"\(2, 4\); wanted rows of 5"),
        (
            lambda: bm.integer.add(Q, PARAMS.quantize(X[0]), PARAMS),
            ValueError,
            r"a and b have shapes \(2, 5\) and \(5,\)",
        ),
        (lambda: bm.integer.average_pool(Q, PARAMS), ValueError, "at least 3 dimensions"),
        (
            lambda: bm.integer.average_pool(
                PARAMS.quantize(np.ones((2, 2, 1), np.float32)), PARAMS, window=(3, 1)
            ),
            ValueError,
            "does not fit images of 2 x 2",
        ),
    ],
)
def test_operands_that_do_not_fit_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_layer_says_what_it_is():
    assert repr(LAYER) == "QLinear(5 to 2, int8 to int8)"


@pytest.mark.parametrize("shape", [(18,), (1, 19), ()])
def test_biases_of_another_shape_are_named(shape):
    w = np.ones((19, 8), np.float32)
    params = bm.calibrate([w], bm.Affine(8, axis=None))
    with pytest.raises(ValueError, match=r"bias has shape .* wanted \(19,\)"):
        bm.integer.QLinear.from_floats(w, np.zeros(shape), x=params, y=params)
