# SPDX-License-Identifier: MIT
"""Floats of 4, 6 and 8 bits: their values and codes, by hand, by ml_dtypes, and exhaustively."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest

import cases
import engines
from bitmill._dtypes import dtype
from bitmill._minifloats import MINIFLOATS
from conftest import same_bits

ONE = np.ones((1, 1), np.float32)
FORMATS = list(MINIFLOATS)


@pytest.fixture(params=engines.ENGINES)
def kernels(request):
    with engines.engine(request.param) as module:
        yield module


def finite_codes(format):
    """The codes of all finite values, both signs."""
    sizes = np.arange(MINIFLOATS[format].top + 1)
    return np.concatenate([sizes, sizes + (1 << MINIFLOATS[format].bits - 1)]).astype(np.uint8)


def decoded(kernels, codes, format):
    return kernels.float_decode(codes.reshape(1, -1), ONE, format=format)[0]


def encoded(kernels, x, format):
    return kernels.float_encode(np.reshape(x, (1, -1)), ONE, format=format)[0]


def witness(x, format):
    """What ml_dtypes makes of finite float32 values: it has no saturation, and keeps −0.0."""
    f = MINIFLOATS[format]
    codes = np.clip(x, -f.max, f.max).astype(getattr(ml_dtypes, format)).view(np.uint8)
    return np.where(x == 0, 0, codes & (1 << f.bits) - 1).astype(np.uint8)


def test_values_by_hand(kernels):
    e2m1 = decoded(kernels, np.arange(16, dtype=np.uint8), "float4_e2m1fn")
    sizes = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    assert e2m1.tolist() == [*sizes, *(-v for v in sizes)]
    assert np.signbit(e2m1[8])
    by_hand = {
        "float8_e4m3fn": {0x01: 2**-9, 0x08: 2**-6, 0x38: 1, 0x7E: 448, 0xB8: -1},
        "float8_e5m2": {0x01: 2**-16, 0x04: 2**-14, 0x3C: 1, 0x7B: 57344, 0x7C: np.inf},
        "float6_e3m2fn": {0x01: 0.0625, 0x04: 0.25, 0x0C: 1, 0x1F: 28, 0x3F: -28},
        "float6_e2m3fn": {0x01: 0.125, 0x08: 1, 0x1F: 7.5, 0x3F: -7.5},
    }
    for format, wanted in by_hand.items():
        codes = np.array(list(wanted), np.uint8)
        assert decoded(kernels, codes, format).tolist() == list(wanted.values())


def test_nan_is_what_the_formats_say(kernels):
    every = np.arange(256, dtype=np.uint8)
    e4m3, e5m2 = (decoded(kernels, every, f) for f in ("float8_e4m3fn", "float8_e5m2"))
    assert np.flatnonzero(np.isnan(e4m3)).tolist() == [0x7F, 0xFF]
    assert np.flatnonzero(np.isnan(e5m2)).tolist() == [0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]
    assert e5m2[0xFC] == -np.inf


@pytest.mark.parametrize("format", FORMATS)
def test_values_are_those_of_ml_dtypes(kernels, format):
    codes = np.arange(1 << MINIFLOATS[format].bits, dtype=np.uint8)
    wanted = codes.view(getattr(ml_dtypes, format)).astype(np.float32)
    np.testing.assert_array_equal(decoded(kernels, codes, format), wanted)


@pytest.mark.parametrize("format", FORMATS)
def test_every_finite_code_comes_back(kernels, format):
    codes = finite_codes(format)
    again = encoded(kernels, decoded(kernels, codes, format), format)
    zero = 1 << MINIFLOATS[format].bits - 1  # -0.0 becomes 0.0
    np.testing.assert_array_equal(again, np.where(codes == zero, 0, codes))


@pytest.mark.parametrize("format", FORMATS)
def test_midpoints_go_to_even_and_their_neighbours_to_the_nearest(kernels, format):
    values = decoded(kernels, np.arange(MINIFLOATS[format].top + 1, dtype=np.uint8), format)
    exact = [Fraction(float(value)) for value in values]
    middles = [(a + b) / 2 for a, b in pairwise(exact)]
    middle = np.array([float(m) for m in middles], np.float32)
    assert [Fraction(float(m)) for m in middle] == middles  # float32 holds them
    lower = np.arange(len(middles))
    beside = [encoded(kernels, np.nextafter(middle, np.float32(end)), format) for end in (0, 1e9)]
    np.testing.assert_array_equal(encoded(kernels, middle, format), lower + lower % 2)
    np.testing.assert_array_equal(beside[0], lower)
    np.testing.assert_array_equal(beside[1], lower + 1)


@pytest.mark.parametrize("format", FORMATS)
def test_every_16_bit_float_and_all_neighbours_have_the_codes_of_ml_dtypes(kernels, format):
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    for every in (cases.every_bfloat16(), halves[np.isfinite(halves)]):
        np.testing.assert_array_equal(
            encoded(kernels, every, format), witness(every.astype(np.float32), format)
        )
    near = cases.neighbours(format)[0]
    np.testing.assert_array_equal(encoded(kernels, near, format), witness(near, format))


@pytest.mark.parametrize("format", FORMATS)
def test_all_beyond_the_largest_value_has_its_code(kernels, format):
    f = MINIFLOATS[format]
    x = np.float32([f.max, f.max * 1.2, 3.4e38, -f.max * 1.2])
    assert encoded(kernels, x, format).tolist() == [f.top] * 3 + [f.top | 1 << f.bits - 1]


def test_zeros_are_positive_and_what_rounds_to_zero_keeps_its_sign(kernels):
    x = np.float32([0.0, -0.0, 1e-30, -1e-30, -(2.0**-149)])
    for format in FORMATS:
        sign = 1 << MINIFLOATS[format].bits - 1
        assert encoded(kernels, x, format).tolist() == [0, 0, 0, sign, sign]


def test_the_quotient_is_rounded_to_float32_before_it_is_to_a_code(kernels):
    x, scale = np.float32([[2.5, 2.5]]), np.float32([[1, 1 + 2.0**-23]])
    codes = kernels.float_encode(x, scale, format="float4_e2m1fn", group_size=1)
    assert codes.tolist() == [[4, 4]]  # 2.5 is half-way between 2 and 3, and 2.4999998 below it
    codes = kernels.float_encode(x, np.float32([[1, 1 - 2.0**-24]]), format="float4_e2m1fn",
                                 group_size=1)  # fmt: skip
    assert codes.tolist() == [[4, 5]]


@pytest.mark.parametrize("format", [f for f in FORMATS if MINIFLOATS[f].bits < 8])
@pytest.mark.parametrize("length", [1, 31, 64, 96, 500])
def test_packed_codes_are_the_stream_of_pack(kernels, rng, format, length):
    x, bits = rng.standard_normal((3, length), np.float32), MINIFLOATS[format].bits
    scale = np.full((3, -(-length // 32)), 0.25, np.float32)
    codes = kernels.float_encode(x, scale, format=format, group_size=32)
    words = kernels.float_encode(x, scale, format=format, group_size=32, packed=True)
    same_bits(words, kernels.pack(codes, bits))
    options = {"format": format, "group_size": 32, "dtype_name": "bfloat16"}
    values = kernels.float_decode(words, scale, length=length, **options)
    same_bits(values, kernels.float_decode(codes, scale, **options))
    assert values.dtype == dtype("bfloat16")


def test_bits_above_those_of_a_format_are_ignored(kernels):
    codes = np.arange(256, dtype=np.uint8)
    got = decoded(kernels, codes, "float4_e2m1fn")
    same_bits(got, decoded(kernels, codes & 15, "float4_e2m1fn"))


def test_rows_that_are_cut_into_pieces_equal_the_twin(isa, rng):
    x = cases.normal(rng, (9, 2 * 131_072 + 149))
    for group, packed in ((None, True), (100, True), (16, False)):
        options = {"format": "float4_e2m1fn", "group_size": group}
        scale = engines.reference.absmax(x, group)
        wanted = engines.reference.float_encode(x[:2], scale[:2], packed=packed, **options)
        for threads in (1, 3):
            codes = engines.kernels.float_encode(
                x, scale, packed=packed, num_threads=threads, **options
            )
            same_bits(codes[:2], wanted)
            length = {"length": x.shape[1]} if packed else {}
            values = engines.kernels.float_decode(
                codes, scale, num_threads=threads, **options, **length
            )
            same_bits(
                values[:2], engines.reference.float_decode(wanted, scale[:2], **options, **length)
            )


BAD = [
    ({"format": "float8_e4m3"}, ValueError, "format='float8_e4m3' is not one of"),
    ({"format": 8}, TypeError, "format takes a string"),
    ({"packed": True}, ValueError, "packed=True goes with formats below 8 bits"),
    ({"group_size": 0}, ValueError, "group_size=0 must be at least 1"),
    ({"group_size": 2}, ValueError, r"scale has shape \(2, 1\); wanted \(2, 2\)"),
    ({"out": np.zeros((2, 4), np.int8)}, ValueError, "out has dtype int8; wanted uint8"),
]


@pytest.mark.parametrize(("given", "error", "message"), BAD)
def test_bad_arguments_of_encode(kernels, given, error, message):
    x, scale = np.ones((2, 4), np.float32), np.ones((2, 1), np.float32)
    with pytest.raises(error, match=message):
        kernels.float_encode(x, scale, **{"format": "float8_e4m3fn"} | given)


def test_bad_arguments_of_decode(kernels):
    codes, words = np.zeros((2, 4), np.uint8), np.zeros((2, 1), np.uint32)
    scale = np.ones((2, 1), np.float32)
    with pytest.raises(ValueError, match="length goes with packed words"):
        kernels.float_decode(words, scale, format="float8_e5m2", length=4)
    with pytest.raises(ValueError, match="length=9 at bits=4 takes 2"):
        kernels.float_decode(words, scale, format="float4_e2m1fn", length=9)
    with pytest.raises(TypeError, match="codes has dtype uint32"):
        kernels.float_decode(words, scale, format="float4_e2m1fn")
    with pytest.raises(TypeError, match="scale has dtype float64"):
        kernels.float_decode(codes, scale.astype(np.float64), format="float4_e2m1fn")
