# SPDX-License-Identifier: MIT
"""From values to codes, twin and kernels, by rows and by columns: numbers worked by hand."""

import numpy as np
import pytest

import engines
from bitmill._dtypes import dtype

INT2, INT4, INT8, INT16 = (-2, 1), (-8, 7), (-128, 127), (-32768, 32767)
UINT4, UINT8, UINT16 = (0, 15), (0, 255), (0, 65535)
MOST = float(np.finfo(np.float32).max)
LEAST = 2.0**-149  # the least positive float32
INF = float("inf")


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


def f32(bits):
    """The float32 of these bits."""
    return float(np.uint32(bits).view(np.float32))


@pytest.fixture(params=["row", "column"])
def encode(fn, request):
    """Codes of values under one scale, which lies along the row, or once per column."""

    def call(x, codes, scale, zero_point=None, offset=None, scales="float32", given="float32"):
        x = np.array([x], np.float64).astype(dtype(given))
        shape = (1, 1) if request.param == "row" else (x.shape[1],)
        kinds = (dtype(scales), np.uint8 if codes[1] < 256 else np.uint16, dtype(scales))
        values = (scale, zero_point, offset)
        params = [
            None if v is None else np.full(shape, v, k) for v, k in zip(values, kinds, strict=True)
        ]
        by = fn.affine_encode if request.param == "row" else fn.column_encode
        return by(x, *params, qmin=codes[0], qmax=codes[1])[0].tolist()

    return call


def quantize(fn, x, codes, rule="absmax", **options):
    """`affine_quantize` of one row."""
    x = np.array([x], np.float32)
    return fn.affine_quantize(x, qmin=codes[0], qmax=codes[1], rule=rule, **options)


# The quotient and its rounding


def test_ties_round_to_even(encode):
    x = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5]
    assert encode(x, INT8, 1.0) == [0, 2, 2, 0, -2, -2, 126]


def test_int4_ties_round_to_even_under_the_scale_of_their_group(fn):
    made = quantize(fn, [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7], INT4)
    assert made.codes.tolist() == [[0, 2, 2, 4, 4, 6, 6, 7]]


def test_tie_has_the_same_code_wherever_it_lies(encode):
    for length in (1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 300):
        assert encode([2.5] * length, INT8, 1.0) == [2] * length, length


@pytest.mark.parametrize(
    ("codes", "amax", "x", "code"),
    [
        (INT8, f32(0x3F45EE6D), f32(0x3EF4AFD2), 78),  # 79 with 1/scale
        (INT4, f32(0x3F5C31EB), f32(0x3F0D8DCE), 4),  # 5 with 1/scale
    ],
)
def test_values_are_divided_by_the_scale_not_multiplied_by_its_inverse(fn, codes, amax, x, code):
    assert quantize(fn, [x, amax], codes).codes[0, 0] == code


def test_value_beside_a_tie_stays_on_its_side(encode):
    """The quotient is 127.499992, the product with the inverse 127.5."""
    assert encode([0.273939937], UINT8, 0.00214854861, 0) == [127]


def test_scale_whose_inverse_overflows_still_divides(encode):
    for bits in (0x00200000, 0x00200001):
        scale = f32(bits)
        assert encode([3 * scale, -scale, 0.0], INT4, scale) == [3, -1, 0]


def test_values_are_divided_by_the_scale_as_stored(fn):
    """1/7 is 0.142857 in float32 but 0.142822 in float16, which makes 0.07142 more than a half."""
    for scales, code in (("float32", 0), ("float16", 1)):
        assert quantize(fn, [0.07142, 1.0], INT4, scales=scales).codes.tolist() == [[code, 7]]


@pytest.mark.parametrize("given", ["float16", "bfloat16", "float64"])
def test_other_dtypes_have_the_codes_of_their_float32_values(encode, given):
    x = [0.5, 1.5, -2.5, 7.0, -100.0, 3.25]
    assert encode(x, INT4, 1.0, given=given) == [0, 2, -2, 7, -8, 3]


def test_float64_is_rounded_to_float32_before_the_division(encode):
    assert encode([0.5 + 2.0**-30], INT4, 1.0, given="float64") == [0]


# The ends of the range


@pytest.mark.parametrize(
    ("codes", "least", "greatest"), [(INT2, -2, 1), (INT4, -8, 7), ((-7, 7), -7, 7),
                                     (INT8, -128, 127), (INT16, -32768, 32767)],
)  # fmt: skip
def test_codes_are_clamped_to_the_range(encode, codes, least, greatest):
    assert encode([1e6, -1e6], codes, 1.0) == [greatest, least]


def test_quotient_that_overflows_float32_is_clamped(encode):
    assert encode([MOST, -MOST, 0.0], INT4, LEAST) == [7, -8, 0]


@pytest.mark.parametrize("zero_point", [0, 40000, 65535])
def test_quotient_beyond_any_integer_is_clamped_with_a_zero_point_too(encode, zero_point):
    assert encode([MOST, -MOST, 0.0], UINT16, LEAST, zero_point) == [65535, 0, zero_point]


def test_scale_of_infinity_gives_code_zero(encode):
    assert encode([1.0, -1.0, MOST], INT4, INF) == [0, 0, 0]
    assert encode([1.0, -1.0, MOST], UINT4, INF, 3) == [3, 3, 3]


def test_subnormal_scale_rounded_down_clips_the_extreme_value(fn):
    """absmax is 190 of the least float32, the scale one: the quotient is 190."""
    made = quantize(fn, [190 * LEAST, -190 * LEAST, 5 * LEAST], INT8)
    assert made.codes.tolist() == [[127, -128, 5]]


def test_clipped_code_does_not_spill_into_its_neighbour(fn):
    """10/7 of the least float32 rounds to one, so 10 and -10 are beyond 4 bits."""
    made = quantize(fn, [10 * LEAST, LEAST, -10 * LEAST, LEAST], INT4, bits=4)
    assert made.codes.tolist() == [[0x909F]]


def test_scale_raised_from_zero_counts_in_steps_of_itself(fn):
    for bits, code in ((0x3F, 63), (0x40, 64)):
        made = quantize(fn, [f32(bits), LEAST], INT8)
        assert made.codes.tolist() == [[code, 1]]


def test_negative_scale_mirrors_the_codes(encode, fn):
    assert encode([1.0, -1.0, 2.5, 8.0], INT4, -1.0) == [-1, 1, -2, -8]
    assert quantize(fn, [8.0, -7.0, 1.0], INT4, "signed_max").codes.tolist() == [[-8, 7, -1]]


def test_signed_max_gives_the_least_code_to_a_tie_of_both_sides(fn):
    made = quantize(fn, [-8.0, 8.0], INT4, "signed_max")
    assert (made.scale.tolist(), made.codes.tolist()) == ([[1.0]], [[-8, 7]])


# Zero-points and offsets


def test_zero_point_is_added_to_the_rounded_quotient(encode):
    """rint(0.5) + 1 is 1, where rint(0.5 + 1) would be 2."""
    assert encode([0.5, 1.5, -0.5, -1.5], UINT4, 1.0, 1) == [1, 3, 1, 0]


def test_sum_with_the_zero_point_is_clamped(encode):
    assert encode([20.0, -20.0, 7.0], UINT4, 1.0, 8) == [15, 0, 15]


def test_zero_has_the_zero_point_as_its_code(fn):
    made = quantize(fn, [-5.0, 0.0, 10.0], UINT4, "asymmetric")
    assert (made.codes.tolist(), made.zero_point.tolist()) == ([[0, 5, 15]], [[5]])


def test_code_counts_steps_from_the_offset(encode):
    assert encode([10.5, 11.5, 12.5, 9.0, 99.0], UINT4, 1.0, offset=10.0) == [0, 2, 2, 0, 15]


def test_difference_to_the_offset_is_rounded_to_float32(encode):
    """2^24 + 7 is a tie and goes to 2^24 + 8, which is 1.5 scales: code 2, where 2^24 + 7 has 1."""
    assert encode([2.0**24 + 6], UINT4, (2.0**24 + 8) / 1.5, offset=-1.0) == [2]


def test_constant_group_has_offset_codes_zero_far_from_its_stored_offset(fn):
    made = quantize(fn, [1001.0] * 5, UINT4, "offset", scales="bfloat16")
    assert float(made.offset[0, 0]) == 1000.0
    assert float(made.scale[0, 0]) == 1.0
    assert made.codes.tolist() == [[0] * 5]


def test_constant_group_beside_others_has_codes_zero(fn):
    x = [1001.0] * 3 + [0.0, 1.0, 15.0]
    made = quantize(fn, x, UINT4, "offset", scales="bfloat16", group_size=3)
    assert made.codes.tolist() == [[0, 0, 0, 0, 1, 15]]
