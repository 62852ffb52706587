# SPDX-License-Identifier: MIT
"""Lloyd-Max quantizers beside published tables, and their own equations."""

from __future__ import annotations

import math

import numpy as np
import pytest

import bitmill as bm

MSE = {
    "gauss": [
        3.6338023e-1, 1.1748185e-1, 3.4547761e-2, 9.5010080e-3, 2.5046684e-3, 6.4423967e-4,
        1.6347823e-4, 4.1185083e-5,
    ],
    "laplace": [
        0.5, 0.17619488, 0.054475988, 0.015372527, 0.00410218, 0.0010609523, 2.6987377e-4,
        6.8061740e-5,
    ],
}  # fmt: skip
ENTROPY = [1.0, 1.9111, 2.8249, 3.7653, 4.7298, 5.7101, 6.6996, 7.6941]
LEVELS = {
    ("gauss", 1): [0.797885],
    ("gauss", 2): [0.452780, 1.510418],
    ("gauss", 3): [0.245094, 0.756005, 1.343909, 2.151946],
    ("gauss", 4): [
        0.128395, 0.388048, 0.656759, 0.942340, 1.256231, 1.618046, 2.069017, 2.732590,
    ],
    ("gauss", 5): [
        0.065890, 0.198052, 0.331378, 0.466700, 0.604934, 0.747136, 0.894565, 1.048783, 1.211804,
        1.386340, 1.576228, 1.787233, 2.028728, 2.317739, 2.691120, 3.260732,
    ],
    ("laplace", 2): [0.419756, 1.833969],
    ("laplace", 3): [0.233401, 0.832962, 1.672473, 3.086687],
}  # fmt: skip
THRESHOLDS = {
    2: [0.981599],
    3: [0.500550, 1.049957, 1.747927],
    4: [0.258222, 0.522404, 0.799550, 1.099286, 1.437139, 1.843532, 2.400803],
}
BITS = range(1, 9)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("distribution", MSE)
def test_error_is_that_of_the_tables(distribution, bits):
    found = bm.lloyd_max(distribution, bits)
    assert found.mse == pytest.approx(MSE[distribution][bits - 1], rel=1e-6)
    if distribution == "gauss":
        assert found.entropy == pytest.approx(ENTROPY[bits - 1], abs=6e-5)


@pytest.mark.parametrize(("distribution", "bits"), LEVELS)
def test_levels_are_those_of_the_tables(distribution, bits):
    levels = bm.lloyd_max(distribution, bits).levels
    np.testing.assert_allclose(levels[1 << (bits - 1) :], LEVELS[distribution, bits], atol=6e-7)


@pytest.mark.parametrize("bits", THRESHOLDS)
def test_thresholds_are_those_of_the_tables(bits):
    found = bm.lloyd_max("gauss", bits).thresholds
    np.testing.assert_allclose(found[1 << (bits - 1) :], THRESHOLDS[bits], atol=6e-7)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("distribution", MSE)
def test_levels_are_symmetric_and_their_thresholds_half_way(distribution, bits):
    levels, thresholds, *_ = bm.lloyd_max(distribution, bits)
    assert levels.shape == (1 << bits,)
    assert (levels == -levels[::-1]).all()
    assert (np.diff(levels) > 0).all()
    assert (thresholds == (levels[1:] + levels[:-1]) / 2).all()


def test_two_levels_are_the_means_of_the_halves():
    assert bm.lloyd_max("gauss", 1).levels[1] == pytest.approx(math.sqrt(2 / math.pi), rel=1e-14)
    assert bm.lloyd_max("laplace", 1).levels[1] == pytest.approx(math.sqrt(1 / 2), rel=1e-14)


def test_levels_of_a_sample_are_near():
    x = np.random.default_rng(0).standard_normal(1 << 18).astype(np.float32)
    book = bm.kmeans1d(x, 16)
    found = bm.lloyd_max("gauss", 4)
    np.testing.assert_allclose(book.centroids, found.levels, atol=0.03)
    assert 10 * math.log10(x.size / book.inertia) == pytest.approx(20.222, abs=0.03)


def test_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match="distribution='cauchy' is not one of: gauss, laplace"):
        bm.lloyd_max("cauchy", 4)
    with pytest.raises(ValueError, match="bits=9 must be between 1 and 8"):
        bm.lloyd_max("gauss", 9)
