# SPDX-License-Identifier: MIT
"""Columns with outliers in float, the others in int8."""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
from conftest import same_bits
from test_transform_smoothing import int8_product, output_db

t = bm.transform


def test_a_column_is_out_from_the_threshold_on():
    x = np.float32([[6, 5.9, 0, -7], [0, 0, 0, 0]])
    split = t.split_columns(x)
    assert (split.outliers.tolist(), split.rest.tolist()) == ([0, 3], [1, 2])
    assert t.split_columns(x.reshape(2, 1, 4), 5.0).outliers.tolist() == [0, 1, 3]


def test_without_outliers_it_is_the_integer_product(rng):
    x, w = rng.standard_normal((5, 30), np.float32), rng.standard_normal((7, 30), np.float32)
    none = np.array([], np.int64)
    same_bits(t.SplitLinear(w, outliers=none)(x), int8_product(x, w))


def test_with_all_columns_kept_it_is_the_float_product(rng):
    x, w = rng.standard_normal((2, 5, 30), np.float32), rng.standard_normal((7, 30), np.float32)
    bias = rng.standard_normal(7, np.float32)
    got = t.SplitLinear(w, bias, outliers=np.arange(30))(x)
    np.testing.assert_allclose(got, x @ w.T + bias, rtol=1e-5, atol=1e-5)


def test_outliers_cost_less_once_their_columns_are_kept(rng):
    x, w = rng.standard_normal((200, 256), np.float32), rng.standard_normal((64, 256), np.float32)
    x[:, [5, 100, 200]] *= 60
    exact = x.astype(np.float64) @ w.T
    split = t.split_columns(x)
    assert {5, 100, 200} == set(split.outliers)
    plain = output_db(exact, int8_product(x, w))
    linear = t.SplitLinear(w, outliers=split.outliers)
    assert output_db(exact, linear(x)) > plain + 15
    assert linear.nbytes < 0.35 * w.nbytes


def test_no_rows_give_no_rows():
    x = np.zeros((0, 3), np.float32)
    assert t.split_columns(x).rest.tolist() == [0, 1, 2]
    assert t.SplitLinear(np.ones((2, 3), np.float32), outliers=[1])(x).shape == (0, 2)


def test_what_is_refused():
    w, x = np.ones((2, 3), np.float32), np.ones((1, 4), np.float32)
    with pytest.raises(TypeError, match="outliers takes a 1-D array of integers"):
        t.SplitLinear(w, outliers=[0.5])
    with pytest.raises(ValueError, match=r"not in 0\.\.2"):
        t.SplitLinear(w, outliers=[3])
    with pytest.raises(ValueError, match="an index twice"):
        t.SplitLinear(w, outliers=[1, 1])
    with pytest.raises(ValueError, match=r"x has shape \(1, 4\); wanted rows of 3"):
        t.SplitLinear(w, outliers=[1])(x)
    with pytest.raises(ValueError, match="threshold"):
        t.split_columns(x, 0)
