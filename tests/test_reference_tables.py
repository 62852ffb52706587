# SPDX-License-Identifier: MIT
"""Codes of tables, twins and kernels, beside numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

import engines

VALUES = np.array([0, 4, -2, 1], np.float32)  # thresholds -1, 0.5, 2.5


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


def test_codes_are_those_of_the_nearest_values(fn):
    x = np.array([[-9, -1.5, -0.5, 0.25, 0.75, 2, 3, 9]], np.float32)
    assert fn.table_encode(x, VALUES).tolist() == [[2, 2, 0, 0, 3, 3, 1, 1]]


def test_halfway_between_two_values_is_the_lower_one(fn):
    x = np.array([[-1, 0.5, 2.5]], np.float32)
    assert fn.table_encode(x, VALUES).tolist() == [[2, 0, 3]]
    above = np.nextafter(x, np.float32(9))
    assert fn.table_encode(above, VALUES).tolist() == [[0, 3, 1]]


def test_of_equal_values_the_first_is_for_what_is_not_above_them(fn):
    values = np.array([1, 0, 0], np.float32)
    x = np.array([[-1, -0.0, 0, 2.0**-140, 0.4]], np.float32)
    assert fn.table_encode(x, values).tolist() == [[1, 1, 1, 2, 2]]


def test_scales_of_either_sign_and_zero(fn):
    x = np.array([[8, -4, 8, -4, 8, -4]], np.float32)
    scale = np.array([[2, -2, 0]], np.float32)
    codes = fn.table_encode(x, VALUES, scale, group_size=2)
    assert codes.tolist() == [[1, 2, 2, 3, 0, 0]]
    values = fn.table_decode(codes, VALUES, scale, group_size=2)
    assert values.tolist() == [[8, -4, 4, -2, 0, 0]]


def test_scales_without_a_reciprocal_divide(fn):
    tiny = 2.0**-140
    x = np.array([[4 * tiny, -2 * tiny, tiny, 0]], np.float32)
    scale = np.full((1, 1), tiny, np.float32)
    assert fn.table_encode(x, VALUES, scale).tolist() == [[1, 2, 3, 0]]


@pytest.mark.parametrize(("rule", "scale"), [("absmax", 2), ("signed_max", -4)])
def test_rules(fn, rule, scale):
    values = np.array([-4, 1, 2], np.float32)
    x = np.array([[8, 1]], np.float32) * (1 if rule == "absmax" else 2)
    made = fn.table_quantize(x, values, rule=rule)
    assert made.scale.tolist() == [[scale]]
    assert made.scale.dtype == np.float32


def test_a_group_of_zeros_is_decoded_to_zeros(fn):
    x = np.zeros((1, 4), np.float32)
    for values, scale in ((VALUES, 1), (np.array([-1, 3], np.float32), 0)):
        made = fn.table_quantize(x, values)
        assert made.scale.tolist() == [[scale]]
        assert not fn.table_decode(made.codes, values, made.scale).any()


def test_scales_that_underflow_overflow_or_are_not_finite_are_counted(fn):
    x = np.array([[1e-12, 1e9, np.nan, 1.0], [1.0, -np.inf, 1.0, 1.0]], np.float32)
    made = fn.table_quantize(x, VALUES, scales="float16", group_size=1)
    assert made[2:] == (2, 1, 1)
    assert made.scale[0, 0] == np.float16(2.0**-24)


def test_sums_are_those_of_the_values_found(fn):
    x = np.array([[1, 2, 3, -5]], np.float32)
    scales = np.array([[[1, -1]]], np.float32)
    made = fn.table_sums(x, VALUES, scales)  # t: 1 1 4 -2, and -2 -2 -2 4
    assert made.cross.tolist() == [[[25, -32]]]
    assert made.square.tolist() == [[[22, 28]]]
    weighed = fn.table_sums(x, VALUES, scales, np.array([1, 0, 0.5, 0], np.float32))
    assert weighed.cross.tolist() == [[[7, -5]]]
    assert weighed.square.tolist() == [[[9, 6]]]


def test_a_table_for_every_two_rows(fn):
    x = np.array([[1], [1], [1]], np.float32)
    values = np.array([[0, 1], [1, 0]], np.float32)
    codes = fn.table_encode(x, values, rows_per_table=2)
    assert codes.tolist() == [[1], [1], [0]]
    assert fn.table_decode(codes, values, rows_per_table=2).tolist() == [[1], [1], [1]]


def test_packed_codes_are_those_of_pack(fn):
    x = np.array([[-2, 0, 1, 4, 4, 1, 0]], np.float32)
    words = fn.table_encode(x, VALUES, bits=3)
    assert words.tolist() == fn.pack(fn.table_encode(x, VALUES), 3).tolist()
    assert fn.table_decode(words, VALUES, bits=3, length=7).tolist() == x.tolist()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f, x: f.table_encode(x, VALUES[:1]), ValueError, "1 entries in a table; wanted 2"),
        (lambda f, x: f.table_encode(x, VALUES * np.nan), ValueError, "not all finite"),
        (lambda f, x: f.table_encode(x, VALUES.astype(np.float64)), TypeError, "dtype float64"),
        (lambda f, x: f.table_encode(x, VALUES, bits=1), ValueError, "4 values do not fit 1 bits"),
        (lambda f, x: f.table_encode(x, np.stack([VALUES] * 3)), ValueError, "has 3 tables; 2 row"),
        (lambda f, x: f.table_encode(x, VALUES, x), ValueError, r"scale has shape \(2, 3\); want"),
        (lambda f, x: f.table_quantize(x, VALUES * 0), ValueError, "values are all 0"),
        (lambda f, x: f.table_quantize(x, VALUES, rule="offset"), ValueError, "rule='offset' is n"),
        (lambda f, x: f.table_sums(x, VALUES, x), ValueError, r"scales has shape \(2, 3\); wanted"),
        (lambda f, x: f.table_decode(x, VALUES), TypeError, "codes has dtype float32; wanted uint"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(fn, call, error, message):
    with pytest.raises(error, match=message):
        call(fn, np.ones((2, 3), np.float32))
