# SPDX-License-Identifier: MIT
"""Error sums, twin and kernels, beside a loop over Python floats in the documented order."""

import numpy as np
import pytest

import bitmill as bm
import engines
from bitmill._dtypes import FLOATS, dtype

LENGTHS = [0, 1, 2, 15, 16, 17, 31, 33, 100, 4095, 4096, 4097, 4112, 8192, 10_000]


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


def tree_sum(terms):
    """16 lanes in blocks of 4,096, lanes added 8+8, 4+4, 2+2, 1+1, then the blocks in order."""
    total = 0.0
    for start in range(0, len(terms), 4096):
        lanes = [0.0] * 16
        for i, term in enumerate(terms[start : start + 4096]):
            lanes[i % 16] += term
        for half in (8, 4, 2, 1):
            lanes = [lanes[k] + lanes[k + half] for k in range(half)]
        total += lanes[0]
    return total


def by_hand(x, y):
    """The sums of one row of float32 values, as Python numbers."""
    x, y = x.astype(np.float32).tolist(), y.tolist()
    pairs = list(zip(x, y, strict=True))
    apart = [abs(a - b) for a, b in pairs]
    return (
        tree_sum([a * a for a in x]),
        tree_sum([b * b for b in y]),
        tree_sum([a * b for a, b in pairs]),
        tree_sum([(a - b) * (a - b) for a, b in pairs]),
        max(apart, default=0.0),
        apart.index(max(apart)) if apart else 0,
    )


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("length", LENGTHS)
def test_sums_are_those_of_the_loop(fn, rng, name, length):
    x = (rng.standard_normal((2, length)) * 10.0 ** rng.integers(-4, 4, (2, length))).astype(
        dtype(name)
    )
    y = (x.astype(np.float32) * np.float32(1.01)) + np.float32(0.001)
    sums = fn.error_sums(x, y)
    for row in range(2):
        assert tuple(s[row].item() for s in sums) == by_hand(x[row], y[row])


def test_sums_of_two_numbers(fn):
    sums = fn.error_sums(np.array([[3, 4]], np.float32), np.array([[3, 2]], np.float32))
    assert [s.tolist() for s in sums] == [[25.0], [13.0], [17.0], [4.0], [2.0], [1]]
    assert [s.dtype for s in sums] == [np.float64] * 5 + [np.int64]


@pytest.mark.parametrize("length", [1, 7, 8, 9, 31, 4096, 4097, 9000])
def test_first_of_the_largest_differences_is_told(fn, rng, length):
    ends = [0, length - 1, length // 2, min(length - 1, 4095), min(length - 1, 4096)]
    x, y = rng.random((2, len(ends), length), np.float32)
    for row, at in enumerate(ends):
        y[row, at] = 5
        y[row, at + 1 :: 3] = x[row, at + 1 :: 3] - (y[row, at] - x[row, at])  # as far, or less
    d = np.abs(x.astype(np.float64) - y)
    assert fn.error_sums(x, y).max_at.tolist() == d.argmax(axis=1).tolist()


def test_rows_without_a_difference_tell_the_first_place(fn, rng):
    x = rng.random((2, 5000), np.float32)
    assert fn.error_sums(x, x).max_at.tolist() == [0, 0]


def test_terms_a_lane_apart_add_up_before_they_meet_a_larger_one(fn):
    """Ones that meet 2^54 one at a time vanish; three in a lane of their own do not."""
    x = np.zeros((1, 64), np.float32)
    x[0, 0] = 2.0**27
    x[0, [1, 17, 33]] = 1
    assert fn.error_sums(x, np.zeros_like(x)).xx.tolist() == [2.0**54 + 4]


def test_terms_of_one_lane_are_added_in_order(fn):
    x = np.zeros((1, 64), np.float32)
    x[0, 0] = 2.0**27
    x[0, [16, 32, 48]] = 1
    assert fn.error_sums(x, np.zeros_like(x)).xx.tolist() == [2.0**54]


def test_blocks_of_a_row_are_added_in_order(fn):
    x = np.zeros((1, 20 * 4096), np.float32)
    x[0, ::4096] = 1
    x[0, 0] = 2.0**27
    assert fn.error_sums(x, np.zeros_like(x)).xx.tolist() == [2.0**54]


def test_differences_are_taken_in_float64(fn):
    x, y = np.array([[1.0]], np.float32), np.array([[2.0**-40]], np.float32)
    assert fn.error_sums(x, y).max_abs.tolist() == [1 - 2.0**-40]


def test_float64_is_rounded_to_float32_first(fn):
    x, y = np.array([[1 + 2.0**-30]]), np.ones((1, 1), np.float32)
    assert fn.error_sums(x, y).dd.tolist() == [0.0]


def test_squares_of_the_largest_floats_are_finite(fn):
    x = np.full((1, 5), np.finfo(np.float32).max, np.float32)
    sums = fn.error_sums(x, -x)
    assert np.isfinite([s[0] for s in sums]).all()


def test_sums_of_no_values_are_zero(fn):
    sums = fn.error_sums(np.zeros((3, 0), np.float32), np.zeros((3, 0), np.float32))
    assert [s.tolist() for s in sums] == [[0.0] * 3] * 6
    assert fn.error_sums(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)).xx.shape == (
        0,
    )


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("rows", [1, 2])
def test_weighed_sums_are_those_of_the_loop(fn, rng, name, length, rows):
    x = rng.standard_normal((2, length)).astype(dtype(name))
    y = x.astype(np.float32) * np.float32(1.01) + np.float32(0.001)
    w = rng.random((rows, length), np.float32)
    found = fn.weighed_error(x, y, w)
    for row in range(2):
        triples = zip(x[row].astype(np.float32), y[row], w[row % rows], strict=True)
        numbers = [tuple(map(float, each)) for each in triples]
        assert found[row] == tree_sum([c * ((a - b) * (a - b)) for a, b, c in numbers])


def test_weighed_sums_by_hand(fn):
    x, y = np.array([[3, 4], [1, 1]], np.float32), np.array([[1, 1], [1, 3]], np.float32)
    assert fn.weighed_error(x, y, np.array([[0.5, 1]], np.float32)).tolist() == [11.0, 4.0]
    assert fn.weighed_error(x, y, np.array([[1, 0], [1, 0.5]], np.float32)).tolist() == [4.0, 2.0]
    assert fn.weighed_error(x[:0], y[:0], np.ones((1, 2), np.float32)).shape == (0,)


def test_wrong_importance_of_sums_is_named(fn):
    x = np.ones((2, 3), np.float32)
    with pytest.raises(TypeError, match="importance is None"):
        fn.weighed_error(x, x, None)
    with pytest.raises(ValueError, match="importance"):
        fn.weighed_error(x, x, np.ones((1, 2), np.float32))


AFFINE = [  # every kind of parameters, and ranges that limit codes
    {},
    {"symmetric": False},
    {"symmetric": False, "offset": True},
    {"scale_rule": "signed_max"},
    {"clip": "percentile:90"},
    {"clip": "mse"},
    {"bits": 8, "symmetric": False, "scales": "bfloat16"},
    {"bits": 16},
]


@pytest.mark.parametrize("options", AFFINE, ids=str)
@pytest.mark.parametrize("name", FLOATS)
def test_errors_of_affine_codes_are_those_of_the_decoded_values(fn, rng, options, name):
    scheme = bm.Affine(**{"bits": 4, "group_size": 48} | options)
    x = rng.standard_normal((3, 5000)).astype(dtype(name))
    x[1, :96] = 1  # constant groups
    x[2, :480] = np.abs(x[2, :480])
    q = bm.quantize(x, scheme)
    offset = scheme.params(q.arrays, x.shape)[2]
    scale = q.scale
    if offset is not None:
        scale = np.where(np.arange(105) < 2, [[1], [np.inf], [1]], 1).astype(np.float32) * scale
    found = fn.affine_error(
        x, scale, q.zero_point, offset, **scheme.code_range._asdict(), group_size=48
    )
    assert (found == fn.error_sums(x, np.asarray(q)).dd).all()


def test_errors_of_affine_codes_by_hand(fn):
    x = np.array([[0.5, 1.25, 9, -3], [1, 1, 1, 3]], np.float32)
    scale = np.array([[1], [np.inf]], np.float32)
    # 0.5 and 1.25 become 0 and 1; 9 and -3 are limited to 3 and -2; the scale of infinity gives 0.
    assert fn.affine_error(x, scale, qmin=-2, qmax=3).tolist() == [0.25 + 0.0625 + 36 + 1, 12.0]
    offset = np.array([[0.5], [1]], np.float32)
    found = fn.affine_error(x, scale, None, offset, qmin=0, qmax=3)
    assert found.tolist() == [0.25**2 + 5.5**2 + 3.5**2, 4.0]
    assert fn.affine_error(x[:0], scale[:0], qmin=0, qmax=3).shape == (0,)
