# SPDX-License-Identifier: MIT
"""From ranges to scales, zero-points and offsets, twin and kernels, by numbers worked by hand."""

from fractions import Fraction

import numpy as np
import pytest

import engines
from bitmill._dtypes import STORAGES, dtype
from golden_files import bits_of

INT2, INT4, INT8, INT16 = (-2, 1), (-8, 7), (-128, 127), (-32768, 32767)
NARROW4 = (-7, 7)
UINT4, UINT8, UINT16 = (0, 15), (0, 255), (0, 65535)
MOST = float(np.finfo(np.float32).max)
LEAST = 2.0**-149  # the least positive float32


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


def params(fn, codes, rule, lo, hi, scales="float32"):
    """`affine_params` of one or several groups."""
    lo, hi = (np.array(v, np.float32).reshape(1, -1) for v in (lo, hi))
    return fn.affine_params(lo, hi, qmin=codes[0], qmax=codes[1], rule=rule, scales=scales)


def f32(bits):
    """The float32 of these bits."""
    return float(np.uint32(bits).view(np.float32))


@pytest.mark.parametrize(
    ("codes", "rule", "lo", "hi", "scale"),
    [
        (INT4, "absmax", -4, 7, 1.0),
        (INT4, "absmax", -14, 7, 2.0),
        (NARROW4, "absmax", -3.5, 2, 0.5),
        (INT2, "absmax", -3, 2, 3.0),
        (INT8, "absmax", -254, 5, 2.0),
        (INT16, "absmax", -1, 32767, 1.0),
        (INT4, "full_range", -4, 7.5, 1.0),
        (INT4, "full_range", -15, 7, 2.0),
        (NARROW4, "full_range", -7, 2, 1.0),
        (INT2, "full_range", -3, 2, 2.0),
        (INT8, "full_range", -127.5, 5, 1.0),
        (INT4, "signed_max", -4, 7, -0.875),
        (INT4, "signed_max", -7, 4, 0.875),
        (INT4, "signed_max", 0, 4, -0.5),
        (INT4, "signed_max", -4, 0, 0.5),
        (INT2, "signed_max", -1, 3, -1.5),
        (INT8, "signed_max", -1, 128, -1.0),
    ],
)
def test_symmetric_scale_is_the_one_worked_by_hand(fn, codes, rule, lo, hi, scale):
    made = params(fn, codes, rule, lo, hi)
    assert made.scale.tolist() == [[scale]]
    assert made.zero_point is None
    assert made.offset is None


def test_signed_max_takes_the_positive_side_only_if_it_is_larger(fn):
    beyond = float(np.nextafter(np.float32(8), np.float32(9)))
    made = params(fn, INT4, "signed_max", [-8, -8, -beyond], [8, beyond, 8])
    assert made.scale.tolist() == [[1.0, -beyond / 8, beyond / 8]]


@pytest.mark.parametrize(
    ("codes", "lo", "hi", "scale", "zero_point"),
    [
        (UINT4, -5, 10, 1.0, 5),
        (UINT4, 2, 15, 1.0, 0),  # all positive: the range is extended to 0
        (UINT4, -30, -1, 2.0, 15),  # all negative
        (UINT4, -2.5, 12.5, 1.0, 2),  # -lo / scale is a tie: to even
        (UINT4, -3.5, 11.5, 1.0, 4),
        (UINT8, -100, 155, 1.0, 100),
        (UINT8, -255, 0, 1.0, 255),
        (UINT16, -32768, 32767, 1.0, 32768),
    ],
)
def test_asymmetric_scale_and_zero_point_are_those_worked_by_hand(
    fn, codes, lo, hi, scale, zero_point
):
    made = params(fn, codes, "asymmetric", lo, hi)
    assert (made.scale.tolist(), made.zero_point.tolist()) == ([[scale]], [[zero_point]])
    assert made.zero_point.dtype == (np.uint8 if codes[1] < 256 else np.uint16)
    assert made.offset is None


@pytest.mark.parametrize(
    ("codes", "lo", "hi", "scale"),
    [(UINT4, 5, 20, 1.0), (UINT4, -20, -5, 1.0), (UINT8, -1, 509, 2.0), (UINT16, 1, 65536, 1.0)],
)
def test_offset_is_the_least_value_and_zero_is_not_forced_in(fn, codes, lo, hi, scale):
    made = params(fn, codes, "offset", lo, hi)
    assert (made.scale.tolist(), made.offset.tolist()) == ([[scale]], [[lo]])
    assert made.zero_point is None


@pytest.mark.parametrize(
    ("scales", "scale"), [("float32", f32(0x3E124925)), ("float16", 1170 / 8192),
                          ("bfloat16", 146 / 1024)],
)  # fmt: skip
def test_scale_is_rounded_to_its_storage_dtype(fn, scales, scale):
    made = params(fn, INT4, "absmax", -1, 1, scales)  # 1/7
    assert made.scale.dtype == dtype(scales)
    assert float(made.scale[0, 0]) == scale


@pytest.mark.parametrize(("scales", "offset"), [("float16", 1001.0), ("bfloat16", 1000.0)])
def test_offset_is_rounded_to_its_storage_dtype(fn, scales, offset):
    made = params(fn, UINT4, "offset", 1001.0, 2001.0, scales)
    assert made.offset.dtype == dtype(scales)
    assert float(made.offset[0, 0]) == offset


def test_zero_point_is_that_of_the_scale_as_stored(fn):
    """255.99609375/255 is 1 + 2^-8, a tie in bfloat16 that goes to 1; not 200.78125/(1 + 2^-8)."""
    made = params(fn, UINT8, "asymmetric", -200.78125, 55.21484375, "bfloat16")
    assert (float(made.scale[0, 0]), int(made.zero_point[0, 0])) == (1.0, 201)


def test_zero_point_beyond_the_codes_is_clamped(fn):
    """The same scale; -lo / scale is 255.99609375, which rounds to 256."""
    made = params(fn, UINT8, "asymmetric", -255.99609375, 0, "bfloat16")
    assert (float(made.scale[0, 0]), int(made.zero_point[0, 0])) == (1.0, 255)


def nearest(value):
    """The float32 nearest to a fraction, ties to even."""
    near = np.float32(float(value))
    around = (np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf)))
    return min(around, key=lambda f: (abs(Fraction(float(f)) - value), int(bits_of(f)[0]) & 1))


@pytest.mark.parametrize(
    ("codes", "rule"),
    [(INT4, "absmax"), (INT8, "absmax"), (INT4, "full_range"), (INT8, "full_range"),
     (INT16, "signed_max"), (UINT4, "asymmetric"), (UINT8, "offset")],
)  # fmt: skip
def test_scale_is_one_division_of_a_float32_span(fn, rng, codes, rule):
    size = 200
    hi = np.ldexp(rng.uniform(1, 2, size), rng.integers(-120, 120, size)).astype(np.float32)
    lo = -(hi * rng.uniform(0.01, 0.9, size)).astype(np.float32)
    made = params(fn, codes, rule, lo, hi).scale[0]
    qmin, qmax = codes
    divisor = {"absmax": qmax, "signed_max": qmin, "full_range": Fraction(qmax - qmin, 2)}
    for low, high, scale in zip(lo.tolist(), hi.tolist(), made, strict=True):
        span = Fraction(high)
        if rule in ("asymmetric", "offset"):
            span = Fraction(float(nearest(Fraction(high) - Fraction(low))))
        assert scale == nearest(span / divisor.get(rule, qmax)), (low, high)


@pytest.mark.parametrize("scales", STORAGES)
@pytest.mark.parametrize(
    ("codes", "rule"),
    [(INT4, "absmax"), (INT4, "full_range"), (INT4, "signed_max"), (UINT4, "asymmetric"),
     (UINT4, "offset")],
)  # fmt: skip
def test_zeros_have_scale_one_and_code_zero_stands_for_zero(fn, codes, rule, scales):
    made = params(fn, codes, rule, 0, 0, scales)
    assert (float(made.scale[0, 0]), made.underflowed, made.overflowed) == (1.0, 0, 0)
    assert made.zero_point is None or made.zero_point.tolist() == [[0]]
    assert made.offset is None or bits_of(made.offset).tolist() == [[0]]


def test_constant_group_has_scale_one_and_itself_as_offset(fn):
    made = params(fn, UINT4, "offset", [5, -3], [5, -3])
    assert (made.scale.tolist(), made.offset.tolist()) == ([[1.0, 1.0]], [[5.0, -3.0]])


def test_offset_that_rounds_to_zero_is_positive_zero(fn):
    made = params(fn, UINT4, "offset", -LEAST, 1, "bfloat16")
    assert bits_of(made.offset).tolist() == [[0]]


@pytest.mark.parametrize(
    ("codes", "rule", "lo", "hi", "scales", "scale", "underflowed"),
    [
        (INT8, "absmax", 0, f32(0x3F), "float32", LEAST, 1),  # 63/127 of the least
        (INT8, "absmax", 0, f32(0x40), "float32", LEAST, 0),  # 64/127
        (INT8, "absmax", 0, 190 * LEAST, "float32", LEAST, 0),  # 1.496, down to 1
        (INT8, "absmax", 0, 191 * LEAST, "float32", 2 * LEAST, 0),  # 1.504
        (INT4, "absmax", -3 * LEAST, 0, "float32", LEAST, 1),
        (INT4, "absmax", -4 * LEAST, 0, "float32", LEAST, 0),
        (INT4, "signed_max", 0, 4 * LEAST, "float32", -LEAST, 1),  # -1/2: a tie, to -0.0
        (INT4, "signed_max", -4 * LEAST, 0, "float32", LEAST, 1),
        (INT4, "signed_max", 0, 5 * LEAST, "float32", -LEAST, 0),
        (UINT4, "asymmetric", -LEAST, LEAST, "float32", LEAST, 1),
        (UINT4, "offset", 1, 1 + 2.0**-23, "float16", 2.0**-24, 1),
        (INT8, "absmax", 0, 127 * 2.0**-25, "float16", 2.0**-24, 1),  # a tie, to 0
        (INT8, "absmax", 0, f32(0x367E0001), "float16", 2.0**-24, 0),  # the next float32
        (INT4, "absmax", 0, 7 * 2.0**-25, "float16", 2.0**-24, 1),
        (INT4, "absmax", 0, f32(0x34600001), "float16", 2.0**-24, 0),
        (INT4, "absmax", 0, 7 * 2.0**-134, "bfloat16", 2.0**-133, 1),
        (INT4, "absmax", 0, 7 * 2.0**-133, "bfloat16", 2.0**-133, 0),
    ],
)
def test_scale_that_underflows_becomes_the_least_of_its_dtype_keeping_its_sign(
    fn, codes, rule, lo, hi, scales, scale, underflowed
):
    made = params(fn, codes, rule, lo, hi, scales)
    assert (float(made.scale[0, 0]), made.underflowed) == (scale, underflowed)


@pytest.mark.parametrize(
    ("codes", "rule", "lo", "hi", "scales", "overflowed"),
    [
        (INT8, "absmax", 0, 8321039.5, "float16", 0),  # just below 127·65520: to 65504
        (INT8, "absmax", 0, 8321040, "float16", 1),
        (INT4, "absmax", 0, 458639.97, "float16", 0),  # just below 7·65520
        (INT4, "absmax", 0, 458640, "float16", 1),
        (INT4, "signed_max", 0, 524160, "float16", 1),  # 8·65520
        (INT2, "absmax", 0, f32(0x7F7F7FFF), "bfloat16", 0),
        (INT2, "absmax", 0, f32(0x7F7F8000), "bfloat16", 1),
        (INT2, "absmax", -MOST, MOST, "float32", 0),
        (UINT4, "asymmetric", -(2.0**127), 2.0**127, "float32", 1),  # the span is 2^128
        (UINT4, "asymmetric", -(2.0**127), 2.0**127 - 2.0**103, "float32", 1),  # a tie with it
        (UINT4, "asymmetric", -(2.0**127), 2.0**127 - 2.0**104, "float32", 0),
        (UINT4, "offset", -(2.0**127), 2.0**127, "float32", 1),
        (UINT4, "offset", f32(0x477FEFFF), 65536, "float16", 0),  # just below 65520
        (UINT4, "offset", 65520, 65536, "float16", 1),  # the offset alone
        (UINT4, "offset", 65520, 65520, "float16", 1),
    ],
)
def test_scale_or_offset_beyond_its_dtype_is_counted(fn, codes, rule, lo, hi, scales, overflowed):
    made = params(fn, codes, rule, lo, hi, scales)
    assert (made.overflowed, made.underflowed) == (overflowed, 0)


def test_largest_range_that_fits_float16_has_its_greatest_scale(fn):
    assert float(params(fn, INT8, "absmax", 0, 8321039.5, "float16").scale[0, 0]) == 65504.0


def test_counts_are_of_groups(fn):
    hi = [1, 1e30, 1e-30, 0, 1e-30, 1e-30]
    made = params(fn, INT4, "absmax", np.negative(hi), hi, "float16")
    assert (made.overflowed, made.underflowed) == (1, 3)
    assert made.scale.shape == (1, 6)
