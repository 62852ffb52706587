# SPDX-License-Identifier: MIT
"""Factors as an integer and a shift, and codes of int32 sums, beside numbers worked by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import bitmill as bm
import engines
from bitmill import _core, kernels
from bitmill.reference.requantize import divide_by_power, high_multiply, rescale
from conftest import same_bits

LEAST, MOST = -(2**31), 2**31 - 1
PAIRS = 1_000_000


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


@pytest.mark.parametrize(
    ("m", "multiplier", "shift"),
    [
        (0.5, 1073741824, 0),
        (0.25, 1073741824, -1),
        (1 / 3, 1431655765, -1),
        (1.5, 1610612736, 1),
        (0.007247427341846, 1992157658, -7),
        (0.9999999999, 1 << 30, 1),
        (2.0**-32, 1 << 30, -31),
        (np.nextafter(2.0**-32, 0), 1 << 30, -31),
        (2.0**-33, 0, 0),
        (5e-324, 0, 0),
        (2.0**29, 1 << 30, 30),
    ],
)
def test_factors_have_31_bits_and_a_shift(m, multiplier, shift):
    got = bm.integer.quantize_multiplier(m)
    assert (got.multiplier, got.shift) == (multiplier, shift)
    assert got.multiplier.dtype == got.shift.dtype == np.int32


def test_factors_are_within_half_a_step(rng):
    m = 2.0 ** rng.uniform(-31, 29, 10_000)
    multiplier, shift = bm.integer.quantize_multiplier(m)
    error = np.ldexp(multiplier / 2.0**31, shift) / m - 1
    assert np.abs(error).max() <= 2.0**-31


@pytest.mark.parametrize(
    "m", [0, -1.0, np.nan, np.inf, 2.0**30, [1.0, 0.0], 2.0**30 * (1 - 2**-40)]
)
def test_factors_out_of_range_are_refused(m):
    with pytest.raises(ValueError, match=r"m has the value|m is 2\^30"):
        bm.integer.quantize_multiplier(m)


VECTORS = [
    (0.5, [1, -1, 3, -3, 12345, -12345], [1, 0, 2, -1, 6173, -6172], [1, 0, 2, -1, 6173, -6172]),
    (0.25, [1, -1, 3, -12345], [1, 0, 1, -3086], [0, 0, 1, -3086]),
    (1 / 3, [100, -100], [34, -34], [33, -33]),
    (1.5, [1, -1, 3, -3], [2, -1, 5, -4], [2, -1, 5, -4]),
    (0.007247427341846, [12345], [89], [89]),
]


@pytest.mark.parametrize(("m", "x", "double", "single"), VECTORS)
def test_both_roundings_by_hand(fn, m, x, double, single):
    factor = bm.integer.quantize_multiplier(np.full(len(x), m))
    acc, full = np.int32([x]), {"qmin": -128, "qmax": 127}
    for rounding, wanted in (("double", double), ("single", single)):
        assert rescale(acc, *factor, rounding).tolist() == [wanted]
        got = fn.requantize(acc, *factor, rounding=rounding, **full)
        assert got.tolist() == [np.clip(wanted, -128, 127).tolist()]


def test_the_high_product_is_that_of_gemmlowp(rng):
    """Its nudge is 2^30 or 1 − 2^30, by the sign, and its division goes towards zero."""
    a, b = rng.integers(LEAST, MOST, (2, PAIRS), np.int64, endpoint=True)
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    wanted = np.where(nudged >= 0, nudged >> 31, -(-nudged >> 31))
    assert (high_multiply(a.astype(np.int32), b.astype(np.int32)) == wanted).all()


def test_the_high_product_saturates_for_one_pair_alone():
    ends = np.int32([LEAST, LEAST + 1, -1, 0, 1, MOST])
    a, b = np.meshgrid(ends, ends)
    exact = [
        [(int(x) * int(y) + 2**30) // 2**31 for x, y in zip(*pair, strict=True)]
        for pair in zip(a, b, strict=True)
    ]
    assert exact[0][0] == MOST + 1
    exact[0][0] = MOST
    assert high_multiply(a, b).tolist() == exact


def test_division_by_a_power_rounds_halves_away_from_zero(rng):
    x = rng.integers(LEAST, MOST, PAIRS, np.int64, endpoint=True).astype(np.int32)
    x[: PAIRS // 2] >>= rng.integers(0, 31, PAIRS // 2).astype(np.int32)
    exponent = rng.integers(0, 32, PAIRS).astype(np.int32)
    size, half = np.abs(x.astype(np.int64)), (1 << exponent.astype(np.int64)) >> 1
    wanted = np.sign(x) * ((size + half) >> exponent)
    assert (divide_by_power(x, exponent) == wanted).all()


def test_the_vectors_high_product_is_the_twins(isa, rng):
    pairs = rng.integers(LEAST, MOST, (2, 4096, 16), np.int64, endpoint=True).astype(np.int32)
    out, verb = np.empty(16, np.int32), _core.verb_names().index("mul_q31")
    for a, b in zip(*pairs, strict=True):
        _core.apply_verb(verb, a, b, 16, out)
        assert (out == high_multiply(a, b)).all()


@pytest.mark.parametrize("rounding", ["single", "double"])
def test_a_million_sums_are_rescaled_exactly(isa, rng, rounding):
    acc = (2.0 ** rng.uniform(0, 31, (1000, 1000)) * rng.choice([-1, 1], (1000, 1000))).astype(
        np.int32
    )
    acc[0], acc[1], acc[2] = LEAST, MOST, -1
    # So that most results are codes.
    m = 2.0 ** rng.uniform(-31, 1, 1000)
    factor = bm.integer.quantize_multiplier(m)
    wanted = np.clip(rescale(acc, *factor, rounding) - 3, -128, 127)
    got = kernels.requantize(acc, *factor, -3, qmin=-128, qmax=127, rounding=rounding)
    assert (got == wanted).all()
    assert ((wanted > -128) & (wanted < 127)).mean() > 0.3


def test_single_rounding_is_that_of_the_exact_number(rng):
    for _ in range(2000):
        m, x = 2.0 ** rng.uniform(-31, 29), int(rng.integers(LEAST, MOST, endpoint=True))
        multiplier, shift = bm.integer.quantize_multiplier(m)
        exact = x * Fraction(int(multiplier)) * Fraction(2) ** (int(shift) - 31)
        got = rescale(np.int32([x]), multiplier, shift, "single")[0]
        assert got == (exact + Fraction(1, 2)).__floor__()


def test_limits_are_those_of_an_activation(fn):
    acc, one = np.int32([[-9, -1, 0, 1, 9]]), bm.integer.quantize_multiplier(np.ones(5))
    got = fn.requantize(acc, *one, 3, qmin=3, qmax=7)
    assert got.tolist() == [[3, 3, 3, 4, 7]]
    got = fn.requantize(acc, *one, 200, qmin=0, qmax=201, dtype_name="uint8")
    assert got.dtype == np.uint8
    assert got.tolist() == [[191, 199, 200, 201, 201]]


def test_factors_that_are_next_to_nothing_give_zero_points(fn):
    acc = np.int32([[LEAST, MOST]])
    factor = bm.integer.quantize_multiplier([1e-20, 1e-20])
    assert fn.requantize(acc, *factor, 7, qmin=-128, qmax=127).tolist() == [[7, 7]]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(isa, rng, threads):
    acc = rng.integers(-(2**24), 2**24, (300, 9000)).astype(np.int32)
    factor = bm.integer.quantize_multiplier(2.0 ** rng.uniform(-20, -10, 9000))
    options = {"qmin": -128, "qmax": 127}
    wanted = kernels.requantize(acc, *factor, **options, num_threads=1)
    same_bits(kernels.requantize(acc, *factor, **options, num_threads=threads), wanted)


def test_any_shape_and_one_factor_for_all(rng):
    acc = rng.integers(-999, 999, (3, 4, 5)).astype(np.int32)
    third = bm.integer.quantize_multiplier(1 / 3)
    wanted = np.clip(rescale(acc, *third, "single"), -128, 127)
    for given in (acc, np.asfortranarray(acc)):
        got = bm.integer.requantize(given, *third)
        assert got.shape == acc.shape
        assert (got == wanted).all()
    assert (bm.integer.requantize(acc[0, 0], *third) == wanted[0, 0]).all()
    out = np.empty(acc.shape, np.int8)
    assert bm.integer.requantize(acc, *third, out=out) is out
    for shape in ((0, 3), (3, 0), (0,)):
        assert bm.integer.requantize(np.zeros(shape, np.int32), *third).shape == shape


ACC, ONE, NONE = np.zeros((2, 3), np.int32), np.full(3, 1 << 30, np.int32), np.zeros(3, np.int32)
FULL = {"qmin": -128, "qmax": 127}


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((ACC.astype(np.int64), ONE, NONE), FULL, TypeError, "acc has dtype int64; wanted int32"),
        ((ACC[0], ONE, NONE), FULL, ValueError, r"acc has shape \(3,\); wanted 2-D"),
        ((ACC, ONE[:2], NONE), FULL, ValueError, r"multiplier has shape \(2,\); wanted \(3,\)"),
        ((ACC, ONE, NONE + 31), FULL, ValueError, r"shift has values outside -31\.\.30"),
        ((ACC, ONE, NONE - 32), FULL, ValueError, r"shift has values outside -31\.\.30"),
        ((ACC, ONE - 1, NONE), FULL, ValueError, r"multiplier has values other than 0 and 2\^30"),
        ((ACC, -ONE, NONE), FULL, ValueError, r"multiplier has values other than 0 and 2\^30"),
        ((ACC, ONE, NONE, 128), FULL, ValueError, "zero_point=128 must be between -128 and 127"),
        ((ACC, ONE, NONE), {"qmin": 5, "qmax": 4}, ValueError, "qmax=4 must be between 5 and 127"),
        ((ACC, ONE, NONE), FULL | {"rounding": "up"}, ValueError, "rounding='up' is not one of"),
        ((ACC, ONE, NONE), FULL | {"dtype_name": "int16"}, ValueError, "'int16' is not one of"),
        ((ACC, ONE, NONE), FULL | {"out": ACC}, ValueError, "out has dtype int32; wanted int8"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_refused(fn, arguments, options, error, message):
    with pytest.raises(error, match=message):
        fn.requantize(*arguments, **options)


@pytest.mark.parametrize(
    ("acc", "factor", "error", "message"),
    [
        (np.float32([1]), (1 << 30, 0), TypeError, "acc has dtype float32; wanted int32"),
        (np.int32(1), (1 << 30, 0), ValueError, "acc has 0 dimensions"),
        (ACC, (0.5, 0), TypeError, "multiplier has dtype float64; wanted integers"),
        (ACC, (ONE[:2], 0), ValueError, r"multiplier has shape \(2,\); wanted one, or 3"),
        (ACC, (1 << 31, 0), ValueError, "multiplier has values beyond int32"),
    ],
)
def test_operands_that_do_not_fit_are_refused(acc, factor, error, message):
    with pytest.raises(error, match=message):
        bm.integer.requantize(acc, *factor)
