# SPDX-License-Identifier: MIT
"""Activations, twins and kernels: codes, scales, zero-points and sums of each token."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import engines


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


def test_symmetric_tokens(fn):
    made = fn.token_quantize(np.float32([[1.27, -0.5, 0], [0, 0, 0]]), symmetric=True)
    assert made.codes.tolist() == [[127, -50, 0], [0, 0, 0]]
    assert made.codes.dtype == np.int8
    assert made.scale.tolist() == [[np.float32(1.27) / np.float32(127)], [1]]
    assert made.zero_point is None
    assert made.sums.tolist() == [77, 0]


def test_asymmetric_tokens(fn):
    made = fn.token_quantize(np.float32([[-1, 0, 254], [3, 3, 3]]), symmetric=False)
    assert made.codes.tolist() == [[0, 1, 255], [255, 255, 255]]
    assert made.codes.dtype == np.uint8
    assert made.scale.tolist() == [[1], [np.float32(3) / np.float32(255)]]
    assert made.zero_point.tolist() == [[1], [0]]
    assert made.sums.tolist() == [256, 765]


def test_given_parameters_clip(fn):
    x, scale = np.float32([[300, -300, 2]]), np.float32([[2]])
    assert fn.token_encode(x, scale).codes.tolist() == [[127, -128, 1]]
    assert fn.token_encode(x, scale).sums.tolist() == [0]
    made = fn.token_encode(x, scale, np.uint8([[100]]))
    assert (made.codes.tolist(), made.sums.tolist()) == ([[250, 0, 101]], [351])


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("length", [1, 15, 63, 64, 127, 129, 2047, 2048, 2049, 5000])
def test_sums_are_those_of_the_codes(fn, rng, length, symmetric):
    made = fn.token_quantize(rng.standard_normal((3, length), np.float32), symmetric=symmetric)
    assert made.sums.tolist() == made.codes.sum(axis=1, dtype=np.int64).tolist()
    ends = np.full((2, length), -(2.0**60) if symmetric else 2.0**60, np.float32)
    zero_point = None if symmetric else np.zeros((2, 1), np.uint8)
    far = fn.token_encode(ends, np.ones((2, 1), np.float32), zero_point)
    assert far.sums.tolist() == [length * (-128 if symmetric else 255)] * 2


def test_no_tokens_and_empty_ones(fn):
    none = fn.token_quantize(np.empty((0, 4), np.float32), symmetric=False)
    assert (none.codes.shape, none.scale.shape, none.sums.shape) == ((0, 4), (0, 1), (0,))
    empty = fn.token_quantize(np.empty((2, 0), np.float32), symmetric=False)
    assert (empty.scale.tolist(), empty.zero_point.tolist()) == ([[1], [1]], [[0], [0]])
    assert empty.sums.tolist() == [0, 0]


def test_what_is_not_finite_is_counted(fn):
    x = np.float32([[1, 2], [np.nan, 1], [np.inf, 1], [3e38, -3e38]])
    assert fn.token_quantize(x, symmetric=True).nonfinite == 2
    assert fn.token_quantize(x, symmetric=True).overflowed == 0
    made = fn.token_quantize(x, symmetric=False)
    assert (made.nonfinite, made.overflowed) == (2, 1)  # the span of the last is infinite


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("length", [16, 61, 300, 5000])
def test_every_nonfinite_value_is_found(fn, symmetric, length):
    # A NaN is one end of a range, by its sign; the other end hid it.
    bad = np.array([0x7FC00000, 0xFFC00000, 0x7F800000, 0xFF800000], np.uint32).view(np.float32)
    for sign, place in itertools.product((1, -1), (0, length // 2, length - 1)):
        x = np.full((4, length), sign, np.float32)
        x[:, place] = bad
        assert fn.token_quantize(x, symmetric=symmetric)[4:] == (4, 0, 0)


def test_what_does_not_fit_is_refused(fn):
    x = np.ones((2, 3), np.float32)
    with pytest.raises(TypeError, match="symmetric takes True or False"):
        fn.token_quantize(x, symmetric=1)
    with pytest.raises(ValueError, match=r"scale has shape \(2,\)"):
        fn.token_encode(x, np.ones(2, np.float32))
    with pytest.raises(TypeError, match="zero_point has dtype int8; wanted uint8"):
        fn.token_encode(x, np.ones((2, 1), np.float32), np.zeros((2, 1), np.int8))
    with pytest.raises(ValueError, match=r"8,421,505 values; beyond 8,421,504 the sum"):
        fn.token_quantize(np.empty((0, 8_421_505), np.float32), symmetric=True)
