# SPDX-License-Identifier: MIT
"""Clips by histograms and moments, beside the same clips with all values at once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import bitmill as bm
from bitmill import observers
from bitmill.clip import Clip
from bitmill.clip.mse_range import mse_range
from bitmill.summaries import Bins
from conftest import same_bits

CLIPS = [
    "minmax",
    "percentile:99.9",
    "mse",
    "mse-exact",
    "aciq",
    "aciq:gauss",
    "aciq:laplace",
    "meanstd:3",
    "entropy",
]
KINDS = {
    "symmetric": {},
    "full_range": {"scale_rule": "full_range"},
    "signed_max": {"scale_rule": "signed_max"},
    "asymmetric": {"symmetric": False},
    "offset": {"symmetric": False, "offset": True},
}
DENSITIES = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "laplace": lambda rng, n: rng.laplace(size=n),
    "long tails": lambda rng, n: rng.standard_t(3, n),
    "after a ReLU": lambda rng, n: np.maximum(rng.standard_normal(n), 0),
    "far from 0": lambda rng, n: -rng.uniform(1e4, 1e4 + 1, n),
}
each_clip = pytest.mark.parametrize("clip", CLIPS)
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
each_density = pytest.mark.parametrize("density", DENSITIES.values(), ids=DENSITIES)


def reached(params: bm.QParams) -> np.ndarray:
    """Ends of what the codes cover."""
    qmin, qmax = params.scheme.code_range
    q = np.array([[qmin], [qmax]], np.float64)
    zero = 0 if params.zero_point is None else params.zero_point.astype(np.float64)
    return (q - zero) * params.scale + (0 if params.offset is None else params.offset)


def ends_of(scheme: bm.Affine) -> bm.Affine:
    """The scheme without a clip."""
    return dataclasses.replace(scheme, clip="minmax")


def at_once(x, scheme: bm.Affine) -> bm.QParams:
    made = scheme.fit(x.reshape(-1))
    return bm.QParams(scheme, *made[:3])


@each_clip
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_arrays_mappings_and_generators_are_calibrated(rng, clip, symmetric, axis):
    scheme = bm.Affine(8, axis=axis, symmetric=symmetric, clip=clip)
    batches = list(rng.laplace(size=(4, 40, 30)))
    wanted = bm.calibrate(batches, scheme)
    assert wanted.scale.size == {None: 1, 0: 40, -1: 30}[axis]
    named = bm.calibrate(({"a": x, "b": -x} for x in batches), scheme)
    assert named["a"].to_dict() == wanted.to_dict()
    assert named["b"].scale.shape == wanted.scale.shape
    x = batches[0]
    lost = bm.metrics(x, wanted.quantize(x)).sqnr_db
    assert lost > 15


@each_clip
@each_kind
def test_merged_halves_give_the_same(rng, clip, kind):
    scheme = bm.Affine(4, axis=-1, clip=clip, **kind)
    batches = list(rng.standard_t(3, (4, 300, 3)))
    whole = bm.calibrate(batches, scheme)
    kinds = [observers.MinMax, observers.Histogram, observers.Moments]
    kind = next(k for k in kinds if scheme.clip.by_ranges or k.informs(scheme.clip))
    one, two = kind(axis=-1), kind(axis=-1)
    for x in batches[:2]:
        one.update(x)
    for x in batches[2:]:
        two.update(x)
    two.merge(one)
    assert two.compute(scheme).to_dict() == whole.to_dict()


@each_clip
@each_kind
def test_a_channel_has_the_parameters_that_it_has_alone(rng, clip, kind):
    x = rng.laplace(size=(2000, 3)) * [1, 1e-3, 50] + [0, 0, 200]
    x[:, 0] = np.maximum(x[:, 0], 0)
    every = bm.calibrate([x], bm.Affine(4, axis=1, clip=clip, **kind))
    for channel, values in enumerate(x.T):
        alone = bm.calibrate([values], bm.Affine(4, axis=None, clip=clip, **kind))
        same_bits(every.scale[..., channel], alone.scale)
        if every.zero_point is not None:
            same_bits(every.zero_point[..., channel], alone.zero_point)


@each_density
@each_kind
@pytest.mark.parametrize("p", [99.9, 99, 60])
def test_percentiles_are_right_to_within_a_bin(rng, density, kind, p):
    x = density(rng, 50_000).astype(np.float32)
    scheme = bm.Affine(4, axis=None, clip=bm.clip.Percentile(p), **kind)
    observer = observers.Histogram()
    observer.update(x)
    found, wanted = observer.compute(scheme), at_once(x, scheme)
    bins = observer.histogram()
    if kind.get("symmetric", True):
        off = np.abs(found.scale - wanted.scale) * 8
    else:
        off = np.abs(found.scale - wanted.scale) * 15 / 2  # both ends
    assert off <= bins.width * (1 + 1e-6)


@each_density
@each_kind
@pytest.mark.parametrize("bits", [4, 8])
def test_least_squares_by_bins_loses_no_more_than_by_values(density, kind, bits):
    x = density(np.random.default_rng(1), 400_000).astype(np.float32)
    scheme = bm.Affine(bits, axis=None, clip="mse", **kind)
    by_bins = bm.metrics(x, bm.calibrate(np.split(x, 4), scheme).quantize(x)).sqnr_db
    by_values = bm.metrics(x, bm.quantize(x, scheme)).sqnr_db
    smooth = density is not DENSITIES["after a ReLU"]
    assert by_bins > by_values - (0.01 if smooth else 0.02)


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
def test_least_squares_by_bins_keeps_an_outlier_that_matters(rng, kind):
    x = rng.standard_normal(1_000_000).astype(np.float32)
    x[7] = 400
    scheme = bm.Affine(8, axis=None, clip="mse", **KINDS[kind])
    params = bm.calibrate([x], scheme)
    every, none = (np.ptp(x[np.arange(x.size) != skip]) / 255 for skip in (-1, 7))
    assert none < params.scale[0] < every


@pytest.mark.parametrize("rule", ["absmax", "full_range", "signed_max", "asymmetric", "offset"])
def test_least_squares_of_few_bins(rule):
    grid = bm.grid.Grid(0 if rule in ("asymmetric", "offset") else -8, 7, rule, "float32")
    for counts, lo, hi in (([5], 0, 0), ([3], 1.25, 1.5), ([2, 1], 1.25, 2.5), ([0, 0], -1, 0.5)):
        if sum(counts):
            found = mse_range(Bins(0, int(np.floor(lo)), np.array(counts), lo, hi), grid)
            assert np.isfinite(found).all()
            assert found[0] <= found[1]


@pytest.mark.parametrize("clip", ["aciq:gauss", "meanstd:1", "meanstd:3"])
@each_kind
@each_density
def test_moments_give_what_all_values_give(rng, clip, kind, density):
    x = density(rng, 30_000).astype(np.float32)
    scheme = bm.Affine(4, axis=None, clip=clip, **kind)
    found = bm.calibrate(np.split(x, 3), scheme)
    np.testing.assert_allclose(reached(found), reached(at_once(x, scheme)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("clip", ["aciq", "aciq:laplace"])
@pytest.mark.parametrize("kind", ["symmetric", "signed_max", "asymmetric", "offset"])
def test_moments_tell_deviations_about_0(rng, clip, kind):
    for name, density in DENSITIES.items():
        if name != "after a ReLU" and kind in ("asymmetric", "offset"):
            continue
        x = density(rng, 30_000).astype(np.float32)
        scheme = bm.Affine(4, axis=None, clip=clip, **KINDS[kind])
        found = bm.calibrate(np.split(x, 3), scheme)
        np.testing.assert_allclose(found.scale, at_once(x, scheme).scale, rtol=1e-5)


@pytest.mark.parametrize("shift", [0, 0.05, 0.3])
def test_a_laplace_density_about_a_small_mean_is_nearly_the_same(rng, shift):
    x = (rng.laplace(size=100_000) + shift).astype(np.float32)
    scheme = bm.Affine(4, axis=None, symmetric=False, clip="aciq:laplace")
    found, wanted = bm.calibrate([x], scheme), at_once(x, scheme)
    np.testing.assert_allclose(found.scale, wanted.scale, rtol=0.005 + shift**2 / 2)


@pytest.mark.parametrize("kind", ["symmetric", "full_range", "signed_max", "asymmetric"])
@pytest.mark.parametrize("bits", [4, 8])
def test_divergence_by_the_same_bins_is_the_same(rng, kind, bits):
    x = (rng.standard_t(3, 100_000) / 80).astype(np.float32)
    x = x[(np.abs(x) < 0.999) & (np.abs(x) > 2.0**-9)]
    x[0] = -1  # so that 1,024 bins on each side are 2^-10 wide
    scheme = bm.Affine(bits, axis=None, clip="entropy:1024", **KINDS[kind])
    found, wanted = bm.calibrate([x], scheme), at_once(x, scheme)
    np.testing.assert_allclose(found.scale, wanted.scale, rtol=1e-6)
    assert (np.abs(found.scale) < np.abs(bm.calibrate([x], ends_of(scheme)).scale)).all()


@each_kind
@pytest.mark.parametrize("name", ["normal", "laplace", "after a ReLU", "far from 0"])
def test_divergence_by_bins_is_near_that_by_values(rng, name, kind):
    x = DENSITIES[name](rng, 200_000).astype(np.float32)
    scheme = bm.Affine(8, axis=None, clip="entropy", **kind)
    found, wanted = reached(bm.calibrate([x], scheme)), reached(at_once(x, scheme))
    assert np.abs(found - wanted).max() <= 0.1 * np.ptp(wanted)


@pytest.mark.parametrize("observer", [observers.MinMax, observers.Moments, observers.Histogram])
@each_clip
def test_observers_that_do_not_know_enough_name_one_that_does(observer, clip):
    scheme = bm.Affine(8, axis=None, clip=clip)
    if scheme.clip.by_ranges or observer.informs(scheme.clip):
        return
    right = "Histogram" if observers.Histogram.informs(scheme.clip) else "Moments"
    with pytest.raises(ValueError, match=rf"use observers\.{right}$"):
        bm.calibrate([np.ones(3)], scheme, observer=observer())


def test_clips_say_what_they_do_not_go_by():
    class Whole(Clip):
        fit = None

    for name in ("ranges", "histograms", "moments"):
        with pytest.raises(NotImplementedError, match=f"^Whole .*{name}$"):
            getattr(Whole(), f"fit_{name}")([], None, None)
