# SPDX-License-Identifier: MIT
"""Percentiles and the ranges they clip to, on twins and kernels, beside numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
import engines
from bitmill._dtypes import FLOATS, dtype

X = [[1, 2, 4, 8, 16], [-3, 0, 3, 1, -1]]


@pytest.fixture(params=engines.ENGINES, autouse=True)
def _engine(request):
    with engines.api(request.param):
        yield


def quantized(values, bits=4, **options):
    return bm.quantize(np.array([values], np.float32), bm.Affine(bits, **options))


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize(
    ("p", "wanted"), [(0, [1, -3]), (50, [4, 0]), (25, [2, -1]), (100, [16, 3]), (62.5, [6, 0.5])]
)
def test_percentiles_of_rows(name, p, wanted):
    found = bm.percentile(np.array(X, dtype(name)), p, axis=-1)
    assert found.dtype == np.float64
    assert found.tolist() == wanted


def test_percentile_of_all_values_is_a_number():
    # In order: -3 -1 0 1 1 2 3 4 8 16; h = 9 * 0.9 = 8.1.
    found = bm.percentile(np.array(X, np.float32), 90)
    assert isinstance(found, np.float64)
    assert found == 8 + (16 - 8) * (9 * 0.9 - 8)


def test_percentiles_down_columns_for_several_p():
    found = bm.percentile(np.array(X, np.float32), [0, 50], axis=0)
    assert found.tolist() == [[-3, 0, 3, 1, -1], [-1, 1, 3.5, 4.5, 7.5]]


def test_percentile_that_is_zero_is_positive():
    for x in ([-0.0], [-0.0, -0.0, 5.0], [-1.0, 1.0]):
        found = bm.percentile(np.array(x, np.float32), 50)
        assert found == 0
        assert not np.signbit(found)


def test_symmetric_clip_keeps_p_percent_of_the_magnitudes():
    q = quantized([1, -2, 3, -7, 100], clip="percentile:75")
    assert q.scale.tolist() == [[1]]
    assert q.codes.tolist() == [[1, -2, 3, -7, 7]]


def test_clip_keeps_the_sign_that_signed_max_looks_for():
    # t = 8: the range is -2 ... 8, so that 8 has the code -8.
    q = quantized([-2, 1, 2, 8, 100], clip="percentile:75", scale_rule="signed_max")
    assert q.scale.tolist() == [[-1]]
    assert q.codes.tolist() == [[2, -1, -2, -8, -8]]


def test_asymmetric_clip_leaves_out_as_many_at_either_end():
    # p = 50: the percentiles 25 and 75, -5 and 10.
    q = quantized([-99, -5, 0, 10, 99], symmetric=False, clip="percentile:50")
    assert (q.scale.tolist(), q.zero_point.tolist()) == ([[1]], [[5]])
    assert q.codes.tolist() == [[0, 0, 5, 15, 15]]


def test_clip_with_an_offset():
    q = quantized([-99, 5, 6, 20, 99], symmetric=False, offset=True, clip="percentile:50")
    assert (q.scale.tolist(), q.offset.tolist()) == ([[1]], [[5]])
    assert q.codes.tolist() == [[0, 0, 1, 15, 15]]


@pytest.mark.parametrize(
    "options",
    [{}, {"scale_rule": "full_range"}, {"scale_rule": "signed_max"}, {"symmetric": False}],
)
def test_group_of_which_zero_is_left_is_not_clipped(options):
    values = [0.0, 0.0, 0.0, 0.0, 0.0, -0.0, 0.0, 0.0, 0.0, -7.0]
    clipped, full = (quantized(values, clip=c, **options) for c in ("percentile:50", "minmax"))
    assert clipped.scale.tobytes() == full.scale.tobytes()
    assert clipped.codes.tobytes() == full.codes.tobytes()
    assert clipped.health["unclipped"] == 1


def test_group_of_which_one_value_is_left_beside_an_offset_is_not_clipped():
    options = {"symmetric": False, "offset": True}
    q = quantized([4.0] * 9 + [19.0], clip="percentile:50", **options)
    assert (q.scale.tolist(), q.offset.tolist()) == ([[1]], [[4]])
    assert q.health["unclipped"] == 1
    q = quantized([4.0] * 9, clip="percentile:50", **options)
    assert "unclipped" not in q.health


def test_group_of_zeros_is_one_of_zeros():
    q = quantized([0.0, -0.0, 0.0], clip="percentile:50")
    assert q.scale.tolist() == [[1]]
    assert q.health == quantized([0.0, -0.0, 0.0]).health


def test_last_group_is_clipped_by_its_own_values():
    # Groups of 5 and 3; half of the latter is below 2.
    q = quantized([1, 2, 3, 7, 100, 14, 1, 7], clip="percentile:75", group_size=5)
    assert q.scale.tolist() == [[1, 1.5]]
