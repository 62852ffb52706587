# SPDX-License-Identifier: MIT
"""Windows of bins: the narrowest that fit, and counts that are those of any other library."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitmill as bm
from bitmill._results import Range
from bitmill.summaries import Bins, window

ANY = st.floats(width=32, allow_nan=False, allow_infinity=False)
BINS = st.sampled_from([2, 3, 64, 2048, 32767])
tried = settings(max_examples=400, derandomize=True, database=None, deadline=None)


def index(x: float, exponent: int) -> int:
    """floor(x / 2^exponent) in rational numbers."""
    return int(Fraction(x) / Fraction(2) ** int(exponent) // 1)


def ulp_exponent(x: float) -> int:
    """Of the distance from |x| to the next float32."""
    return max(-149, int(np.frexp(x)[1]) - 24) if x else -149


@tried
@given(ANY, ANY, BINS)
def test_the_window_is_the_narrowest_that_fits(a, b, bins):
    lo, hi = min(a, b), max(a, b)
    (exponent,), (first,), (last,) = window(Range(np.float32([lo]), np.float32([hi])), bins)
    assert first == index(lo, exponent)
    assert abs(first) <= 1 << 24
    assert -149 <= exponent <= 128
    assert last == index(hi, exponent)
    assert last - first < bins
    finest = exponent == ulp_exponent(max(-lo, hi))
    assert finest or index(hi, exponent - 1) - index(lo, exponent - 1) >= bins


@tried
@given(st.lists(ANY, min_size=1, max_size=30), BINS)
def test_counts_are_those_of_the_definition(values, bins):
    observer = bm.observers.Histogram(bins)
    for value in values:  # one by one: the range grows in steps
        observer.update(np.float32([value]))
    found = observer.histogram()
    wanted = [index(value, found.exponent) - found.first for value in values]
    assert found.counts.tolist() == np.bincount(wanted, minlength=len(found.counts)).tolist()
    assert (found.min, found.max) == (min(values), max(values))
    assert found.counts[0] > 0 and found.counts[-1] > 0  # noqa: PT018


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1.0, 3e37])
def test_counts_are_those_of_numpy(isa, rng, scale):
    x = (rng.standard_normal(100_000) * scale).astype(np.float32)
    observer = bm.observers.Histogram()
    observer.update(x)
    found = observer.histogram()
    assert 1 <= len(found.counts) <= 2048
    wanted = np.histogram(x.astype(np.float64), found.edges)[0]
    assert found.counts.tolist() == wanted.tolist()


def test_constant_values_have_one_bin_of_the_finest_width():
    for value in (0.0, 1.0, -3.7e38 * 0.9, 2.0**-149, 65504.0):
        observer = bm.observers.Histogram(2)
        observer.update(np.full(5, value, np.float32))
        found = observer.histogram()
        assert found.counts.tolist() == [5]
        assert found.exponent == ulp_exponent(float(np.float32(value)))
        assert found.edges[0] == np.float32(value)


@pytest.mark.parametrize("count", [1, 2, 3, 50, 50_001])
@pytest.mark.parametrize("p", [0, 0.1, 1, 25, 50, 99, 99.9, 100])
def test_percentiles_are_off_by_less_than_a_bin(rng, p, count):
    x = rng.standard_normal(count).astype(np.float32)
    observer = bm.observers.Histogram(512)
    observer.update(x)
    found = observer.histogram()
    wide = x.astype(np.float64)
    assert abs(found.percentile(p) - np.percentile(wide, p)) < found.width
    magnitudes = found.magnitudes()
    assert abs(magnitudes.percentile(p) - np.percentile(np.abs(wide), p)) <= found.width


def test_ends_are_the_percentiles_0_and_100(rng):
    x = rng.standard_normal(1000).astype(np.float32)
    observer = bm.observers.Histogram(16)
    observer.update(x)
    found = observer.histogram()
    assert (found.percentile(0), found.percentile(100)) == (x.min(), x.max())
    assert found.magnitudes().percentile(100) == np.abs(x).max()


def test_values_are_spread_evenly_over_their_bin():
    found = Bins(1, -1, np.array([4, 0, 4]), -2.0, 3.5)
    values = [found.percentile(100 * rank / 7) for rank in range(8)]
    np.testing.assert_allclose(values, [-2, -1.25, -0.75, -0.25, 2.25, 2.75, 3.25, 3.5])
    assert found.percentile(50) == 1.0  # half-way between ranks 3 and 4
    assert found.centres.tolist() == [-1, 1, 3]
    assert (found.width, found.total) == (2, 8)


def test_magnitudes_of_values_far_from_zero():
    found = Bins(-3, -1001, np.array([3, 5]), -125.1, -125.0).magnitudes()
    assert (found.first, found.counts.tolist()) == (999, [5, 3])
    assert (found.min, found.max) == (125.0, 125.1)


ZERO = np.zeros(2, np.int32)


@pytest.mark.parametrize("module", [bm.kernels, bm.reference])
@pytest.mark.parametrize(
    ("exponent", "first", "bins", "error", "message"),
    [
        (ZERO - 150, ZERO, 4, ValueError, "exponent has values outside -149..128"),
        (ZERO + 129, ZERO, 4, ValueError, "exponent has values outside -149..128"),
        (ZERO, ZERO - (1 << 24) - 1, 4, ValueError, "first has values outside -16777216..16777216"),
        (ZERO, ZERO[:1], 4, ValueError, r"first has shape \(1,\); wanted \(2,\)"),
        (ZERO.astype(np.int64), ZERO, 4, TypeError, "exponent has dtype int64; wanted int32"),
        ([0, 0], ZERO, 4, TypeError, "exponent is a list; wanted a NumPy array"),
        (ZERO, ZERO, 0, ValueError, "bins=0 must be between 1 and 32767"),
        (ZERO, ZERO, 32768, ValueError, "bins=32768 must be between 1 and 32767"),
        (ZERO, ZERO, 2.0, TypeError, "bins=2.0 is a float; bins takes an int"),
    ],
)
def test_windows_out_of_bounds_are_refused(module, exponent, first, bins, error, message):
    with pytest.raises(error, match=message):
        module.histogram(np.ones((2, 3), np.float32), exponent, first, bins=bins)


def test_values_outside_the_window_are_not_counted(isa):
    x = np.float32([[-np.inf, -3e38, -1.5, -1, 0, 1.99, 2, 3e38, np.inf, np.nan, -np.nan] * 50])
    found = bm.kernels.histogram(x, np.int32([0]), np.int32([-1]), bins=3)
    assert found.tolist() == [[50, 50, 50]]
