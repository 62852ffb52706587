# SPDX-License-Identifier: MIT
"""From codes to values, twin and kernels, by rows and by columns: numbers worked by hand."""

import numpy as np
import pytest

import engines
from bitmill._dtypes import dtype
from golden_files import bits_of

MINUS_ZERO = 0x80000000  # bits


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


@pytest.fixture(params=["row", "column"])
def decode(fn, request):
    """Values of codes under one scale, which lies along the row, or once per column."""

    def call(codes, scale, zero_point=None, offset=None, *, codes_are="int8", **options):
        codes = np.array([codes], codes_are)
        shape = (1, 1) if request.param == "row" else (codes.shape[1],)
        kinds = (np.float32, codes.dtype if zero_point is not None else None, np.float32)
        values = (scale, zero_point, offset)
        params = [
            None if v is None else np.full(shape, v, k) for v, k in zip(values, kinds, strict=True)
        ]
        by = fn.affine_decode if request.param == "row" else fn.column_decode
        return by(codes, *params, **options)[0]

    return call


def test_value_is_the_distance_to_the_zero_point_times_the_scale(decode):
    assert decode([-8, 0, 7], 0.5).tolist() == [-4.0, 0.0, 3.5]
    assert decode([0, 5, 255], 0.5, 5, codes_are="uint8").tolist() == [-2.5, 0.0, 125.0]
    assert decode([0, 40000, 65535], 2.0, 40000, codes_are="uint16").tolist() == [-8e4, 0.0, 51070]


def test_value_with_an_offset_is_the_code_times_the_scale_plus_it(decode):
    assert decode([0, 1, 15], 0.5, offset=-3.0, codes_are="uint8").tolist() == [-3.0, -2.5, 4.5]


@pytest.mark.parametrize(
    ("codes_are", "least", "greatest"),
    [("int8", -128, 127), ("uint8", 0, 255), ("int16", -32768, 32767), ("uint16", 0, 65535)],
)
def test_codes_at_both_ends_of_their_dtype_keep_their_sign(decode, codes_are, least, greatest):
    assert decode([least, greatest], 1.0, codes_are=codes_are).tolist() == [least, greatest]


def test_product_and_sum_are_rounded_one_after_the_other(decode):
    """4097·(1 + 2^-23) rounds to 4097 + 2^-11; a fused multiply-add would leave 2^-11 + 2^-23."""
    made = decode([4097], 1 + 2.0**-23, offset=-4097.0, codes_are="uint16")
    assert made.tolist() == [2.0**-11]


@pytest.mark.parametrize(
    ("dtype_name", "codes", "scale", "value"),
    [
        ("bfloat16", 5, 51.4, 256.0),  # 257.0000076 is 257 in float32, a tie
        ("float16", 5, 409.8, 2048.0),  # 2049.0000610 is 2049 in float32, a tie
        ("float16", 127, 1000.0, np.inf),
        ("bfloat16", 127, 1000.0, 126976.0),  # 127000 rounded to 8 bits
        ("float64", 3, 0.1, float(np.float32(3) * np.float32(0.1))),
    ],
)
def test_value_is_rounded_to_float32_and_then_once_to_its_dtype(
    decode, dtype_name, codes, scale, value
):
    made = decode([codes], scale, dtype_name=dtype_name)
    assert made.dtype == dtype(dtype_name)
    assert made.astype(np.float64).tolist() == [value]


@pytest.mark.parametrize("scales", ["float16", "bfloat16"])
def test_scale_is_widened_from_its_storage_dtype(fn, scales):
    stored = np.full((1, 1), 0.1, dtype(scales))
    made = fn.affine_decode(np.array([[3]], np.int8), stored)
    assert made.tolist() == [[float(np.float32(3) * stored.astype(np.float32)[0, 0])]]


def test_zero_under_a_positive_scale_is_positive(decode):
    assert bits_of(decode([0, 0], 0.5)).tolist() == [0, 0]
    assert bits_of(decode([7, 7], 0.5, 7, codes_are="uint8")).tolist() == [0, 0]


def test_zero_under_a_negative_scale_is_negative(decode):
    assert bits_of(decode([0, 0], -0.5)).tolist() == [MINUS_ZERO] * 2


@pytest.mark.parametrize("dtype_name", ["float16", "bfloat16"])
def test_negative_zero_survives_rounding_to(decode, dtype_name):
    assert bits_of(decode([0], -0.5, dtype_name=dtype_name)).tolist() == [0x8000]


def test_any_scale_is_multiplied_as_it_is(decode):
    assert decode([-1, 0, 1], 0.0).tolist() == [0.0, 0.0, 0.0]
    assert decode([-1, 1], np.inf).tolist() == [-np.inf, np.inf]
    assert np.isnan(decode([0], np.inf)).all()
    assert np.isnan(decode([-1, 0, 1], np.nan)).all()


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("signed", [False, True])
def test_words_have_the_values_of_the_codes_in_them(fn, bits, signed):
    codes = np.arange(75).reshape(1, -1) % (1 << bits)
    codes = codes.astype(np.uint8) if not signed else (codes - (1 << bits - 1)).astype(np.int8)
    scale = np.full((1, 1), 0.5, np.float32)
    made = fn.affine_decode(fn.pack(codes, bits), scale, bits=bits, length=75, signed=signed)
    assert made.tolist() == (codes * 0.5).tolist()


def test_each_group_has_its_own_scale_and_the_last_may_be_short(fn):
    codes = np.array([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]], np.int8)
    scale = np.array([[1, 10, 100], [2, 20, 200]], np.float32)
    made = fn.affine_decode(codes, scale, group_size=2)
    assert made.tolist() == [[1, 2, 30, 40, 500], [2, 4, 60, 80, 1000]]


def test_each_group_has_its_own_zero_point(fn):
    codes = np.array([[1, 2, 3, 4, 5]], np.uint8)
    ones = np.ones((1, 3), np.float32)
    zero_point = np.array([[0, 3, 5]], np.uint8)
    made = fn.affine_decode(codes, ones, zero_point, group_size=2)
    assert made.tolist() == [[1, 2, 0, 1, 0]]


def test_each_column_has_its_own_scale(fn):
    codes = np.array([[1, 2, 3], [-1, -2, -3]], np.int8)
    made = fn.column_decode(codes, np.array([1, 10, 100], np.float32))
    assert made.tolist() == [[1, 20, 300], [-1, -20, -300]]
