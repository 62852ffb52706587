# SPDX-License-Identifier: MIT
"""Ranges of groups and of columns, twin and kernels, beside ranges read off by eye."""

import numpy as np
import pytest

import engines
from bitmill._dtypes import FLOATS, dtype
from golden_files import bits_of

X = [[1, -5, 3, 2, -4], [-1, -2, 0, 7, 6]]
LENGTHS = [1, 2, 15, 16, 17, 31, 33, 64, 65, 130]
NANS = [0x7FC00000, 0x7F800001, 0xFFC00000, 0xFF812345]  # quiet, signalling, both signs


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


@pytest.fixture(params=["row", "column"])
def ranges(fn, request):
    """absmax, min and max of values that lie along a row, or down a column."""

    def call(x):
        x = np.asarray(x).reshape(1, -1)
        if request.param == "row":
            return fn.absmax(x)[0, 0], *(r[0, 0] for r in fn.minmax(x))
        x = np.tile(x.T, (1, 19))  # one vector and a tail
        found = fn.column_absmax(x), *fn.column_minmax(x)
        assert all((bits_of(f) == bits_of(f)[0]).all() for f in found)
        return tuple(f[0] for f in found)

    return call


@pytest.mark.parametrize("name", FLOATS)
def test_ranges_of_rows(fn, name):
    x = np.array(X, dtype(name))
    assert fn.absmax(x).tolist() == [[5], [7]]
    assert [r.tolist() for r in fn.minmax(x)] == [[[-5], [-2]], [[3], [7]]]
    assert fn.absmax(x).dtype == fn.minmax(x).min.dtype == np.float32


@pytest.mark.parametrize("name", FLOATS)
def test_ranges_of_groups_whose_last_is_short(fn, name):
    x = np.array(X, dtype(name))
    assert fn.absmax(x, 2).tolist() == [[5, 3, 4], [2, 7, 6]]
    lo, hi = fn.minmax(x, 2)
    assert lo.tolist() == [[-5, 2, -4], [-2, 0, 6]]
    assert hi.tolist() == [[1, 3, -4], [-1, 7, 6]]


@pytest.mark.parametrize("name", FLOATS)
def test_ranges_of_columns(fn, name):
    x = np.array(X, dtype(name))
    assert fn.column_absmax(x).tolist() == [1, 5, 3, 7, 6]
    lo, hi = fn.column_minmax(x)
    assert lo.tolist() == [-1, -5, 0, 2, -4]
    assert hi.tolist() == [1, -2, 3, 7, 6]


def test_group_larger_than_the_row_is_the_row(fn):
    assert fn.absmax(np.array(X, np.float32), 1 << 62).tolist() == [[5], [7]]


def test_zero_is_not_forced_into_a_range(ranges):
    assert ranges(np.array([3, 2, 5], np.float32)) == (5, 2, 5)
    assert ranges(np.array([-3, -2, -5], np.float32)) == (5, -5, -2)


@pytest.mark.parametrize(
    "x", [[-0.0], [0.0, -0.0], [-0.0, 0.0], [-0.0] * 40, [-0.0, 1.0, 2.0], [-1.0, -0.0, -2.0]]
)
def test_zero_is_positive_in_every_range(ranges, x):
    for found in ranges(np.array(x, np.float32)):
        assert found != 0 or not np.signbit(found)


def test_subnormals_are_kept(ranges):
    least = np.float32(2.0**-149)
    assert ranges(np.array([least, -2 * least, 0], np.float32)) == (2 * least, -2 * least, least)


def test_float64_is_rounded_to_float32_first(ranges):
    x = np.array([1 + 2.0**-30, -1 - 2.0**-23 - 2.0**-40], np.float64)
    assert ranges(x) == (1 + 2.0**-23, -1 - 2.0**-23, 1)


def test_float64_beyond_float32_is_not_finite(ranges):
    assert ranges(np.array([1.0, 1e300, 0.5])) == (np.inf, 0.5, np.inf)


@pytest.mark.parametrize("bad", [*NANS, 0x7F800000, 0xFF800000], ids=hex)
def test_one_value_that_is_not_finite_shows_from_any_position(ranges, bad):
    for length in LENGTHS:
        for at in {0, length // 2, length - 1}:
            x = np.ones(length, np.float32)
            x.view(np.uint32)[at] = bad
            magnitude, lo, hi = ranges(x)
            assert not np.isfinite(magnitude), (length, at)
            assert not (np.isfinite(lo) and np.isfinite(hi)), (length, at)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite_shows_in_every_dtype(ranges, name, bad):
    x = np.ones(37, dtype(name))
    x[20] = bad
    magnitude, lo, hi = ranges(x)
    assert not np.isfinite(magnitude)
    assert not (np.isfinite(lo) and np.isfinite(hi))


def test_infinity_beside_nan_does_not_hide_it(ranges):
    magnitude, lo, hi = ranges(np.array([np.inf, np.nan, -np.inf], np.float32))
    assert not np.isfinite(magnitude)
    assert not np.isfinite(lo)
    assert not np.isfinite(hi)


def test_value_that_is_not_finite_leaves_other_groups_alone(fn):
    x = np.arange(1, 9, dtype=np.float32).reshape(2, 4)
    x[0, 3] = np.nan
    assert np.isfinite(fn.absmax(x, 2)).tolist() == [[True, False], [True, True]]
    assert np.isfinite(fn.column_absmax(x)).tolist() == [True, True, True, False]


def test_largest_finite_values_are_finite(ranges):
    most = np.finfo(np.float32).max
    assert ranges(np.array([most, -most], np.float32)) == (most, -most, most)


@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (0, 0)])
def test_range_of_nothing_is_zero(fn, shape):
    x = np.zeros(shape, np.float32)
    for found in (fn.absmax(x), *fn.minmax(x)):
        assert found.tolist() == [[0]] * shape[0]
    for found in (fn.absmax(x, 2), *fn.minmax(x, 2)):
        assert found.shape == (shape[0], -(-shape[1] // 2))
    for found in (fn.column_absmax(x), *fn.column_minmax(x)):
        assert found.tolist() == [0] * shape[1]
