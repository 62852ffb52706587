# SPDX-License-Identifier: MIT
"""ACIQ: its clips by their equations and the published table, its ranges, its bits per channel."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import bitmill as bm
from bitmill.clip import ACIQ, aciq_alpha, aciq_bits
from bitmill.clip.aciq_alpha import DISTRIBUTIONS, _gauss, _laplace, erfcx

TABLE = {
    "laplace": (1.86281686, 2.83068299, 3.89722946, 5.02864014, 6.20476633, 7.41312622, 8.64561999,
                9.89675977),
    "gauss": (1.23990527, 1.71063517, 2.15159274, 2.55913646, 2.93620061, 3.28691422, 3.61511422,
              3.92403549),
}  # fmt: skip
OFFSET = {"symmetric": False, "offset": True}


def modelled_error(t, bits, distribution):
    """What the paper minimizes, for b = 1 or σ = 1."""
    steps = t * t / (3 * 4**bits)
    if distribution == "laplace":
        return 2 * math.exp(-t) + steps
    tails = (t * t + 1) * math.erfc(t / math.sqrt(2))
    return tails - t * math.sqrt(2 / math.pi) * math.exp(-t * t / 2) + steps


# The clip in units of b or σ


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_alphas_are_those_of_the_table(distribution):
    for bits, wanted in enumerate(TABLE[distribution], 1):
        assert aciq_alpha(bits, distribution) == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("bits", range(1, 9))
def test_an_alpha_is_where_the_modelled_error_is_least(distribution, bits):
    t = aciq_alpha(bits, distribution)
    least = modelled_error(t, bits, distribution)
    for other in (t * 0.99, t * 0.9999, t * 1.0001, t * 1.01):
        assert least < modelled_error(other, bits, distribution)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_alphas_grow_with_the_bits_up_to_32(distribution):
    alphas = [aciq_alpha(bits, distribution) for bits in range(1, 33)]
    assert all(a < b for a, b in itertools.pairwise(alphas))
    steps = np.diff(alphas)  # which change smoothly, too
    assert (np.abs(np.diff(steps)) < 0.1).all()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_one_side_is_half_of_two_with_one_bit_more(distribution):
    for bits in range(1, 32):
        one = aciq_alpha(bits, distribution, one_sided=True)
        assert one == pytest.approx(aciq_alpha(bits + 1, distribution), abs=1e-12)
    assert aciq_alpha(32, distribution, one_sided=True) > aciq_alpha(32, distribution)


def test_no_alpha_is_near_a_tie_of_its_rounding():
    """So exp, log and erfc of another C library, a few dozen units off, give the same digits."""
    for bits, exact in itertools.product(range(1, 34), (_laplace, _gauss)):
        value = exact(bits)
        assert abs(value * 1e10 % 1 - 0.5) > 64 * 1e10 * math.ulp(value)


@pytest.mark.parametrize(
    ("x", "wanted"),
    [
        (0.0, 1.0),
        (0.5, 0.6156903441929258748707934),
        (1.0, 0.4275835761558070044107503),
        (2.0, 0.2553956763105057438650886),
        (3.0, 0.1790011511813899504192948),
        (10.0, 0.05614099274382258585751739),
    ],
)
def test_erfcx_at_points_computed_to_25_digits(x, wanted):
    assert erfcx(x) == pytest.approx(wanted, rel=1e-15)


def test_erfcx_obeys_its_bounds_and_has_no_seam():
    """2/(x + √(x² + 2)) < √π·erfcx(x) ≤ 2/(x + √(x² + 4/π)), and it falls."""
    points = np.linspace(0, 12, 4001).tolist()
    values = [erfcx(x) for x in points]
    assert all(a > b for a, b in itertools.pairwise(values))
    for x, value in zip(points, values, strict=True):
        scaled = math.sqrt(math.pi) * value * (x + math.sqrt(x * x + 4 / math.pi)) / 2
        assert scaled <= 1 + 1e-15
        assert math.sqrt(math.pi) * value * (x + math.sqrt(x * x + 2)) / 2 > 1 - 1e-15
    below, above = erfcx(math.nextafter(2.5, 0)), erfcx(2.5)
    assert below == pytest.approx(above, rel=2e-15)


@pytest.mark.parametrize("bits", [0, 33, -1])
def test_widths_beyond_32_bits_are_refused(bits):
    with pytest.raises(ValueError, match=f"bits={bits} must be between 1 and 32"):
        aciq_alpha(bits, "gauss")


def test_other_distributions_are_refused():
    with pytest.raises(ValueError, match="'auto' is not one of: gauss, laplace"):
        aciq_alpha(4, "auto")
    with pytest.raises(ValueError, match="'cauchy' is not one of: auto, gauss, laplace"):
        ACIQ("cauchy")
    with pytest.raises(TypeError, match="distribution=None is a NoneType"):
        ACIQ(None)


# The range of a group


def spans(x, clip, bits=4, **kind):
    """Lower and upper end of the codes of the first group."""
    q = bm.quantize(x, bm.Affine(bits, axis=None, clip=clip, **kind))
    ends = np.array(q.scheme.code_range) - (0 if q.zero_point is None else q.zero_point.item())
    return (ends * float(q.scale.item()) + (0 if q.offset is None else float(q.offset.item()))).T


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_ranges_are_alphas_about_the_mean(rng, distribution, bits):
    x = rng.standard_t(2, 50_000).astype(np.float32) + np.float32(0.3)
    mean = x.mean(dtype=np.float64)
    unit = np.abs(x - mean).mean() if distribution == "laplace" else x.std(dtype=np.float64)
    reach = aciq_alpha(bits, distribution) * unit
    lo, hi = spans(x, ACIQ(distribution), bits, **OFFSET)
    np.testing.assert_allclose([lo, hi], [mean - reach, mean + reach], rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"narrow_range": True}, {"scale_rule": "full_range"}])
def test_symmetric_ranges_are_alphas_about_zero(rng, options):
    x = rng.standard_t(2, 50_000).astype(np.float32) + np.float32(0.3)
    reach = aciq_alpha(4, "gauss") * np.sqrt(np.square(x, dtype=np.float64).mean())
    q = bm.quantize(x, bm.Affine(4, axis=None, clip=ACIQ("gauss"), **options))
    codes = 7.5 if "scale_rule" in options else 7
    assert q.scale.item() * codes == pytest.approx(reach, rel=1e-6)


@pytest.mark.parametrize("kind", [{"symmetric": False}, OFFSET], ids=["asymmetric", "offset"])
@pytest.mark.parametrize("sign", [1, -1])
def test_one_sided_values_are_half_of_a_density(rng, sign, kind):
    """As after a ReLU: the zeros, half of all values, hide nothing of how wide the others are."""
    x = sign * np.maximum(rng.standard_normal(50_000), 0).astype(np.float32)
    lo, hi = sorted(spans(x, ACIQ("gauss"), **kind), key=abs)
    reach = aciq_alpha(4, "gauss", one_sided=True) * np.sqrt(np.square(x[x != 0]).mean())
    assert lo == pytest.approx(0, abs=1e-6)
    assert hi == pytest.approx(sign * reach, rel=1e-5)


def test_zeros_of_pruned_weights_do_not_count(rng):
    x = rng.standard_normal(4096).astype(np.float32)
    pruned = np.where(np.arange(8192) % 2, np.repeat(x, 2), 0).astype(np.float32)
    whole, half = spans(x, ACIQ("laplace"), bits=3), spans(pruned, ACIQ("laplace"), bits=3)
    np.testing.assert_allclose(whole, half, rtol=1e-6)


@pytest.mark.parametrize("kind", [{}, {"symmetric": False}, OFFSET])
def test_the_likelier_family_is_taken(rng, kind):
    for distribution, x in {
        "gauss": rng.standard_normal((20, 2000)),
        "laplace": rng.laplace(size=(20, 2000)),
    }.items():
        x = x.astype(np.float32)
        auto = bm.quantize(x, bm.Affine(4, clip=ACIQ(), **kind))
        named = bm.quantize(x, bm.Affine(4, clip=ACIQ(distribution), **kind))
        assert (auto.scale == named.scale).all()


@pytest.mark.parametrize("kind", [{}, {"symmetric": False}, OFFSET])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_less_is_lost_than_by_the_full_range_of_a_density_with_tails(rng, bits, kind):
    for x in (rng.standard_normal((8, 4096)), rng.laplace(size=(8, 4096))):
        x = x.astype(np.float32)
        clipped, full = (
            bm.metrics(x, bm.quantize(x, bm.Affine(bits, clip=clip, **kind))).sqnr_db
            for clip in ("aciq", "minmax")
        )
        assert clipped > full + 1


# Bits per channel


def bins(widths):
    return (1 << np.asarray(widths)).sum()


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_equal_ranges_have_equal_widths(bits, n):
    for alpha in (0.1, 1e-300, 1e300):
        assert (aciq_bits(np.full(n, alpha), bits) == bits).all()


def test_channels_of_nothing_have_the_least_width():
    assert aciq_bits(np.zeros(5), 4).tolist() == [1] * 5
    assert aciq_bits(np.array([0.0, 1.0]), 4).tolist() == [1, 4]
    assert aciq_bits(np.zeros(0), 4).shape == (0,)


def test_the_quota_of_bins_is_never_exceeded(rng):
    for _ in range(300):
        n, bits = int(rng.integers(1, 60)), int(rng.integers(1, 9))
        widths = aciq_bits(10.0 ** rng.uniform(-8, 8, n), bits)
        assert widths.dtype == np.int64
        assert bins(widths) <= n << bits
        assert ((widths >= 1) & (widths <= 8)).all()


def test_wider_ranges_have_no_fewer_bits(rng):
    for _ in range(100):
        alphas = np.sort(rng.lognormal(0, 2, 30))
        widths = aciq_bits(alphas, 4)
        # What is left of the quota may buy a bit for a narrow channel alone.
        assert (np.diff(widths) >= -1).all()


def test_bins_go_as_alphas_to_two_thirds(rng):
    """Within a factor of 2 either way, as widths are integers."""
    alphas = rng.uniform(1, 30, 200)
    share = alphas ** (2 / 3) / (alphas ** (2 / 3)).sum() * (200 << 5)
    ratio = (1 << aciq_bits(alphas, 5)) / share
    assert ((ratio > 0.5) & (ratio < 2)).all()


def test_no_less_is_lost_by_rounding_down(rng):
    """The noise is at most that of 2^⌊log2⌋ of the continuous solution, which keeps the quota."""
    for _ in range(200):
        alphas = rng.uniform(1, 8, 12)
        share = alphas ** (2 / 3) / (alphas ** (2 / 3)).sum() * (12 << 4)
        floored = np.clip(np.floor(np.log2(share)), 1, 8)

        def noise(widths, alphas=alphas):
            return (alphas**2 / 4.0**widths).sum()

        assert noise(aciq_bits(alphas, 4)) <= noise(floored) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("alphas", "error", "message"),
    [
        ([1.0, -0.5], ValueError, r"alphas\[1\] is -0.5; wanted finite values of at least 0"),
        ([np.nan], ValueError, r"alphas\[0\] is nan; wanted finite"),
        ([[1.0]], ValueError, r"alphas has shape \(1, 1\); wanted one value per channel"),
        ([1, 2], TypeError, "alphas has dtype int64"),
    ],
)
def test_other_alphas_are_refused(alphas, error, message):
    with pytest.raises(error, match=message):
        aciq_bits(np.array(alphas), 4)


def test_widths_beyond_8_bits_are_refused():
    with pytest.raises(ValueError, match="bits=9 must be between 1 and 8"):
        aciq_bits(np.ones(3), 9)
