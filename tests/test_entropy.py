# SPDX-License-Identifier: MIT
"""Entropy calibration: the search against its definition, and the ranges it gives."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

import bitmill as bm
from bitmill.clip import Entropy
from bitmill.clip.entropy_threshold import entropy_threshold

KINDS = {
    "symmetric": {},
    "asymmetric": {"symmetric": False},
    "offset": {"symmetric": False, "offset": True},
}


def divergence(counts, start, stop, levels):
    """Σ P·log(P/Q) bin by bin."""
    total, width = sum(counts), stop - start
    inside = list(counts[start:stop])
    p = list(inside)
    p[0] += sum(counts[:start])
    p[-1] += sum(counts[stop:])
    q = [0.0] * width
    for level in range(levels):
        run = range(level * width // levels, (level + 1) * width // levels)
        filled = [bin for bin in run if p[bin] > 0]
        for bin in filled:
            q[bin] = sum(inside[bin] for bin in run) / len(filled) / sum(inside)
    q = [(1 - 1e-4) * value + 1e-4 / width for value in q]
    return sum(a / total * math.log(a / total / b) for a, b in zip(p, q, strict=True) if a)


def threshold(counts, levels, zero=0):
    """The number of bins on each side, by trying them all."""
    found = []
    for sides in range(1, max(zero, len(counts) - zero) + 1):
        start, stop = max(0, zero - sides), min(len(counts), zero + sides)
        if stop - start >= levels and 10 * sum(counts[start:stop]) >= 9 * sum(counts):
            found.append((divergence(counts, start, stop, levels), sides))
    if not found:
        return max(zero, len(counts) - zero)
    least = min(found)[0]
    return max(sides for value, sides in found if value <= least + 1e-12)


def test_the_search_finds_what_its_definition_says(rng):
    for _ in range(400):
        size, levels = int(rng.integers(1, 50)), int(rng.integers(2, 12))
        counts = rng.poisson(rng.exponential(rng.choice([0.3, 3, 50]), size))
        zero = int(rng.integers(0, size + 1))
        if counts.any():
            wanted = threshold(counts.tolist(), levels, zero)
            assert entropy_threshold(counts, levels, zero) == wanted


def test_blocks_of_candidates_are_one_search(rng, monkeypatch):
    counts = rng.poisson(1000 * np.exp(-np.arange(300) / 30))
    wanted = entropy_threshold(counts, 16)
    monkeypatch.setattr("bitmill.clip.entropy_threshold._ENTRIES", 48)
    assert entropy_threshold(counts, 16) == wanted


def test_nothing_to_choose_from_keeps_all():
    assert entropy_threshold(np.zeros(20, np.int64), 4) == 20
    assert entropy_threshold(np.arange(20), 20) == 20
    assert entropy_threshold(np.arange(20), 64, 15) == 15


def test_as_many_levels_as_filled_bins_lose_nothing_beyond_them():
    """A single value far out is clipped: the others have a level each."""
    counts = np.zeros(64, np.int64)
    counts[:8], counts[63] = 100, 1
    assert entropy_threshold(counts, 8) == 8


def test_a_search_in_2048_bins_takes_milliseconds(rng):
    counts = np.histogram(np.abs(rng.standard_normal(1 << 20)), 2048)[0]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        entropy_threshold(counts, 128)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_outliers_are_clipped(rng, kind):
    x = rng.standard_normal(10_000).astype(np.float32)
    x[::2000] = [300, -250, 200, 280, -300]
    q = bm.quantize(x, bm.Affine(4, axis=None, clip="entropy", **kind))
    assert 2 < np.abs(q.dequantize()).max() < 30


def test_ranges_are_whole_bins(rng):
    x = rng.laplace(size=5000).astype(np.float32)
    counts = np.histogram(np.abs(x), 256, (0, np.abs(x).max()))[0]
    kept = entropy_threshold(counts, 8)
    q = bm.quantize(x, bm.Affine(4, axis=None, clip=Entropy(256)))
    assert kept < 256
    assert q.scale.item() * 7 == pytest.approx(kept / 256 * np.abs(x).max(), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_zeros_decide_nothing(rng, kind):
    """After a ReLU, or in pruned weights, they would fill one bin and draw the range to it."""
    x = np.abs(rng.standard_normal(4000)).astype(np.float32)
    with_zeros = np.concatenate([x, np.zeros(40_000, np.float32)])
    clip = Entropy()
    q = bm.quantize(with_zeros, bm.Affine(4, axis=None, clip=clip, **kind))
    assert q.dequantize().max() > 2
    if kind != KINDS["offset"]:  # whose centre is the mean of all
        alone = bm.quantize(x, bm.Affine(4, axis=None, clip=clip, **kind))
        assert alone.scale == q.scale


@pytest.mark.parametrize("sign", [1, -1])
def test_zeros_are_not_clipped_from_an_offset_range(rng, sign):
    x = sign * (100 + rng.standard_normal(4000)).astype(np.float32)
    x[:200] = 0
    q = bm.quantize(x, bm.Affine(8, axis=None, symmetric=False, offset=True, clip="entropy"))
    np.testing.assert_allclose(q.dequantize()[:200], 0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_values_far_from_zero_are_not_clipped_to_the_least_one(rng, kind):
    """A cut through the first filled bin has all of P and of Q there: its divergence is 0."""
    x = (5 + rng.standard_normal((8, 4096))).astype(np.float32)
    q = bm.quantize(x, bm.Affine(4, clip="entropy", **kind))
    assert bm.metrics(x, q).sqnr_db > 20


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_fewer_values_than_levels_have_the_full_range(rng, kind):
    x = rng.laplace(size=(100, 300)).astype(np.float32)
    full = bm.quantize(x, bm.Affine(8, group_size=100, **kind)).scale
    few = bm.quantize(x, bm.Affine(8, group_size=100, clip="entropy", **kind)).scale
    assert (few == full).all()
    whole = bm.quantize(x, bm.Affine(8, clip="entropy", **kind)).scale
    assert (whole < full.max(axis=1, keepdims=True)).any()


def test_a_full_range_is_exact_however_far_its_centre_is():
    x = np.array([-1e-30, 1, 1, 1], np.float32)
    q = bm.quantize(x, bm.Affine(4, symmetric=False, offset=True, clip="entropy"))
    assert q.offset.item() == x[0]


def test_as_many_levels_as_bins_have_the_full_range(rng):
    x = rng.laplace(size=(2, 5000)).astype(np.float32)
    wide = bm.quantize(x, bm.Affine(16, clip="entropy"))
    assert (wide.scale == bm.quantize(x, bm.Affine(16)).scale).all()
