# SPDX-License-Identifier: MIT
"""Channels that are divided in activations and multiplied in weights change no output."""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
from conftest import same_bits

t = bm.transform


@pytest.fixture
def layer(rng):
    """Activations of a norm [T, K] of which four channels are far out, and weights [N, K]."""
    x = rng.standard_normal((200, 64), np.float32)
    gamma, beta = np.ones(64, np.float32), rng.standard_normal(64, np.float32)
    gamma[[3, 17, 40, 63]] = 60
    return x, gamma, beta, rng.standard_normal((48, 64), np.float32)


def output_db(exact, got):
    return 10 * np.log10(np.square(exact).sum() / np.square(exact - got).sum())


def int8_product(x, w):
    token = bm.Affine(8)
    return bm.integer.matmul(bm.quantize(x, token), bm.integer.prepack(bm.quantize(w, token)))


def test_scales_by_hand():
    w = np.float32([[4, 0.5, 1], [-1, -2, 0]])
    most = np.float32([16, 2, 9])
    assert t.smooth_scales(most, w).tolist() == [2, 1, 3]
    assert t.smooth_scales(most, w, 1.0).tolist() == [16, 2, 9]
    assert t.smooth_scales(most, w, 0.0).tolist() == [0.25, 0.5, 1]
    assert t.smooth_scales(most, w, powers_of_two=True).tolist() == [2, 1, 4]


def test_channels_that_are_zero_have_a_scale():
    scales = t.smooth_scales(np.float32([0, 1, 0]), np.float32([[1, 0, 0]]))
    np.testing.assert_allclose(scales, [np.sqrt(1e-5), 1 / np.sqrt(1e-5), 1], rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.75, 1.0])
def test_folded_into_a_norm_the_output_stays(layer, alpha):
    x, gamma, beta, w = layer
    before = x * gamma + beta
    scales = t.smooth_scales(np.abs(before).max(axis=0), w, alpha)
    folded = t.fold_into_norm(gamma, beta, scales)
    exact = before.astype(np.float64) @ w.T
    got = (x * folded.weight + folded.bias).astype(np.float64) @ t.smooth(w, scales).T
    assert np.abs(got - exact).max() < 1e-5 * np.abs(exact).max()


def test_folded_into_a_linear_layer_the_output_stays(layer, rng):
    x, gamma, beta, w = layer
    first = rng.standard_normal((64, 64), np.float32) * gamma[:, np.newaxis]
    before = x @ first.T + beta
    scales = t.smooth_scales(np.abs(before).max(axis=0), w)
    folded = t.fold_into_linear(first, beta, scales)
    exact = np.maximum(before, 0).astype(np.float64) @ w.T  # through ReLU
    got = np.maximum(x @ folded.weight.T + folded.bias, 0).astype(np.float64)
    assert np.abs(got @ t.smooth(w, scales).T - exact).max() < 1e-5 * np.abs(exact).max()


def test_with_powers_of_two_the_products_are_the_same_to_the_bit(layer):
    x, gamma, beta, w = layer
    before = x * gamma + beta
    scales = t.smooth_scales(np.abs(before).max(axis=0), w, powers_of_two=True)
    folded = t.fold_into_norm(gamma, beta, scales)
    smoothed = t.smooth(w, scales)
    inputs = x * folded.weight + folded.bias
    same_bits(inputs * scales, before)
    for row in range(len(w)):
        same_bits(inputs * smoothed[row], before * w[row])


def test_outliers_cost_less_once_they_are_smoothed(layer):
    x, gamma, beta, w = layer
    before = x * gamma + beta
    exact = before.astype(np.float64) @ w.T
    plain = output_db(exact, int8_product(before, w))
    scales = t.smooth_scales(np.abs(before).max(axis=0), w)
    after = output_db(exact, int8_product(before / scales, t.smooth(w, scales)))
    assert after > plain + 3


def test_no_bias_stays_none():
    assert t.fold_into_norm(np.ones(3, np.float32), None, np.ones(3, np.float32)).bias is None


def test_what_is_refused():
    w, ones = np.ones((2, 3), np.float32), np.ones(3, np.float32)
    with pytest.raises(ValueError, match=r"activation_absmax has shape \(2,\); wanted \(3,\)"):
        t.smooth_scales(ones[:2], w)
    with pytest.raises(ValueError, match="below 0"):
        t.smooth_scales(-ones, w)
    with pytest.raises(ValueError, match=r"alpha=1\.5 must be between 0 and 1"):
        t.smooth_scales(ones, w, 1.5)
    with pytest.raises(ValueError, match="not above 0"):
        t.smooth(w, 0 * ones)
    with pytest.raises(ValueError, match="overflows float32"):
        t.smooth(w * np.float32(1e38), ones * np.float32(10))
    with pytest.raises(ValueError, match="over scales overflows"):
        t.fold_into_norm(ones, ones * np.float32(1e38), ones * np.float32(1e-3))
    with pytest.raises(ValueError, match="scales has shape"):
        t.fold_into_linear(w, None, ones)
    with pytest.raises(ValueError, match=r"weight.flat\[0\], is nan"):
        t.smooth(w * np.float32(np.nan), ones)
    with pytest.raises(TypeError, match="weight has dtype int64"):
        t.smooth(w.astype(np.int64), ones)
