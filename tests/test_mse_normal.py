# SPDX-License-Identifier: MIT
"""The best uniform grids of the normal distribution, as published and by its moments.

The density is laid on a fine grid of values, their importance. What varies within a cell of width h
adds h²/12 to the error.
"""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest

import bitmill as bm
from bitmill import kernels
from bitmill.reference.sums import Values
from bitmill.reference.sweep import Span, exact_scale

FULL = {  # bits: step, SQNR in dB; Max 1960 has the mid-rise ones
    1: (1.224006, 2.254), 2: (1.048385, 8.256), 3: (0.601824, 13.911), 4: (0.338608, 19.258),
    5: (0.188792, 24.527), 6: (0.104179, 29.818), 7: (0.056887, 35.163), 8: (0.030766, 40.570),
}  # fmt: skip
NARROW = {
    2: (1.224006, 7.208), 3: (0.650770, 13.292), 4: (0.353411, 18.898), 5: (0.193249, 24.326),
    6: (0.105488, 29.709), 7: (0.057261, 35.106), 8: (0.030870, 40.540),
}  # fmt: skip
MID_RISE = {
    1: (1.595769, 3.633802e-1), 2: (0.995687, 1.188461e-1), 3: (0.586019, 3.743966e-2),
    4: (0.335201, 1.154288e-2), 5: (0.188139, 3.495211e-3), 6: (0.104063, 1.040045e-3),
    7: (0.056868, 3.043328e-4), 8: (0.030762, 8.768619e-5),
}  # fmt: skip


def error(step, codes):
    """E(x − step·q)² of the nearest of `codes`, equidistant, by the moments of the cells."""
    inner = [step * (a + b) / 2 for a, b in itertools.pairwise(codes)]
    ends = [-math.inf, *inner, math.inf]
    below = [0.5 * math.erfc(-t / math.sqrt(2)) for t in ends]
    density = [math.exp(-t * t / 2) / math.sqrt(2 * math.pi) for t in ends]
    total = 1.0
    for i, q in enumerate(codes):
        total -= 2 * step * q * (density[i] - density[i + 1])
        total += (step * q) ** 2 * (below[i + 1] - below[i])
    return total


def optimum(codes, near):
    """The step of least error and that error, by thirds."""
    a, b = 0.9 * near, 1.1 * near
    for _ in range(60):
        left, right = a + (b - a) / 3, b - (b - a) / 3
        a, b = (a, right) if error(left, codes) < error(right, codes) else (left, b)
    return a, error(a, codes)


def density(count, reach=8.0):
    """Values, their importance from 0 to 1, and their distance."""
    h = 2 * reach / count
    x = ((np.arange(count) + 0.5) * h - reach).astype(np.float32)
    return x, np.exp(-(x.astype(np.float64) ** 2) / 2).astype(np.float32), h


def found_error(x, w, h, step, codes):
    d = x - step * np.clip(np.rint(x.astype(np.float64) / step), codes[0], codes[-1])
    return np.average(d * d, weights=w.astype(np.float64)) + h * h / 12


def test_moments_give_the_published_tables():
    for table, narrow in ((FULL, 0), (NARROW, 1)):
        for bits, (step, db) in table.items():
            codes = range(-(1 << bits - 1) + narrow, 1 << bits - 1)
            best, least = optimum(codes, step)
            assert best == pytest.approx(step, abs=6e-7)
            assert -10 * math.log10(least) == pytest.approx(db, abs=6e-4)
    for bits, (step, least) in MID_RISE.items():
        codes = [k + 0.5 for k in range(-(1 << bits - 1), 1 << bits - 1)]
        assert optimum(codes, step) == (
            pytest.approx(step, abs=6e-7),
            pytest.approx(least, rel=5e-7),
        )


def check(x, w, h, step, codes, *, near, found_within=1e-6, within=1e-6, step_within=1e-4):
    best, least = optimum(codes, near)
    assert step == pytest.approx(best, rel=step_within)
    assert error(step, codes) == pytest.approx(least, rel=within)
    assert found_error(x, w, h, step, codes) == pytest.approx(least, rel=found_within)


@pytest.mark.parametrize(("table", "rule"), [(FULL, "full_range"), (NARROW, "absmax")])
@pytest.mark.parametrize("bits", range(2, 9))
def test_optimum_of_the_kernel_is_that_of_the_moments(bits, table, rule):
    """To 1e-6, and of 8 bits to 5e-6: that density is coarser, as its optimum takes too long."""
    x, w, h = density(1 << (19 if bits < 8 else 14))
    codes = range(-(1 << bits - 1) + (table is NARROW), 1 << bits - 1)
    weights = np.where(w < 2.0**-40, np.float32(0), w)  # the least that kernels take
    options = {"qmin": codes[0], "qmax": codes[-1], "rule": rule, "exact": True}
    made = kernels.mse_params(x[None], weights, **options)
    near, step = table[bits][0], float(made.scale[0, 0])
    coarse = {"found_within": 2e-3, "within": 5e-6, "step_within": 5e-4} if bits == 8 else {}
    check(x, w, h, step, codes, near=near, **coarse)


def test_optimum_of_the_twin_is_that_of_the_moments_for_one_bit():
    x, w, h = density(1 << 13)
    found = exact_scale(Values.of(x, w), [Span(-1, 0)])
    check(x, w, h, float(found.scale), (-1, 0), near=FULL[1][0], step_within=5e-4)


@pytest.mark.parametrize("bits", range(1, 9))
def test_offset_fit_of_quantiles_is_nearly_the_mid_rise_grid(bits):
    """Alternating fits end in one of many minima: within 0.04 dB of the least one, exact for 1."""
    half = [NormalDist().inv_cdf((k + 0.5) / (1 << 16)) for k in range(1 << 15)]
    x = np.array(half + [-v for v in half], np.float32)
    made = kernels.mse_params(x[None], qmin=0, qmax=(1 << bits) - 1, rule="offset")
    step, offset = float(made.scale[0, 0]), float(made.offset[0, 0])
    assert offset + step * ((1 << bits) - 1) / 2 == pytest.approx(0, abs=step / 5)
    codes = [k + 0.5 for k in range(-(1 << bits - 1), 1 << bits - 1)]
    within = 1e-6 if bits == 1 else 1e-2
    assert error(step, codes) == pytest.approx(MID_RISE[bits][1], rel=within)


@pytest.mark.parametrize("clip", ["mse", "mse-exact"])
@pytest.mark.parametrize(
    ("options", "db", "within"),
    [
        ({"scale_rule": "full_range"}, 19.258, 0.03),
        ({"offset": True, "symmetric": False}, 19.377, 0.05),  # wanted: 0.03
    ],
)
def test_a_million_samples_lose_what_their_distribution_does(rng, clip, options, db, within):
    x = rng.standard_normal(1_000_000, np.float32)
    scheme = bm.Affine(4, axis=None, clip=clip, **options)
    assert bm.metrics(x, bm.quantize(x, scheme)).sqnr_db == pytest.approx(db, abs=within)
