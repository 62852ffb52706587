# SPDX-License-Identifier: MIT
"""Float conversions, twin and kernels, beside closed forms and the casts of NumPy and ml_dtypes."""

import ml_dtypes
import numpy as np
import pytest

import engines
from golden_files import bits_of

EVERY = np.arange(65536, dtype=np.uint16)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT16 = np.dtype(np.float16)
INFINITY = {FLOAT16: 0x7C00, BFLOAT16: 0x7F80}  # bits; NaNs come after, signs are bit 15


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


def is_nan(dtype):
    """Which of all patterns stand for NaN."""
    magnitude = EVERY & 0x7FFF
    return magnitude > INFINITY[dtype]


def worth(patterns, dtype):
    """Real values of bit patterns from 0 to infinity, as if exponents went on; float64."""
    mantissa, bias = {FLOAT16: (10, 15), BFLOAT16: (7, 127)}[dtype]
    patterns = np.asarray(patterns, np.int64)
    exponent, fraction = patterns >> mantissa, patterns & (1 << mantissa) - 1
    normal = np.where(exponent > 0, 1 << mantissa, 0) + fraction
    return np.ldexp(normal.astype(np.float64), np.maximum(exponent, 1) - bias - mantissa)


def halfway(dtype):
    """Patterns from 0 to the greatest finite value, and the float32 halfway to the next of each."""
    lower = np.arange(INFINITY[dtype])
    middle = (worth(lower, dtype) + worth(lower + 1, dtype)) / 2
    assert (middle == middle.astype(np.float32)).all()
    return lower.astype(np.uint16), middle.astype(np.float32)


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_every_pattern_widens_to_what_it_is_worth(fn, dtype):
    magnitude = EVERY & 0x7FFF
    finite = EVERY[magnitude < INFINITY[dtype]]
    value = worth(finite & 0x7FFF, dtype)
    wanted = np.where(finite >> 15, -value, value).astype(np.float32)
    assert fn.to_float32(finite.view(dtype)).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_every_pattern_but_nan_widens_as_the_cast_does(fn, dtype):
    given = EVERY[~is_nan(dtype)].view(dtype)
    assert fn.to_float32(given).tobytes() == given.astype(np.float32).tobytes()


def test_float16_nans_widen_to_quiet_nans_with_sign_and_payload(fn):
    nans = EVERY[is_nan(FLOAT16)]
    wide = nans.astype(np.uint32)
    wanted = (wide & 0x8000) << 16 | 0x7FC00000 | (wide & 0x03FF) << 13
    assert (bits_of(fn.to_float32(nans.view(FLOAT16))) == wanted).all()


def test_bfloat16_nans_widen_to_their_own_bits(fn):
    nans = EVERY[is_nan(BFLOAT16)]
    assert (bits_of(fn.to_float32(nans.view(BFLOAT16))) == nans.astype(np.uint32) << 16).all()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (1 + 2.0**-24, 1.0),  # a tie goes to the even fraction
        (1 + 2.0**-24 + 2.0**-50, 1 + 2.0**-23),
        (1 + 3 * 2.0**-24, 1 + 2.0**-22),
        (2.0**128 - 2.0**103, np.inf),  # halfway between the greatest float32 and 2^128
        (np.nextafter(2.0**128 - 2.0**103, 0), 2.0**128 - 2.0**104),
        (1e300, np.inf),
        (2.0**-150, 0.0),  # a tie between 0 and the least subnormal
        (2.0**-150 * (1 + 2.0**-52), 2.0**-149),
        (3 * 2.0**-150, 2.0**-148),
        (5e-324, 0.0),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_float64_rounds_to_the_nearest_float32_and_ties_to_even(fn, given, wanted, sign):
    x = np.full(5, sign * given)
    assert fn.to_float32(x).tobytes() == np.full(5, sign * wanted, np.float32).tobytes()


def test_float64_nan_becomes_a_quiet_nan_with_its_sign(fn):
    x = np.array([0x7FF0000000000001, 0xFFF8000000000000], np.uint64).view(np.float64)
    assert bits_of(fn.to_float32(x)).tolist() == [0x7FC00000, 0xFFC00000]


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_halfway_values_go_to_the_even_neighbour(fn, dtype, sign):
    lower, middle = halfway(dtype)
    even = lower + (lower & 1)
    wanted = even | (0x8000 if sign < 0 else 0)
    assert (bits_of(fn.from_float32(sign * middle, dtype.name)) == wanted).all()


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_values_beside_halfway_go_to_the_nearer_neighbour(fn, dtype, sign):
    lower, middle = halfway(dtype)
    minus = 0x8000 if sign < 0 else 0
    below = np.nextafter(middle, np.float32(0))
    above = np.nextafter(middle, np.float32(np.inf))
    assert (bits_of(fn.from_float32(sign * below, dtype.name)) == lower | minus).all()
    assert (bits_of(fn.from_float32(sign * above, dtype.name)) == lower + 1 | minus).all()


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_narrowing_undoes_widening_for_every_pattern_but_signalling_nans(fn, dtype):
    quiet = {FLOAT16: 0x0200, BFLOAT16: 0x0040}[dtype]
    kept = EVERY[~is_nan(dtype) | (EVERY & quiet != 0)]
    assert fn.from_float32(fn.to_float32(kept.view(dtype)), dtype.name).tobytes() == kept.tobytes()


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_random_patterns_narrow_as_the_cast_does(fn, rng, dtype):
    x = rng.integers(0, 1 << 32, 1 << 20, dtype=np.uint32).view(np.float32)
    x = x[~np.isnan(x)]
    with np.errstate(over="ignore", under="ignore"):
        wanted = x.astype(dtype)
    assert fn.from_float32(x, dtype.name).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_random_values_in_the_subnormal_range_narrow_as_the_cast_does(fn, rng, dtype):
    least = float(worth(1, dtype))
    x = (rng.uniform(-2100, 2100, 1 << 18) * least).astype(np.float32)
    with np.errstate(under="ignore"):
        wanted = x.astype(dtype)
    assert fn.from_float32(x, dtype.name).tobytes() == wanted.tobytes()


@pytest.mark.parametrize(
    ("dtype_name", "given", "wanted"),
    [
        ("float16", 0x7F800001, 0x7E00),  # the payload is lost, not the NaN
        ("float16", 0xFF800001, 0xFE00),
        ("float16", 0xFFC12345, 0xFE09),
        ("float16", 0x7FFFFFFF, 0x7FFF),
        ("bfloat16", 0x7F800001, 0x7FC0),
        ("bfloat16", 0xFF800001, 0xFFC0),
        ("bfloat16", 0xFFC12345, 0xFFC1),
        ("bfloat16", 0x7FFFFFFF, 0x7FFF),
        ("float64", 0x7F800001, 0x7FF8000020000000),
        ("float64", 0xFFC12345, 0xFFF82468A0000000),
    ],
)
def test_nan_becomes_a_quiet_nan_with_sign_and_leading_payload(fn, dtype_name, given, wanted):
    x = np.full(3, given, np.uint32).view(np.float32)
    assert bits_of(fn.from_float32(x, dtype_name)).tolist() == [wanted] * 3


def test_float64_takes_every_float32_exactly(fn, rng):
    x = rng.integers(0, 1 << 32, 1 << 16, dtype=np.uint32).view(np.float32)
    x = x[~np.isnan(x)]
    assert fn.from_float32(x, "float64").tobytes() == x.astype(np.float64).tobytes()


def test_float32_stays_as_it_is_with_its_nans(fn, rng):
    x = rng.integers(0, 1 << 32, 1 << 16, dtype=np.uint32).view(np.float32)
    assert fn.to_float32(x).tobytes() == x.tobytes()
    assert fn.from_float32(x, "float32").tobytes() == x.tobytes()


def test_any_rank_keeps_its_shape(fn):
    x = np.ones((2, 0, 3), np.float16)
    assert fn.to_float32(x).shape == fn.from_float32(x.astype(np.float32), "float16").shape
