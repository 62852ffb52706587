# SPDX-License-Identifier: MIT
"""Observers: what they see, skip, merge, forget and write down."""

from __future__ import annotations

import json
import pickle

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitmill as bm
from bitmill import observers
from bitmill._results import Range
from bitmill.clip import Clip, MinMax
from bitmill.observers import batch_percentile
from bitmill.summaries import full_ranges
from conftest import same_bits

TENSOR, CHANNELS = bm.Affine(8, axis=None), bm.Affine(8, axis=-1)
KINDS = [
    observers.MinMax,
    observers.MovingAverage,
    observers.BatchPercentile,
    observers.Histogram,
    observers.Moments,
]
MERGING = [kind for kind in KINDS if kind is not observers.MovingAverage]
by_kind = pytest.mark.parametrize("kind", KINDS)


def seen(observer, batches):
    """The observer after these batches."""
    for batch in batches:
        observer.update(batch)
    return observer


def written(observer):
    """Its bytes."""
    return json.dumps(observer.to_dict()).encode()


def batches_of(rng, count=7, shape=(5, 6)):
    """Of growing and shrinking ranges."""
    scales = 2.0 ** rng.integers(-20, 20, count)
    return [(rng.standard_normal(shape) * s).astype(np.float32) for s in scales]


# Merging


@pytest.mark.parametrize("kind", MERGING)
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_states_merge_to_the_same_bytes_in_any_order(rng, kind, axis):
    batches = batches_of(rng)
    batches[2][1, 2], batches[4][0] = np.nan, np.inf
    wanted = written(seen(kind(axis=axis), batches))
    for _ in range(10):
        parts = np.split(rng.permutation(len(batches)), np.sort(rng.integers(0, 8, 3)))
        merged = kind(axis=axis)
        for part in parts:
            merged.merge(seen(kind(axis=axis), [batches[i] for i in part]))
        assert written(merged) == wanted


ANY = st.floats(width=32)


@pytest.mark.parametrize("kind", [observers.MinMax, observers.Histogram])
@settings(max_examples=400, derandomize=True, database=None, deadline=None)
@given(values=st.lists(ANY, min_size=1, max_size=40), data=st.data())
def test_batches_and_their_order_leave_no_trace(kind, values, data):
    whole = seen(kind(), [np.float32(values)])
    at = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4)))
    shuffled = data.draw(st.permutations(values))
    parts = [np.float32(part) for part in np.split(np.array(shuffled), at)]
    other = seen(kind(), parts)
    assert listed_state(other) == listed_state(whole)
    merged = kind()
    for part in data.draw(st.permutations(parts)):
        merged.merge(seen(kind(), [part]))
    assert written(merged) == written(other)
    assert pickle.dumps(merged) == pickle.dumps(other)


def listed_state(observer):
    """All but the number of batches."""
    return {k: v for k, v in observer.to_dict().items() if k != "batches"}


def test_moving_averages_do_not_merge():
    with pytest.raises(TypeError, match="order of batches"):
        observers.MovingAverage().merge(observers.MovingAverage())


def test_merging_leaves_the_other_as_it_was(rng):
    for kind in MERGING:
        one, other = seen(kind(), batches_of(rng)), seen(kind(), batches_of(rng))
        before = written(other)
        one.merge(other)
        empty = kind()
        empty.merge(other)
        assert written(empty) == before
        empty.update(np.float32([1e9]))
        assert written(other) == before


def test_what_does_not_match_does_not_merge(rng):
    with pytest.raises(TypeError, match="other is a MinMax; a Histogram merges with its kind"):
        observers.Histogram().merge(observers.MinMax())
    with pytest.raises(ValueError, match="other has the options"):
        observers.Histogram(64).merge(observers.Histogram(65))
    with pytest.raises(ValueError, match="other has the options"):
        observers.MinMax(axis=0).merge(observers.MinMax())
    three, four = (seen(observers.MinMax(axis=0), [np.ones((n, 2), "f4")]) for n in (3, 4))
    with pytest.raises(ValueError, match=r"other has channels in the shape \(4, 1\)"):
        three.merge(four)


# What is seen


@by_kind
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_channels_are_seen_as_each_alone(rng, kind, axis):
    batches = batches_of(rng, 4, (3, 4, 5))
    batches[1][1, 1, 1] = np.nan
    observer = seen(kind(axis=axis), batches)
    scheme = bm.Affine(8, axis=axis, symmetric=False)
    scale = observer.compute(scheme).scale
    assert np.broadcast_shapes(scale.shape, (3, 4, 5)) == (3, 4, 5)
    assert scale.size == (3, 4, 5)[axis]
    for channel in range(scale.size):
        alone = seen(kind(), [np.take(batch, channel, axis) for batch in batches])
        one = alone.compute(bm.Affine(8, axis=None, symmetric=False))
        assert scale.reshape(-1)[channel] == one.scale[0]


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", ml_dtypes.bfloat16])
@by_kind
def test_nan_and_infinity_are_counted_and_skipped(isa, rng, kind, dtype):
    clean = (rng.integers(-255, 256, 500) / 64).astype(dtype)  # whose sums are exact
    dirty = np.insert(clean, [0, 100, 500], np.array([np.nan, np.inf, -np.inf], dtype))
    one, other = seen(kind(), [clean]), seen(kind(), [dirty])
    assert (other.count, other.nonfinite) == (500, 3)
    assert listed_state(other) | {"nonfinite": 0} == listed_state(one)


def test_float64_beyond_float32_is_not_finite():
    observer = seen(observers.MinMax(), [np.array([1.0, -1e300])])
    assert (observer.count, observer.nonfinite, observer.range.max) == (1, 1, 1)


@by_kind
def test_batches_of_zero_size_change_nothing(kind):
    observer = seen(kind(axis=1), [np.ones((2, 3), "f4")])
    before = observer.range
    observer.update(np.ones((0, 9), np.float32))
    assert observer.batches == 2
    same_bits(observer.range.max, before.max)


@by_kind
def test_nothing_seen_gives_no_parameters(kind):
    for observer in (kind(), seen(kind(), [np.float32([np.nan])])):
        with pytest.raises(ValueError, match=f"{kind.__name__} has seen no finite value"):
            observer.compute(TENSOR)
    x = np.ones((2, 3), np.float32)
    x[:, 1] = np.nan
    with pytest.raises(ValueError, match="no finite value in channel 1 of axis -1"):
        seen(kind(axis=-1), [x]).compute(CHANNELS)


@by_kind
def test_channels_stay_as_many_as_they_were(kind):
    observer = seen(kind(axis=-1), [np.ones((2, 3), "f4"), np.ones((4, 2, 3), "f4")])
    before = written(observer)
    with pytest.raises(ValueError, match=r"x has channels in the shape \(4,\); wanted \(3,\)"):
        observer.update(np.ones((2, 4), np.float32))
    with pytest.raises(TypeError, match="x has dtype int64"):
        observer.update(np.ones((2, 3), np.int64))
    assert written(observer) == before


@by_kind
def test_memory_does_not_grow(rng, kind):
    observer = kind()
    if kind is observers.BatchPercentile:
        seen(observer, ([rng.standard_normal()] for _ in range(batch_percentile.EXACT + 1)))
    sizes = set()
    for count in (1, 10, 1000, 100_000):
        observer.update(rng.standard_normal(count) * count)
        sizes.add(sum(array.nbytes for array in observer._state.values()))
    assert len(sizes) == 1


@by_kind
def test_reset_forgets_all(rng, kind):
    observer = seen(kind(axis=0), batches_of(rng))
    observer.reset()
    assert observer == kind(axis=0)
    assert written(seen(observer, [np.ones((9, 1), "f4")])) == written(
        seen(kind(axis=0), [np.ones((9, 1), "f4")])
    )


# Writing down


@by_kind
@pytest.mark.parametrize("axis", [None, -1])
@pytest.mark.parametrize("count", [0, 4])
def test_json_and_pickle_keep_everything(rng, kind, axis, count):
    observer = seen(kind(axis=axis), batches_of(rng, count))
    given = json.loads(json.dumps(observer.to_dict(), allow_nan=False))
    for other in (
        observers.from_dict(given),
        kind.from_dict(given),
        pickle.loads(pickle.dumps(observer)),
    ):
        assert type(other) is kind
        assert written(other) == written(observer)
        more = np.ones((3, 6), np.float32)
        assert written(seen(other, [more])) == written(seen(kind.from_dict(given), [more]))


def changed(given, name, values):
    """Another value of an array of the state."""
    return given | {"state": given["state"] | {name: given["state"][name] | {"values": values}}}


def test_dicts_that_describe_nothing_are_refused(rng):
    good = seen(observers.Histogram(8), batches_of(rng)).to_dict()
    for bad in (
        {},
        good | {"observer": "Mine"},
        {k: v for k, v in good.items() if k != "bins"},
        good | {"bins": 9},
        good | {"count": -1},
        good | {"shape": [2]},
        good | {"state": {}},
        changed(good, "min", ["inf"]),
        changed(good, "min", ["0x1p+100"]),
        changed(good, "counts", [-1, *good["state"]["counts"]["values"][1:]]),
        changed(good, "counts", [1] + [0] * 7),
        changed(good, "counts", [1] * 8),
        good | {"state": good["state"] | {"min": {"dtype": "int8", "shape": [1], "values": [1]}}},
        good
        | {"state": good["state"] | {"min": {"dtype": "float32", "shape": [1], "values": [1]}}},
    ):
        with pytest.raises(ValueError, match=r"."):
            observers.from_dict(bad)
    with pytest.raises(ValueError, match=r"has not the 0 channels of shape=\[0\]"):
        observers.from_dict(good | {"shape": [0], "state": {}})
    with pytest.raises(ValueError, match=r"has not the 0 channels of shape=None"):
        observers.from_dict(good | {"shape": None})
    with pytest.raises(ValueError, match="this describes a Histogram; wanted a MinMax"):
        observers.MinMax.from_dict(good)


@pytest.mark.parametrize(
    ("kind", "name", "values"),
    [
        (observers.MinMax, "min", ["nan"]),
        (observers.MinMax, "max", ["inf"]),
        (observers.MinMax, "max", ["-0x1p+100"]),
        (observers.MinMax, "max", ["0x1p+300"]),
        (observers.MovingAverage, "max", ["nan"]),
        (observers.MovingAverage, "max", ["0x1p+300"]),
        (observers.BatchPercentile, "minima", ["nan", "0x0p+0"]),
        (observers.BatchPercentile, "minima", ["-inf", "-0x1p+9"]),
        (observers.BatchPercentile, "minima", ["0x1p+9", "0x1p+9"]),
        (observers.BatchPercentile, "maxima", ["0x1p+9", "0x1p+8"]),
        (observers.BatchPercentile, "maxima", ["0x1p+9", "inf"]),
        (observers.Moments, "count", [0]),
        (observers.Moments, "count", [-1]),
        (observers.Moments, "zeros", [1 << 40]),
        (observers.Moments, "sums", [1, -1, 1]),
        (observers.Moments, "sums", [0, 0, -1]),
        (observers.Moments, "max", ["nan"]),
        (observers.Importance, "squares", [-1, 1, 1]),
        (observers.Importance, "count", [-1, 1, 1]),
    ],
)
def test_states_that_no_values_leave_are_refused(rng, kind, name, values):
    good = seen(kind(), rng.standard_normal((2, 4, 3))).to_dict()
    assert observers.from_dict(good).to_dict() == good
    with pytest.raises(ValueError, match="the state is not"):
        observers.from_dict(changed(good, name, values))


def test_ends_of_batches_stay_in_order(rng):
    ends = rng.integers(-4, 5, (40, 6)).astype(np.float32)
    ends[rng.random(ends.shape) < 0.2] = np.inf
    kept = ends[:0]
    for more in ends:
        kept = batch_percentile._in_order(kept, more[np.newaxis])
    same_bits(kept, np.sort(ends, axis=0))


# Options


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: observers.Histogram(1), ValueError, "bins=1 must be between 2 and 32767"),
        (lambda: observers.Histogram(2.0), TypeError, "bins=2.0 is a float; bins takes an int"),
        (lambda: observers.MinMax(axis="row"), TypeError, "axis='row' is a str"),
        (lambda: observers.MovingAverage(2), ValueError, "averaging_constant=2 must be between 0"),
        (lambda: observers.MovingAverage("a"), TypeError, "averaging_constant='a' is a str"),
        (lambda: observers.BatchPercentile(49), ValueError, "p=49 must be between 50 and 100"),
        (lambda: observers.BatchPercentile(float("nan")), ValueError, "p=nan must be between"),
    ],
)
def test_wrong_options_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_schemes_with_rows_or_groups_are_told_what_to_use():
    observer = seen(observers.MinMax(), [np.ones((2, 3), "f4")])
    for scheme, cut in ((bm.Affine(8), "row"), (bm.Affine(8, group_size=2), "group of 2")):
        with pytest.raises(ValueError, match=f"scale for each {cut}.*axis=None"):
            observer.compute(scheme)
    with pytest.raises(ValueError, match="scheme has axis=-1 and the observer axis=None"):
        observer.compute(CHANNELS)
    with pytest.raises(TypeError, match="scheme is a str"):
        observer.compute("int8")


def test_scale_that_overflows_is_an_error():
    observer = seen(observers.MinMax(), [np.float32([1e30])])
    with pytest.raises(ValueError, match="overflows float16: use scales="):
        observer.compute(bm.Affine(8, axis=None, scales="float16"))


class Half(Clip):
    """Half of the range, in any way."""

    by_histograms = by_moments = True

    def fit(self, x, view, grid, *, num_threads=None):
        return MinMax().fit(x / 2, view, grid)

    def fit_histograms(self, known, view, grid):
        full = full_ranges(known, view.params)
        return MinMax().fit_ranges(Range(full.min / 2, full.max / 2), view, grid)

    fit_moments = fit_histograms


def test_clips_choose_ranges_by_histograms_and_moments(rng):
    x = rng.standard_normal((40, 3)).astype(np.float32)
    for kind in (observers.Histogram, observers.Moments):
        found = seen(kind(axis=1), [x]).compute(bm.Affine(8, axis=1, clip=Half()))
        wanted = bm.quantize(x / 2, bm.Affine(8, axis=1))
        same_bits(found.scale, wanted.scale)
    with pytest.raises(ValueError, match=r"MinMax cannot tell .*Histogram or observers\.Moments"):
        seen(observers.MinMax(axis=1), [x]).compute(bm.Affine(8, axis=1, clip=Half()))


def test_clips_that_leave_no_range_are_counted():
    x = np.zeros(4096, np.float32)
    x[0] = 2.0**-149
    found = seen(observers.Moments(), [x]).compute(bm.Affine(8, axis=None, clip="meanstd:1"))
    assert found.scale[0] == x[0]
    assert found.health == {"underflowed": 1, "unclipped": 1}


# One by one


@pytest.mark.parametrize("symmetric", [True, False])
def test_minmax_gives_what_quantize_gives_all_at_once(rng, symmetric):
    batches = batches_of(rng)
    for axis in (None, -1):
        scheme = bm.Affine(8, axis=axis, symmetric=symmetric)
        found = seen(observers.MinMax(axis=axis), batches).compute(scheme)
        whole = np.concatenate(batches)
        wanted = bm.quantize(whole, scheme)
        again = found.quantize(whole)
        same_bits(again.codes, wanted.codes)
        same_bits(again.scale, wanted.scale)


def test_moving_average_moves_by_the_constant():
    observer = observers.MovingAverage(0.25)
    for lo, hi in ((-1.0, 2.0), (-2.0, 6.0), (-2.0, 2.0)):
        observer.update(np.float32([lo, hi]))
    assert observer._state["min"].tolist() == [-1.4375]
    assert observer.range.max.tolist() == [2.75]


def test_moving_average_is_that_of_torch():
    # Of torch.ao.quantization.MovingAverageMinMaxObserver(averaging_constant=0.01), torch 2.13.0.
    rows = np.random.default_rng(7).standard_normal((5, 100)).astype(np.float32)
    lo, hi = seen(observers.MovingAverage(), rows).range
    torch = [-2.517577648162842, 2.010942220687866]
    np.testing.assert_allclose([lo[0], hi[0]], torch, rtol=2e-7)


def test_batch_percentiles_are_those_of_numpy(rng):
    batches = rng.standard_normal((101, 50, 2)).astype(np.float32)
    observer = seen(observers.BatchPercentile(90, axis=-1), batches)
    lo, hi = batches.min(axis=1), batches.max(axis=1)
    same_bits(observer.range.min, np.percentile(lo.astype("f8"), 10, axis=0).astype("f4"))
    same_bits(observer.range.max, np.percentile(hi.astype("f8"), 90, axis=0).astype("f4"))


def test_batch_percentiles_of_many_batches_are_off_by_less_than_a_bin(rng, monkeypatch):
    monkeypatch.setattr(batch_percentile, "EXACT", 100)
    batches = rng.standard_normal((257, 50, 2)).astype(np.float32)
    observer = seen(observers.BatchPercentile(90, axis=-1), batches)
    hi = np.percentile(batches.max(axis=1), 90, axis=0)
    assert (np.abs(observer.range.max - hi) < 2.0**-8).all()
    assert (observer.range.max != hi.astype(np.float32)).any()
    parts = [seen(observers.BatchPercentile(90, axis=-1), p) for p in (batches[:90], batches[90:])]
    for one, other in (parts, reversed(parts)):
        merged = one.fresh()
        merged.merge(one)
        merged.merge(other)
        assert written(merged) == written(observer)
        assert written(observers.from_dict(merged.to_dict())) == written(observer)


def test_moments_are_those_of_numpy(rng):
    batches = [rng.standard_normal((200, 3)).astype("f4") + 1000 for _ in range(5)]
    batches[0][:50] = 0
    observer = seen(observers.Moments(axis=-1), batches)
    whole = np.concatenate(batches).astype(np.float64)
    for channel in range(3):
        x, found = whole[:, channel], observer.moments(channel)
        assert (found.count, found.zeros, found.min, found.max) == (1000, 50, 0, x.max())
        got = [found.mean, found.mean_abs, found.mean_square, found.std]
        wanted = [x.mean(), np.abs(x).mean(), (x * x).mean(), x.std()]
        np.testing.assert_allclose(got, wanted, rtol=1e-13)


def test_deviations_are_not_lost_beside_a_large_mean(rng):
    x = (1e6 + rng.integers(0, 2, 4000)).astype(np.float32)
    found = seen(observers.Moments(), [x]).moments()
    assert abs(found.std - x.astype(np.float64).std()) < 1e-3


def test_importance_is_the_mean_square_of_each_column(rng):
    batches = [rng.standard_normal((4, n, 33)).astype(np.float32) for n in (1, 50, 7)]
    batches[1][0, 3, 5] = np.nan
    observer = seen(observers.Importance(), batches)
    whole = np.concatenate([b.reshape(-1, 33) for b in batches]).astype(np.float64)
    np.testing.assert_allclose(observer.importance, np.nanmean(whole**2, axis=0), rtol=1e-6)
    assert (observer.count, observer.nonfinite) == (whole.size - 1, 1)
    parts = [seen(observers.Importance(), [batch]) for batch in batches]
    merged = parts[2]
    merged.merge(parts[0])
    merged.merge(parts[1])
    assert written(merged) == written(observer)
    assert observers.from_dict(observer.to_dict()) == observer
    with pytest.raises(TypeError, match=r"pass its \.importance to bm\.quantize"):
        observer.compute(CHANNELS)
    with pytest.raises(ValueError, match="Importance has seen no finite value"):
        observers.Importance().importance  # noqa: B018


def test_sums_are_those_of_pieces_and_of_no_threads(rng, isa):
    x = rng.standard_normal((6, 270_001)).astype(np.float32)
    made = observers.Moments(axis=0)
    made.update(x, num_threads=3)
    assert made == seen(observers.Moments(axis=0), [np.asfortranarray(x)])
    for channel in (0, 5):
        exact = sum(float(v) ** 2 for v in x[channel].tolist())
        assert abs(made.moments(channel).mean_square * 270_001 / exact - 1) < 1e-12
