# SPDX-License-Identifier: MIT
"""Moments of weights and the mean output of a layer are what they were before quantization."""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
from conftest import same_bits

OFFSET = {"symmetric": False, "offset": True}
CUTS = [{}, {"group_size": 32}, {"group_size": 20}, {"axis": 0}, {"axis": 1}, {"axis": -1}]
PLAIN = {
    "symmetric": {},
    "signed": {"scale_rule": "signed_max"},
    "zero-point": {"symmetric": False},
}


def moments(x, scheme):
    """Mean and standard deviation of every channel."""
    values = np.asarray(x, np.float64)
    if scheme.axis == "row":
        channels = values.reshape(-1, x.shape[-1])
    else:
        channels = np.moveaxis(values, scheme.axis, 0).reshape(x.shape[scheme.axis], -1)
    return channels.mean(axis=1), channels.std(axis=1)


def weights(rng):
    return (rng.laplace(size=(6, 5, 70)) + 0.2).astype(np.float32)


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_exact_moments_are_those_of_the_weights(rng, bits, cut):
    x = weights(rng)
    q = bm.quantize(x, bm.Affine(bits, **OFFSET, **cut))
    corrected = bm.correct_bias(x, q, moments="exact")
    for got, wanted in zip(moments(corrected, q.scheme), moments(x, q.scheme), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)
    same_bits(corrected.codes, q.codes)


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_the_order_of_the_paper_multiplies_the_mean_too(rng, cut):
    x = weights(rng)
    q = bm.quantize(x, bm.Affine(3, **OFFSET, **cut))
    corrected = bm.correct_bias(x, q)
    (mean, std), (_, own_std) = moments(x, q.scheme), moments(q.dequantize(), q.scheme)
    got_mean, got_std = moments(corrected, q.scheme)
    np.testing.assert_allclose(got_std, std, atol=1e-6)
    np.testing.assert_allclose(got_mean, std / own_std * mean, atol=1e-6)
    assert (corrected.scale / q.scale).flat[0] == pytest.approx((std / own_std)[0], rel=1e-6)


@pytest.mark.parametrize("kind", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_without_an_offset_the_norm_alone_is_put_back(rng, kind, cut):
    x = weights(rng)
    q = bm.quantize(x, bm.Affine(3, **kind, **cut))
    corrected = bm.correct_bias(x, q)
    np.testing.assert_allclose(moments(corrected, q.scheme)[1], moments(x, q.scheme)[1], rtol=1e-6)
    assert sorted(corrected.arrays) == sorted(q.arrays)
    if q.zero_point is not None:
        same_bits(corrected.zero_point, q.zero_point)


@pytest.mark.parametrize(("storage", "bound"), [("float16", 2**-10), ("bfloat16", 2**-7)])
def test_moments_are_as_near_as_the_storage_of_scales_allows(rng, storage, bound):
    x = weights(rng)
    q = bm.quantize(x, bm.Affine(4, group_size=32, scales=storage, **OFFSET))
    corrected = bm.correct_bias(x, q, moments="exact")
    assert corrected.scale.dtype == q.scale.dtype
    for got, wanted in zip(moments(corrected, q.scheme), moments(x, q.scheme), strict=True):
        np.testing.assert_allclose(got, wanted, atol=2 * bound)


def test_the_tensor_that_was_given_is_as_it_was(rng):
    x = weights(rng)
    q = bm.quantize(x, bm.Affine(4, **OFFSET))
    before = {name: array.copy() for name, array in q.arrays.items()}
    bm.correct_bias(x, q)
    for name, array in before.items():
        same_bits(q.arrays[name], array)


@pytest.mark.parametrize("kind", [{}, OFFSET], ids=["symmetric", "offset"])
def test_constant_channels_stay(kind):
    x = np.full((3, 40), 0.3, np.float32)
    q = bm.quantize(x, bm.Affine(4, group_size=16, **kind))
    corrected = bm.correct_bias(x, q)
    same_bits(corrected.scale, q.scale)
    np.testing.assert_allclose(corrected.dequantize(), x, rtol=1e-6)


def test_channels_that_lost_all_or_had_nothing_to_lose_keep_their_scale(rng):
    """ξ would be infinite or 0."""
    x = np.array([[1e-3, -1e-3, 0.5e-3, 1000], [1, 1, 1, 1]], np.float32)
    q = bm.quantize(x, bm.Affine(2))
    lost = bm.QTensor(q.scheme, q.shape, q.dtype, q.arrays | {"packed": 0 * q.packed + 0xAA})
    assert (lost.codes == 0).all()
    same_bits(bm.correct_bias(x, lost).scale, q.scale)
    same_bits(bm.correct_bias(np.ones_like(x), q).scale, q.scale)


def test_zeros_stay_zeros():
    x = np.zeros((2, 10), np.float32)
    corrected = bm.correct_bias(x, bm.quantize(x, bm.Affine(4, **OFFSET)))
    assert not corrected.dequantize().tobytes().strip(b"\0")


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_empty_weights_stay(shape):
    x = np.zeros(shape, np.float32)
    q = bm.quantize(x, bm.Affine(4, **OFFSET))
    assert bm.correct_bias(x, q, moments="exact").shape == shape
    assert bm.bias_shift(x, q, np.zeros(shape[1])).tolist() == [0.0] * shape[0]


@pytest.mark.parametrize("sign", [1, -1])
def test_scales_do_not_underflow_to_zero(sign):
    x = np.array([[1e-8, -0.2e-8, 0.1e-8, 0.1e-8]], np.float32)
    q = bm.quantize(x, bm.Affine(4, scales="float16"))
    wide = np.array([[sign * 60000.0]], np.float16)
    far = bm.QTensor(q.scheme, q.shape, q.dtype, q.arrays | {"scale": wide, "packed": q.packed + 1})
    assert bm.correct_bias(x, far).scale.item() == sign * 2.0**-24


def test_scales_that_overflow_their_storage_are_refused():
    x = np.array([[70000.0, -70000.0, 0, 0]], np.float32)
    scheme = bm.Affine(2, scales="float16")
    q = bm.quantize(x * np.float32(0.1), scheme)
    with pytest.raises(
        ValueError, match=r"corrected scale of group \(0, 0\), .* overflows float16"
    ):
        bm.correct_bias(x, q)


def test_what_it_cannot_serve_is_refused(rng):
    x = weights(rng)
    row, tensor = bm.quantize(x, bm.Affine(4)), bm.quantize(x, bm.Affine(4, axis=None))
    with pytest.raises(TypeError, match="q is a ndarray; correct_bias takes a QTensor"):
        bm.correct_bias(x, x)
    with pytest.raises(ValueError, match="axis=None: one scale for the tensor cannot"):
        bm.correct_bias(x, tensor)
    with pytest.raises(ValueError, match="'exact' needs a scheme with symmetric=False and offset"):
        bm.correct_bias(x, row, moments="exact")
    with pytest.raises(ValueError, match="moments='all' is not one of: paper, exact"):
        bm.correct_bias(x, row, moments="all")
    with pytest.raises(ValueError, match="x and q have shapes"):
        bm.correct_bias(x[:2], row)
    x[0, 0, 3] = np.nan
    with pytest.raises(ValueError, match=r"x\.flat\[3\], is nan"):
        bm.correct_bias(x, row)


# The bias of a layer


@pytest.mark.parametrize("scheme", [bm.Affine(3), bm.Affine(2, group_size=32, **OFFSET)], ids=str)
def test_the_mean_output_of_a_layer_is_what_it_was(rng, scheme):
    w = rng.standard_normal((37, 150), np.float32)
    x = (rng.standard_normal((4, 50, 150)) + 0.5).astype(np.float32)
    q = bm.quantize(w, scheme)
    shift = bm.bias_shift(w, q, x)
    assert shift.dtype == np.float64
    assert shift.shape == (37,)
    samples = x.reshape(-1, 150).astype(np.float64)
    before = (samples @ w.T.astype(np.float64)).mean(axis=0)
    after = (samples @ q.dequantize().T.astype(np.float64)).mean(axis=0)
    assert np.abs(before - after).max() > 0.1
    np.testing.assert_allclose(after + shift, before, atol=1e-6)
    by_mean = bm.bias_shift(w, q, samples.mean(axis=0))
    np.testing.assert_allclose(by_mean, shift, atol=1e-12)


def test_the_shift_of_many_rows_is_that_of_each(rng, monkeypatch):
    w = rng.standard_normal((20, 33), np.float32)
    q, mean = bm.quantize(w, bm.Affine(4)), rng.standard_normal(33)
    wanted = bm.bias_shift(w, q, mean)
    monkeypatch.setattr("bitmill.bias_correction._VALUES", 70)
    same_bits(bm.bias_shift(w, q, mean), wanted)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"q": None}, TypeError, "q is a NoneType; bias_shift takes a QTensor"),
        ({"w": np.ones((2, 4), np.float32)}, ValueError, "w and q have shapes"),
        ({"x_mean": np.ones(4)}, ValueError, r"x_mean has shape \(4,\); wanted 5 input channels"),
        ({"x_mean": np.ones((0, 5))}, ValueError, "no activations to take the mean of"),
        ({"x_mean": np.full((3, 5), np.inf)}, ValueError, r"first, x_mean\.flat\[0\], is inf"),
        ({"x_mean": np.array([1, 2, 3, 4, np.nan])}, ValueError, r"x_mean\.flat\[4\], is nan"),
        ({"x_mean": np.ones(5, np.int32)}, TypeError, "x_mean has dtype int32"),
        ({"w": np.full((2, 5), np.inf, np.float32)}, ValueError, r"w\.flat\[0\], is inf"),
    ],
)
def test_other_arguments_are_refused(change, error, message):
    w = np.ones((2, 5), np.float32)
    given = {"w": w, "q": bm.quantize(w, bm.Affine(4)), "x_mean": np.ones(5)} | change
    with pytest.raises(error, match=message):
        bm.bias_shift(**given)


@pytest.mark.parametrize("x_mean", [np.ones(0), np.ones((7, 0))])
def test_a_layer_without_inputs_has_no_shift(x_mean):
    w = np.ones((2, 0), np.float32)
    same_bits(bm.bias_shift(w, bm.quantize(w, bm.Affine(4)), x_mean), np.zeros(2))


def test_a_stack_of_layers_is_refused():
    w = np.ones((2, 3, 5), np.float32)
    with pytest.raises(ValueError, match=r"w has shape \(2, 3, 5\); wanted 2-D"):
        bm.bias_shift(w, bm.quantize(w, bm.Affine(4)), np.ones(5))
