# SPDX-License-Identifier: MIT
"""Which weights an outlier scheme keeps: by magnitude, threshold, column or loss."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from conftest import same_bits
from outlier_schemes import OWN_ROWS, by_hand, kept, values

# Which are kept


def test_largest_magnitudes_are_kept_of_either_sign() -> None:
    q = bm.quantize(np.float32([[1, -9, 2], [8, 0, -7]]), bm.Outliers(bm.Affine(4), count=3))
    assert kept(q) == [1, 3, 5]


@pytest.mark.parametrize("per", ["tensor", "row"])
def test_largest_magnitudes_are_those_of_a_stable_sort(per: str, rng: np.random.Generator) -> None:
    for _ in range(30):
        shape = tuple(int(n) for n in rng.integers(1, 9, 3))
        x = rng.integers(-3, 4, shape).astype(np.float32)  # many ties
        length = x.size if per == "tensor" else shape[-1]
        count = int(rng.integers(0, length + 1))
        found = kept(bm.quantize(x, bm.Outliers(bm.Affine(4), count=count, per=per)))
        parts = x.reshape(-1, length)
        wanted = [i * length + at for i, part in enumerate(parts) for at in by_hand(part, count)]
        assert found == wanted


def test_first_of_equal_magnitudes_are_kept_across_blocks() -> None:
    x = np.ones((3, 200_000), np.float32)
    x[1, 5] = -2
    q = bm.quantize(x, bm.Outliers(bm.Affine(4), count=4))
    assert kept(q) == [0, 1, 2, 200_005]


def test_a_fraction_is_rounded_half_to_even_as_it_is_printed() -> None:
    sizes = {2500: 2, 3500: 4, 499: 0, 501: 1, 1_000_000: 1000}
    for size, count in sizes.items():
        scheme = bm.Outliers(bm.Affine(4), 0.001)
        assert scheme.layout((1, size))[-2].shape == (count,)


def test_threshold_keeps_what_is_beyond_it_and_tells_how_many() -> None:
    x = np.float32([[1, -6.5, 6, 7, 0]])
    q = bm.quantize(x, bm.Outliers(bm.Affine(4), threshold=6))
    assert kept(q) == [1, 3]
    assert q.scheme == bm.Outliers(bm.Affine(4), count=2)


def test_percentile_keeps_magnitudes_above_it() -> None:
    x = values(20, 50)
    q = bm.quantize(x, bm.Outliers(bm.Affine(4), threshold="percentile:97.5"))
    limit = np.percentile(np.abs(x).astype(np.float64), 97.5)
    assert kept(q) == np.flatnonzero(np.abs(x) > limit).tolist()
    assert len(kept(q)) == 25


def test_deviations_are_from_the_median_by_the_median_absolute_deviation() -> None:
    x = np.float32([[10, 11, 12, 13, 14, 30, -8]])  # median 12, deviations 2 1 0 1 2 18 20
    keeps = {3: [5, 6], 6: [5, 6], 6.1: [6], 6.8: []}
    for sigmas, wanted in keeps.items():
        assert kept(bm.quantize(x, bm.Outliers(bm.Affine(4), threshold=f"mad:{sigmas}"))) == wanted


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_deviations_may_be_larger_than_any_float32(dtype: Any) -> None:
    x = np.full((1, 40), -3e38, dtype)
    x[0, ::2] = -2e38
    x[0, 7] = 3e38
    scheme = bm.Outliers(bm.Affine(4), threshold="mad:6", values="float32")
    assert kept(bm.quantize(x, scheme)) == [7]


def test_threshold_need_not_be_a_float32() -> None:
    one, above = np.float32(1), np.nextafter(np.float32(1), np.float32(2))
    x = np.array([[one, above, -above]])
    for limit, wanted in ((1.0, [1, 2]), (1 + 1e-12, [1, 2]), (1 - 1e-12, [0, 1, 2])):
        assert kept(bm.quantize(x, bm.Outliers(bm.Affine(4), threshold=limit))) == wanted
    for limit in (float(above), 3.5e38, 1e300):
        assert kept(bm.quantize(x, bm.Outliers(bm.Affine(4), threshold=limit))) == []


def test_equal_values_with_a_few_others_are_judged_by_their_mean_square() -> None:
    x = np.zeros((1, 1000), np.float32)
    x[0, [3, 500]] = 1, -1
    assert kept(bm.quantize(x, bm.Outliers(bm.Affine(4), threshold="mad:6"))) == [3, 500]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_one_per_cent_of_outliers_on_one_side_are_found_and_none_of_the_bulk(
    seed: int, mean: float
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(mean, 1, (256, 1024)).astype(np.float32)
    at = np.sort(rng.permutation(x.size)[: x.size // 100])
    x.reshape(-1)[at] = rng.uniform(mean + 15, mean + 40, at.size)
    q = bm.quantize(x, bm.Outliers(bm.Affine(4), threshold="mad:6"))
    assert kept(q) == at.tolist()
    for plain in (bm.Affine(4, group_size=64), bm.Affine(5)):  # both take more
        other = bm.quantize(x, plain)
        assert q.nbytes < other.nbytes
        assert bm.metrics(x, q).sqnr_db > bm.metrics(x, other).sqnr_db + 9


def test_columns_are_kept_whole() -> None:
    x = np.float32([[1, 7, 2, -3], [1, 0, 2, -6.5], [1, 1, 6, -1]])
    q = bm.quantize(x, bm.Outliers(bm.Affine(8), mode="column"))
    assert kept(q) == [1, 3, 5, 7, 9, 11]
    assert q.arrays["outlier_values"].tolist() == [[7, -3], [0, -6.5], [1, -1]]
    assert q.scheme == bm.Outliers(bm.Affine(8), mode="column", count=2)
    assert q.arrays["outlier_steps"].tolist() == [1, 1]


def test_columns_run_through_all_rows_of_a_batch() -> None:
    x = values(3, 4, 50)
    q = bm.quantize(x, bm.Outliers(bm.Affine(8), 0.1, mode="column", values="float32"))
    wanted = np.sort(np.argsort(-np.abs(x).max(axis=(0, 1)), kind="stable")[:5])
    assert q.arrays["outlier_values"].shape == (3, 4, 5)
    same_bits(q.arrays["outlier_values"], x[..., wanted])


# By loss


def test_loss_gives_outliers_to_the_row_that_gains_most() -> None:
    x = np.zeros((2, 64), np.float32)
    x[0, :8] = 100  # larger, but on the grid beside each other
    x[1] = np.linspace(-1, 1, 64)
    x[1, 9] = 50
    plain = bm.quantize(x, bm.Outliers(bm.Affine(4), count=1))
    better = bm.quantize(x, bm.Outliers(bm.Affine(4), count=1, by="loss"))
    assert (kept(plain), kept(better)) == ([0], [64 + 9])
    assert bm.metrics(x, better).mse < bm.metrics(x, plain).mse / 10


@pytest.mark.parametrize("inner", OWN_ROWS, ids=lambda inner: inner.describe())
def test_loss_is_never_worse_than_magnitude(inner: Any) -> None:
    for seed, fraction in itertools.product(range(4), (0.002, 0.01, 0.05, 0.3)):
        x = values(40, 128, seed=seed)
        x *= np.random.default_rng(seed).lognormal(0, 1, (40, 1)).astype(np.float32)
        plain, better = (
            bm.metrics(x, bm.quantize(x, bm.Outliers(inner, fraction, by=by))).mse
            for by in ("magnitude", "loss")
        )
        assert better <= plain


def test_loss_is_the_least_of_all_shares_of_few_outliers() -> None:
    """Enumerated: every way to give 3 outliers to 3 rows, each its largest."""
    x = values(3, 40, seed=2)
    inner = bm.Affine(3)

    def lost(shares: tuple[int, ...]) -> float:
        rest, y = x.copy(), np.empty_like(x)
        at = [np.argsort(-np.abs(x[i]), kind="stable")[:n] for i, n in enumerate(shares)]
        for i, places in enumerate(at):
            rest[i, places] = 0
        y[...] = bm.fake_quantize(rest, inner)
        for i, places in enumerate(at):
            y[i, places] = x[i, places].astype(np.float16)
        return bm.metrics(x, y).mse

    shares = [s for s in itertools.product(range(4), repeat=3) if sum(s) == 3]
    q = bm.quantize(x, bm.Outliers(inner, count=3, by="loss"))
    assert bm.metrics(x, q).mse == min(map(lost, shares))


def test_loss_is_weighed_by_importance() -> None:
    """Enumerated: the one outlier is that of the row where it removes the most of Σ w·(x − x̂)²."""
    inner = bm.Affine(3, clip="mse")
    for seed in range(8):
        x = values(4, 40, seed=seed)
        importance = np.random.default_rng(seed).lognormal(0, 3, x.shape)

        def lost(y: Any, x: Any = x, importance: Any = importance) -> float:
            return float((importance * (x.astype(np.float64) - y) ** 2).sum())

        tried = []
        for row in range(4):
            at = row, np.argmax(np.abs(x[row]))
            rest = x.copy()
            rest[at] = 0
            y = np.asarray(bm.quantize(rest, inner, importance=importance)).copy()
            y[at] = x[at].astype(np.float16)
            tried.append(lost(y))
        scheme = bm.Outliers(inner, count=1, by="loss")
        found = lost(np.asarray(bm.quantize(x, scheme, importance=importance)))
        assert found == pytest.approx(min(tried), rel=1e-12)
