# SPDX-License-Identifier: MIT
"""Prepacked weights and products of quantized tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest

import bitmill as bm
from bitmill._arguments import MOST_W8A8
from conftest import same_bits

SYMMETRIC, ASYMMETRIC = bm.Affine(8), bm.Affine(8, symmetric=False)
TENSOR = bm.Affine(8, axis=None, symmetric=False, scales="bfloat16")


def normal(rng, shape):
    return rng.standard_normal(shape, np.float32)


@pytest.mark.parametrize("w_scheme", [SYMMETRIC, ASYMMETRIC, TENSOR, bm.Affine(8, axis=0)], ids=str)
@pytest.mark.parametrize("x_scheme", [SYMMETRIC, ASYMMETRIC, TENSOR], ids=str)
def test_a_product_is_that_of_the_values(isa, rng, x_scheme, w_scheme):
    x, w = (
        bm.quantize(normal(rng, (3, 7, 50)), x_scheme),
        bm.quantize(normal(rng, (37, 50)), w_scheme),
    )
    bias = normal(rng, 37)
    got = bm.integer.matmul(x, bm.integer.prepack(w), bias)
    exact = np.asarray(x, np.float64) @ np.asarray(w, np.float64).T
    assert got.shape == (3, 7, 37)
    np.testing.assert_allclose(got, exact + bias, rtol=1e-6, atol=1e-6)


def test_a_vector_gives_a_vector(isa, rng):
    x, w = bm.quantize(normal(rng, 50), SYMMETRIC), bm.quantize(normal(rng, (5, 50)), SYMMETRIC)
    packed = bm.integer.prepack(w)
    got = bm.integer.matmul(x, packed)
    assert got.shape == (5,)
    row = bm.quantize(np.asarray(x)[np.newaxis], SYMMETRIC)
    same_bits(got, bm.integer.matmul(row, packed)[0])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_output_may_be_given(isa, rng, dtype):
    x, w = bm.quantize(normal(rng, (4, 9)), ASYMMETRIC), bm.quantize(normal(rng, (5, 9)), SYMMETRIC)
    packed = bm.integer.prepack(w)
    wanted = bm.integer.matmul(x, packed, dtype=dtype)
    assert wanted.dtype.name == dtype
    out = np.empty_like(wanted)
    assert bm.integer.matmul(x, packed, dtype=dtype, out=out) is out
    same_bits(out, wanted)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (1, 1)])
def test_empty_operands(isa, shape):
    w = bm.integer.prepack(bm.quantize(np.ones(shape, np.float32), SYMMETRIC))
    for rows in (0, 1, 3):
        x = bm.quantize(np.ones((rows, shape[1]), np.float32), SYMMETRIC)
        got = bm.integer.matmul(x, w)
        assert got.shape == (rows, shape[0])
        np.testing.assert_allclose(got, np.full(got.shape, shape[1]), rtol=1e-6)


def test_tiles_hold_every_code_once_and_zeros(rng):
    q = bm.quantize(normal(rng, (18, 7)), ASYMMETRIC)
    packed = bm.integer.prepack(q)
    tiles = packed.arrays["codes"]
    assert tiles.shape == (2, 2, 16, 4)
    for row in range(18):
        for column in range(7):
            at = row // 16, column // 4, row % 16, column % 4
            assert tiles[at] == q.codes[row, column]
            tiles[at] = 0
    assert not tiles.any()


def test_a_record_counts_its_bytes(rng):
    packed = bm.integer.prepack(bm.quantize(normal(rng, (33, 10)), SYMMETRIC))
    assert packed.layout == "w8a8"
    assert packed.shape == (33, 10)
    assert packed.nbytes == 48 * 12 + 33 * (4 + 1 + 4)
    assert repr(packed) == "Prepacked(w8a8, shape=(33, 10), 873 bytes)"


X = np.ones((2, 5), np.float32)
Q = bm.quantize(X, SYMMETRIC)
W = bm.integer.prepack(Q)
LONG = bm.quantize(np.ones((1, MOST_W8A8 + 1), np.float32), SYMMETRIC)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bm.integer.prepack(X), TypeError, "q is a ndarray; wanted a QTensor"),
        (lambda: bm.integer.matmul(X, W), TypeError, "x is a ndarray; wanted a QTensor"),
        (lambda: bm.integer.matmul(Q, Q), TypeError, "w is a QTensor; wanted what bm.integer"),
        (
            lambda: bm.integer.prepack(bm.quantize(X, bm.Affine(5))),
            ValueError,
            r"q has the scheme Affine\(bits=5\); wanted bm.Affine\(8\), or",
        ),
        (
            lambda: bm.integer.prepack(bm.quantize(X, bm.Affine(8, symmetric=False, offset=True))),
            ValueError,
            "without offset",
        ),
        (
            lambda: bm.integer.prepack(bm.quantize(X, bm.KMeans(4))),
            ValueError,
            "q has the scheme KMeans",
        ),
        (
            lambda: bm.integer.prepack(bm.quantize(X, bm.Affine(8, group_size=2))),
            ValueError,
            r"q has scales of the shape \(2, 3\); wanted one a row, or one in all",
        ),
        (
            lambda: bm.integer.matmul(bm.quantize(X, bm.Affine(8, axis=1)), W),
            ValueError,
            r"x has scales of the shape \(1, 5\)",
        ),
        (
            lambda: bm.integer.prepack(bm.quantize(X[0], SYMMETRIC)),
            ValueError,
            r"q has the shape \(5,\); wanted 2 dimensions",
        ),
        (lambda: bm.integer.prepack(LONG), ValueError, "q has rows of 65,794; beyond 65,793"),
        (
            lambda: bm.integer.matmul(bm.quantize(X[:, :4], SYMMETRIC), W),
            ValueError,
            r"x and w have shapes \(2, 4\) and \(2, 5\); wanted rows of one length",
        ),
        (
            lambda: bm.integer.matmul(Q, W, np.ones(3, np.float32)),
            ValueError,
            r"bias has shape \(3,\); wanted \(2,\)",
        ),
        (lambda: bm.integer.matmul(Q, W, dtype="float64"), ValueError, "dtype='float64' is not"),
        (lambda: bm.integer.matmul(Q, W, out=X), ValueError, r"out has shape \(2, 5\)"),
    ],
)
def test_operands_that_do_not_fit_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_products_of_activations_and_weights_are_close_to_those_of_floats(isa, rng):
    x, w = normal(rng, (16, 512)), normal(rng, (64, 512)) / math.sqrt(512)
    got = bm.integer.matmul(
        bm.quantize(x, ASYMMETRIC), bm.integer.prepack(bm.quantize(w, SYMMETRIC))
    )
    assert np.abs(got - x @ w.T).max() < 0.08
