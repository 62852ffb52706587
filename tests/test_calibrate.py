# SPDX-License-Identifier: MIT
"""Static parameters: how calibrate finds them, and what they make of values."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import bitmill as bm
from bitmill import observers
from bitmill._results import Range
from bitmill.clip import Clip, MinMax
from conftest import same_bits

TENSOR = bm.Affine(8, axis=None)
ASYMMETRIC = bm.Affine(8, axis=None, symmetric=False)
STATIC = [
    bm.Affine(bits, axis=axis, scales=scales, **options)
    for bits in (4, 8, 16)
    for axis in (None, 0, -1)
    for scales in ("float32", "bfloat16")
    for options in ({}, {"symmetric": False}, {"symmetric": False, "offset": True})
]


def named(rng, count=4):
    """Batches of two names."""
    return [
        {"up": rng.standard_normal((8, 5)), "down": rng.standard_normal((8, 3)) + 9}
        for _ in range(count)
    ]


# calibrate


def test_arrays_give_one_and_mappings_give_many(rng):
    batches = named(rng)
    found = bm.calibrate(batches, ASYMMETRIC)
    assert list(found) == ["up", "down"]
    for name, params in found.items():
        alone = bm.calibrate((batch[name] for batch in batches), ASYMMETRIC)
        assert alone.to_dict() == params.to_dict()
        whole = np.concatenate([batch[name] for batch in batches])
        wanted = bm.quantize(whole, ASYMMETRIC)
        assert (params.scale[0], params.zero_point[0]) == (wanted.scale, wanted.zero_point)


def test_names_need_not_be_in_every_batch(rng):
    one, two = rng.standard_normal((2, 4, 5)).astype(np.float32)
    found = bm.calibrate([{"a": one}, {"b": two}, {"a": 3 * one}], TENSOR)
    assert found["a"].scale[0] == np.abs(3 * one).max() / np.float32(127)
    assert found["b"].scale[0] == np.abs(two).max() / np.float32(127)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("kind", [None, "Histogram", "MovingAverage", "BatchPercentile", "Moments"])
def test_observer_is_a_pattern(rng, axis, kind):
    scheme = bm.Affine(8, axis=axis)
    batches = list(rng.standard_normal((3, 8, 5)))
    pattern = None if kind is None else getattr(observers, kind)(axis=axis)
    own = pattern.fresh() if pattern else observers.MinMax(axis=axis)
    for batch in batches:
        own.update(batch)
    found = bm.calibrate(batches, scheme, observer=pattern)
    assert found.to_dict() == own.compute(scheme).to_dict()
    assert pattern is None or pattern.batches == 0


class Middle(Clip):
    """Half of the range, which takes a histogram."""

    by_histograms = True

    def fit(self, x, view, grid, *, num_threads=None):
        return MinMax().fit(x, view, grid)

    def fit_histograms(self, bins, view, grid):
        ends = np.array([(one.percentile(25), one.percentile(75)) for one in bins], np.float32)
        return MinMax().fit_ranges(Range(*ends.T.copy()), view, grid)


def test_a_clip_that_needs_more_than_ranges_gets_a_histogram(rng):
    x = rng.standard_normal(10_000)
    found = bm.calibrate([x], bm.Affine(8, axis=None, symmetric=False, clip=Middle()))
    assert abs(float(found.scale[0]) * 255 - 2 * 0.6745) < 0.05


def test_a_clip_that_needs_all_values_at_once_is_told():
    class Whole(Clip):
        name = "whole"

        def fit(self, x, view, grid, *, num_threads=None):
            return MinMax().fit(x, view, grid)

    scheme = bm.Affine(8, axis=None, clip=Whole())
    with pytest.raises(ValueError, match="calibrate cannot tell what clip='whole' goes by: no obs"):
        bm.calibrate([np.ones(3)], scheme)
    with pytest.raises(ValueError, match="Moments cannot tell what clip='whole' goes by: no obs"):
        bm.calibrate([np.ones(3)], scheme, observer=observers.Moments())


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 20, 1000])
def test_num_samples_cuts_the_last_batch_and_asks_for_no_more(rng, count):
    rows = rng.standard_normal((32, 5))
    asked = []

    def batches():
        for start in range(0, 32, 8):
            asked.append(start)
            yield {"x": rows[start : start + 8]}

    found = bm.calibrate(batches(), TENSOR, count)
    assert asked == list(range(0, min(count, 32), 8))
    wanted = bm.calibrate([rows[:count]], TENSOR)
    assert found["x"].to_dict() == wanted.to_dict()


def test_num_samples_counts_for_each_name(rng):
    one, two = rng.standard_normal((2, 6, 5))
    batches = [{"a": one[:2], "b": two[:4]}, {"a": one[2:], "b": two[4:]}]
    found = bm.calibrate(batches, TENSOR, num_samples=3)
    assert found["a"].to_dict() == bm.calibrate([one[:3]], TENSOR).to_dict()
    assert found["b"].to_dict() == bm.calibrate([two[:3]], TENSOR).to_dict()


def test_names_that_come_after_all_others_have_enough_are_not_waited_for():
    batches = [{"a": np.ones((2, 3))}, {"b": np.ones((2, 3))}]
    assert list(bm.calibrate(batches, TENSOR, num_samples=2)) == ["a"]
    assert list(bm.calibrate(batches, TENSOR, num_samples=3)) == ["a", "b"]


@pytest.mark.parametrize(
    ("batches", "options", "error", "message"),
    [
        ([], {}, ValueError, "batches is empty"),
        ([{}], {}, ValueError, "batches is empty"),
        ({"a": np.ones(3)}, {}, TypeError, "batches is a dict; wanted an iterable: [batches]"),
        (3, {}, TypeError, "batches is a int; wanted an iterable"),
        ([np.ones(3), {"a": np.ones(3)}], {}, TypeError, "both arrays and mappings"),
        ([{"a": np.ones(3)}, np.ones(3)], {}, TypeError, "both arrays and mappings"),
        ([np.ones(3, int)], {}, TypeError, "x has dtype int64"),
        (np.ones(3), {}, ValueError, "x has 0 dimensions"),
        ([np.ones(3)], {"num_samples": 0}, ValueError, "num_samples=0 must be at least 1"),
        ([np.ones(3)], {"num_samples": 2.0}, TypeError, "num_samples=2.0 is a float"),
        ([np.ones(3)], {"observer": observers.MinMax}, TypeError, "observer is MinMax; wanted an"),
        ([np.ones(3)], {"observer": observers.MinMax(axis=0)}, ValueError, "observer axis=0"),
    ],
)
def test_what_cannot_be_calibrated_is_told(batches, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        bm.calibrate(batches, TENSOR, **options)


def test_errors_name_what_they_are_about():
    with pytest.raises(ValueError, match="no finite value") as caught:
        bm.calibrate([{"good": np.ones(3), "bad": np.full(3, np.nan)}], TENSOR)
    assert caught.value.__notes__ == ["in batches, under the name 'bad'"]


def test_rows_and_groups_are_told_what_to_use():
    for scheme in (bm.Affine(8), bm.Affine(4, group_size=32)):
        with pytest.raises(ValueError, match="use axis=None"):
            bm.calibrate([np.ones((2, 3))], scheme)


# QParams


@pytest.mark.parametrize("scheme", STATIC, ids=repr)
def test_parameters_of_the_same_values_give_the_same_codes(rng, scheme):
    x = rng.standard_normal((6, 4, 10)).astype(np.float32)
    params = bm.calibrate([x], scheme)
    got, wanted = params.quantize(x), bm.quantize(x, scheme)
    assert got.arrays.keys() == wanted.arrays.keys()
    for name, array in wanted.arrays.items():
        same_bits(got.arrays[name], array, name)
    again = bm.QParams.from_dict(json.loads(json.dumps(params.to_dict(), allow_nan=False)))
    same_bits(np.asarray(again.quantize(x)), np.asarray(wanted))
    assert np.broadcast_shapes(params.scale.shape, x.shape) == x.shape


def test_other_values_are_clamped():
    params = bm.calibrate([np.float32([-1, 1])], bm.Affine(4, axis=None))
    assert params.quantize(np.float32([[-9], [9]])).codes.tolist() == [[-8], [7]]


def test_an_offset_is_that_of_the_parameters():
    scheme = bm.Affine(8, axis=None, symmetric=False, offset=True)
    params = bm.calibrate([np.float32([1, 256])], scheme)
    assert params.quantize(np.full(3, 3.0, np.float32)).codes.tolist() == [2, 2, 2]


def test_quantized_values_have_arrays_of_their_own():
    params = bm.calibrate([np.float32([-1, 1])], TENSOR)
    params.quantize(np.ones(3)).scale[...] = 9
    assert params.scale[0] < 1


def test_values_that_do_not_fit_are_refused():
    params = bm.calibrate([np.ones((2, 3))], bm.Affine(8, axis=-1))
    with pytest.raises(ValueError, match="x has 4 channels along axis=-1; there are scales for 3"):
        params.quantize(np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"x\.flat\[1\], is nan"):
        params.quantize(np.array([1.0, np.nan, 1.0]))


def test_arrays_that_do_not_fit_the_scheme_are_refused():
    one, zero = np.ones(1, np.float32), np.zeros(1, np.uint8)
    with pytest.raises(ValueError, match="zero_point is one too many"):
        bm.QParams(TENSOR, one, zero)
    with pytest.raises(ValueError, match="zero_point is missing"):
        bm.QParams(ASYMMETRIC, one)
    with pytest.raises(ValueError, match="scale has dtype float64; wanted float32"):
        bm.QParams(TENSOR, np.ones(1))
    with pytest.raises(ValueError, match=r"zero_point has shape \(2,\); wanted \(1,\)"):
        bm.QParams(ASYMMETRIC, one, np.zeros(2, np.uint8))
    for bad in (0, -0.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="scale has values that are 0 or not finite"):
            bm.QParams(TENSOR, np.full(1, bad, np.float32))
    with pytest.raises(ValueError, match="zero_point has values beyond the last code, 15"):
        bm.QParams(bm.Affine(4, axis=None, symmetric=False), one, zero + 16)
    with pytest.raises(ValueError, match="offset has values that are not finite"):
        bm.QParams(bm.Affine(4, axis=None, symmetric=False, offset=True), one, None, one * np.inf)
    good = bm.QParams(ASYMMETRIC, one, zero).to_dict()
    for bad in (
        {},
        good | {"scheme": {}},
        good | {"scale": ["x"]},
        good | {"shape": [7]},
        good | {"zero_point": [256]},
        good | {"zero_point": [1.5]},
        good | {"scale": [None]},
        good | {"scale": ["0x1p+128"]},
    ):
        with pytest.raises(ValueError, match=r"."):
            bm.QParams.from_dict(bad)
