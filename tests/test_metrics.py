# SPDX-License-Identifier: MIT
"""Error measures beside closed forms: exact and zero inputs, limits, laws, refusals."""

import itertools
import math
import re

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill import kernels


def f32(*values):
    return np.array(values, np.float32)


# Closed forms


def test_measures_of_two_numbers():
    found = bm.metrics(f32(3, 4), f32(3, 2))
    assert found.mse == 2.0
    assert found.sqnr_db == 10 * math.log10(25 / 4)
    assert found.cosine == pytest.approx(17 / (5 * math.sqrt(13)), rel=1e-15)
    assert found.max_abs == 2.0


@pytest.mark.parametrize(("error", "decibels"), [(0.1, 20), (0.01, 40), (1.0, 0), (10.0, -20)])
def test_relative_error_of_a_power_of_ten_is_twenty_decibels_each(error, decibels):
    x = np.linspace(1, 2, 1000)
    assert bm.metrics(x, x * (1 + error)).sqnr_db == pytest.approx(decibels, abs=1e-4)


def test_largest_error_is_found_at_any_sign_and_position():
    x = np.zeros((3, 50), np.float32)
    for at, error in ((0, 2.5), (149, -3.5), (70, -1e-30)):
        y = x.copy()
        y.flat[at] = error
        assert bm.metrics(x, y).max_abs == abs(np.float32(error))


def test_qtensor_is_compared_by_its_values(rng):
    x = rng.standard_normal((5, 300), np.float32)
    q = bm.quantize(x, bm.Affine(4, group_size=64))
    assert bm.metrics(x, q) == bm.metrics(x, q.dequantize())


# Exact and zero inputs


@pytest.mark.parametrize("values", [(1.5, -2.5, 3.5), (1, 1, 1), (1e-45,), (3.4e38, -3.4e38)])
def test_exact_values_have_infinite_sqnr_and_no_error(values):
    found = bm.metrics(f32(*values), f32(*values))
    assert (found.mse, found.sqnr_db, found.max_abs) == (0.0, math.inf, 0.0)


def test_exact_values_have_cosine_one(rng):
    for size in range(1, 200):
        x = rng.standard_normal(size, np.float32)
        assert bm.metrics(x, x).cosine == 1.0


def test_all_zero_on_both_sides_is_exact():
    found = bm.metrics(f32(0, -0.0, 0), f32(0, 0, 0))
    assert found == bm.Metrics(mse=0.0, sqnr_db=math.inf, cosine=1.0, max_abs=0.0)


def test_all_zero_signal_with_an_error_is_minus_infinity():
    found = bm.metrics(f32(0, 0), f32(3, -4))
    assert found == bm.Metrics(mse=12.5, sqnr_db=-math.inf, cosine=0.0, max_abs=4.0)


def test_all_zero_values_lose_the_whole_signal():
    found = bm.metrics(f32(3, -4), f32(0, 0))
    assert found == bm.Metrics(mse=12.5, sqnr_db=0.0, cosine=0.0, max_abs=4.0)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
def test_no_values_are_exact(shape):
    x = np.zeros(shape, np.float32)
    assert bm.metrics(x, x) == bm.Metrics(mse=0.0, sqnr_db=math.inf, cosine=1.0, max_abs=0.0)


# Cosine


def test_cosine_of_opposite_values_is_minus_one():
    assert bm.metrics(f32(1, -2, 3), f32(-1, 2, -3)).cosine == pytest.approx(-1, abs=1e-15)


def test_cosine_of_orthogonal_values_is_zero():
    assert bm.metrics(f32(1, 2, 0), f32(-2, 1, 5)).cosine == 0.0


def test_cosine_does_not_depend_on_the_magnitude():
    for scale in (2.0**-60, 2.0**60):
        found = bm.metrics(f32(3, 4), f32(3, 0) * np.float32(scale))
        assert found.cosine == pytest.approx(0.6, rel=1e-15)


def test_cosine_stays_within_one(rng):
    for size in range(1, 200):
        x = rng.standard_normal(size, np.float32)
        for factor in (0.3, -0.3, 2, -2):
            assert -1 <= bm.metrics(x, np.float32(factor) * x).cosine <= 1


# Dtypes, ranks, threads


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, ">f4"])
def test_other_dtypes_are_compared_as_float32(dtype):
    x, y = f32(1, 2, 3, -4), f32(1, 2.5, 3, -4)
    assert bm.metrics(x.astype(dtype), y.astype(dtype)) == bm.metrics(x, y)


def test_float64_is_compared_after_rounding_to_float32():
    assert bm.metrics(np.array([1 + 1e-12]), f32(1)).sqnr_db == math.inf


def test_lists_are_taken():
    assert bm.metrics([1.0, 2.0], [1.0, 3.0]) == bm.metrics(f32(1, 2), f32(1, 3))


def test_any_rank_is_measured_as_its_rows(rng):
    x = rng.standard_normal((2, 3, 4, 50), np.float32)
    y = x + np.float32(0.01)
    assert bm.metrics(x, y) == bm.metrics(x.reshape(24, 50), y.reshape(24, 50))


def test_strides_make_no_difference(rng):
    x = rng.standard_normal((40, 60), np.float32)
    y = x * np.float32(0.99)
    assert bm.metrics(x.T[::-2, ::3], y.T[::-2, ::3]) == bm.metrics(
        x.T[::-2, ::3].copy(), y.T[::-2, ::3].copy()
    )


def test_rows_are_added_in_index_order(rng):
    """More rows than are summed at a time."""
    x = rng.standard_normal((70_001, 3), np.float32)
    y = x * np.float32(1.001)
    *_, total = itertools.accumulate(kernels.error_sums(x, y).dd.tolist())
    assert bm.metrics(x, y).mse == total / x.size


def test_threads_make_no_difference(isa, rng):
    x = rng.standard_normal((512, 4100), np.float32)  # above what one thread does alone
    q = bm.quantize(x, bm.Affine(4, group_size=128))
    found = {bm.metrics(x, q, num_threads=n) for n in (1, 2, 3, 7, 16)}
    assert len(found) == 1


# Laws


@pytest.fixture(scope="module")
def uniform():
    return np.random.default_rng(7).uniform(-1, 1, 1_000_000).astype(np.float32)


@pytest.mark.parametrize("bits", range(2, 9))
def test_uniform_values_on_bin_centres_have_six_decibels_per_bit(uniform, bits):
    """Bins of 2/2^b over the whole range, values in their middle: noise step²/12, 6.0206·b dB."""
    step = 2.0 ** (1 - bits)
    scale, offset = (np.full((1, 1), v, np.float32) for v in (step, step / 2 - 1))
    codes = kernels.affine_encode(
        uniform[np.newaxis], scale, offset=offset, qmin=0, qmax=(1 << bits) - 1
    )
    values = kernels.affine_decode(codes, scale, offset=offset)
    sqnr_db = bm.metrics(uniform, values[0]).sqnr_db
    assert sqnr_db == pytest.approx(20 * math.log10(2) * bits, abs=0.02)


@pytest.mark.parametrize("bits", range(2, 9))
def test_uniform_values_from_end_to_end_have_the_decibels_of_one_level_less(uniform, bits):
    """Affine puts the outer codes on the extremes: steps of 2/(2^b − 1), 20·log10(2^b − 1) dB."""
    q = bm.quantize(uniform, bm.Affine(bits, symmetric=False, offset=True, axis=None))
    sqnr_db = bm.metrics(uniform, q).sqnr_db
    assert sqnr_db == pytest.approx(20 * math.log10((1 << bits) - 1), abs=0.02)


@pytest.mark.parametrize("bits", range(2, 9))
def test_full_range_symmetric_codes_have_the_same_decibels(uniform, bits):
    """absmax/((2^b − 1)/2) is that step again: 2^b − 1 whole bins cover −1 to 1."""
    q = bm.quantize(uniform, bm.Affine(bits, scale_rule="full_range", axis=None))
    sqnr_db = bm.metrics(uniform, q).sqnr_db
    assert sqnr_db == pytest.approx(20 * math.log10((1 << bits) - 1), abs=0.02)


# Refusals


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64"])
def test_integer_codes_are_refused_as_values(dtype):
    message = (
        f"q has dtype {dtype}: these are codes, not values; pass the QTensor or its dequantize()"
    )
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        bm.metrics(f32(1, 2), np.array([1, 2], dtype))


def test_codes_and_words_of_a_qtensor_are_refused_as_values():
    x = np.ones((2, 8), np.float32)
    q = bm.quantize(x, bm.Affine(4))
    for codes in (q.codes, q.packed):
        with pytest.raises(TypeError, match="these are codes, not values"):
            bm.metrics(x, codes)


@pytest.mark.parametrize("shape", [(3,), (2, 1), (1, 2)])
def test_other_shape_is_refused_naming_both(shape):
    message = f"x has shape (2,) and q has shape {shape}; wanted equal ones"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        bm.metrics(f32(1, 2), np.ones(shape, np.float32))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["x", "q"])
def test_value_that_is_not_finite_is_refused_by_name_and_index(name, bad):
    given = {"x": f32(*range(1, 41)), "q": f32(*range(1, 41))}
    given[name][[17, 30]] = bad
    with pytest.raises(ValueError, match=rf"^{name} has 2 .*{name}\.flat\[17\], is {bad}"):
        bm.metrics(**given)


@pytest.mark.parametrize("name", ["x", "q"])
def test_float64_beyond_float32_is_refused_by_its_value(name):
    given = {"x": np.ones(3), "q": np.ones(3)}
    given[name][1] = 1e300
    with pytest.raises(ValueError, match=rf"{name}\.flat\[1\], is 1e\+300"):
        bm.metrics(**given)


def test_no_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"^x has 0 dimensions"):
        bm.metrics(np.float32(1), np.float32(1))
