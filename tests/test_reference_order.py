# SPDX-License-Identifier: MIT
"""Order statistics of rows, twin and kernels, beside values read off by eye."""

from __future__ import annotations

import numpy as np
import pytest

import engines
from bitmill import _core, kernels
from bitmill._dtypes import FLOATS, dtype

X = [[3, -5, 1, 1, -2], [0, 7, -7, 2, 4]]


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


@pytest.mark.parametrize("name", FLOATS)
def test_values_of_a_rank_and_of_the_next(fn, name):
    x = np.array(X, dtype(name))
    low, high, nonfinite = fn.order_statistics(x, 1)
    assert (low.tolist(), high.tolist(), nonfinite) == ([-2, 0], [1, 2], 0)
    assert low.dtype == high.dtype == np.float32


@pytest.mark.parametrize("name", FLOATS)
def test_magnitudes(fn, name):
    x = np.array(X, dtype(name))
    low, high, _ = fn.order_statistics(x, 3, magnitude=True)
    assert (low.tolist(), high.tolist()) == ([3, 7], [5, 7])


def test_beside_the_last_rank_there_is_only_itself(fn):
    low, high, _ = fn.order_statistics(np.array(X, np.float32), 4)
    assert low.tolist() == high.tolist() == [3, 7]


def test_zeros_of_both_signs_are_one_positive_zero(fn):
    x = np.array([[0.0, -0.0, -1.0, -0.0]], np.float32)
    for rank in (1, 2, 3):
        for found in fn.order_statistics(x, rank)[:2]:
            assert found.view(np.uint32) == 0


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("length", [1, 40, 130, 5000])
def test_rows_with_values_that_are_not_finite_are_counted(fn, bad, length):
    for at in {0, length // 2, length - 1}:
        x = np.ones((3, length), np.float32)
        x[1, at] = bad
        for magnitude in (False, True):
            for rank in (0, length // 2, length - 1):
                found = fn.order_statistics(x, rank, magnitude=magnitude)
                assert found.nonfinite == 1, (at, rank)
                assert found.low[[0, 2]].tolist() == [1, 1]


def test_float64_is_rounded_to_float32_first(fn):
    found = fn.order_statistics(np.array([[1 + 2.0**-30, 1e300]]), 0)
    assert (found.low.tolist(), found.high.tolist(), found.nonfinite) == ([1], [np.inf], 1)


@pytest.mark.parametrize("rank", [-1, 5])
def test_rank_outside_of_the_row(fn, rank):
    with pytest.raises(ValueError, match=f"rank={rank} must be between 0 and 4"):
        fn.order_statistics(np.array(X, np.float32), rank)


def test_rows_without_values(fn):
    with pytest.raises(ValueError, match="rows without values have no ranks"):
        fn.order_statistics(np.zeros((3, 0), np.float32), 0)


def layouts(rng, length):
    """Values that a sample says little about, in rows as long as that."""
    x = rng.standard_normal(length).astype(np.float32)
    yield "normal", x
    yield "sorted", np.sort(x)
    yield "descending", np.sort(x)[::-1].copy()
    yield "all equal", np.full(length, -1.5, np.float32)
    yield "two values", np.where(x > 2, np.float32(3), np.float32(-1))
    yield "few values", np.rint(x)
    yield "mostly zeros", np.where(x > 2.5, x, np.float32(-0.0))
    # select.hpp samples four float32 at each step.
    step = length // (min(max(length // 64, 1024), 65_536) // 4)
    yield "large where the sample looks", np.where(np.arange(length) % step < 4, 9 + x, x)
    yield "small where the sample looks", np.where(np.arange(length) % step < 4, x - 9, x)
    hidden = np.zeros(length, np.float32)
    hidden[3 :: max(1, length // 50)] = 7  # no multiple of 4: the sample may see none of them
    yield "hidden", hidden


# Around the row that is sorted directly, pieces of 131,072, and the row that threads share.
@pytest.mark.parametrize("length", [2047, 2048, 2049, 131_073, 262_145, 1_048_575, 1_100_003])
def test_values_that_a_sample_cannot_foresee(isa, rng, length):
    if isa == "scalar" and length > 300_000:
        length = length // 4
    for name, x in layouts(rng, length):
        for magnitude in (False, True):
            wanted = np.sort(np.abs(x) if magnitude else x) + np.float32(0)
            for rank in (0, 1, length // 1000, length // 2, length * 999 // 1000, length - 1):
                for threads in (1, 2):
                    found = kernels.order_statistics(
                        x[np.newaxis], rank, magnitude=magnitude, num_threads=threads
                    )
                    high = wanted[min(rank + 1, length - 1)]
                    assert (found.low[0], found.high[0]) == (wanted[rank], high), (name, rank)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(isa, rng, threads):
    share_from = _core.share_from(0)
    try:
        for shape in ((1, 1_300_000), (300, 2500)):
            x = rng.standard_normal(shape, np.float32)
            rank = shape[1] * 999 // 1000
            found = kernels.order_statistics(x, rank, magnitude=True, num_threads=threads)
            wanted = np.partition(np.abs(x), [rank, rank + 1], axis=1)
            assert found.low.tobytes() == wanted[:, rank].tobytes()
            assert found.high.tobytes() == wanted[:, rank + 1].tobytes()
    finally:
        _core.share_from(share_from)


def test_no_value_behind_the_row_is_read(isa):
    x = np.full(5000, np.nan, np.float32)
    for length in (1, 127, 129, 2049, 3001):
        x[:length] = 1
        found = kernels.order_statistics(x[np.newaxis, :length], length - 1)
        assert (found.low[0], found.nonfinite) == (1, 0)
        x[:length] = np.nan
