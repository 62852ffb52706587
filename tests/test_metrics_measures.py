# SPDX-License-Identifier: MIT
"""Each measure beside a plain computation in NumPy: of tensors and of every row and channel."""

from __future__ import annotations

import json
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill import _dtypes

SCHEMES = [
    bm.Affine(4),
    bm.Affine(4, group_size=32),
    bm.Affine(2, axis=None),
    bm.Affine(3, symmetric=False, clip="meanstd:1.5"),
    bm.Affine(4, symmetric=False, offset=True, group_size=50, clip="percentile:97"),
    bm.Affine(8, axis=0),
    bm.Affine(16, group_size=32, scales="float16"),
    bm.Affine(4, group_size=32, scales=bm.Scales("float16", super_block=64)),
]
AXES: list[int | str] = ["row", 0, 1, 2, -1]


def name_of(scheme: bm.Affine) -> str:
    return repr(scheme).replace(" ", "")


def values(*shape: int) -> np.ndarray:
    """Normal values, a few of them large, and a row of zeros."""
    x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    x.reshape(-1)[::101] *= 9
    x.reshape(-1, shape[-1])[2] = 0
    return x


def plain(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """The measures of one tensor, by their formulas."""
    a, b = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        sqnr = 10 * np.log10((a**2).sum() / ((a - b) ** 2).sum())
        cosine = (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
        relative = np.linalg.norm(a - b) / np.linalg.norm(a)
    exact = np.array_equal(a, b)
    return {
        "mse": ((a - b) ** 2).mean(),
        "rmse": np.sqrt(((a - b) ** 2).mean()),
        "sqnr_db": math.inf if exact else sqnr,
        "cosine": 1.0 if exact and not a.any() else 0.0 if np.isnan(cosine) else cosine,
        "relative_error": 0.0 if exact else relative,
        "max_abs": np.abs(a - b).max(),
    }


def entropy(codes: np.ndarray) -> float:
    """Bits per code."""
    shares = np.unique(codes, return_counts=True)[1] / codes.size
    return float(-(shares * np.log2(shares)).sum())


def channels(x: np.ndarray, axis: int | str) -> list[np.ndarray]:
    """What belongs to each row or channel."""
    return list(x.reshape(-1, x.shape[-1])) if axis == "row" else list(np.moveaxis(x, axis, 0))


# Errors


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_measures_of_a_tensor_are_those_of_plain_numpy(dtype: str) -> None:
    x = values(4, 5, 70).astype(_dtypes.dtype(dtype))
    y = bm.quantize(x, bm.Affine(4)).dequantize()
    found = bm.metrics(x, y)
    for name, wanted in plain(x.astype(np.float32), y).items():
        assert getattr(found, name) == pytest.approx(wanted, rel=1e-12), name


@pytest.mark.parametrize("axis", AXES)
def test_measures_of_channels_are_those_of_plain_numpy(axis: int | str) -> None:
    x = values(4, 5, 70)
    y = bm.quantize(x, bm.Affine(4)).dequantize()
    found = bm.metrics(x, y, axis=axis)
    pairs = zip(channels(x, axis), channels(y, axis), strict=True)
    wanted = [plain(a, b) for a, b in pairs]
    assert found.shape == (x.shape[:-1] if axis == "row" else (x.shape[axis],))  # type: ignore[index]
    for name in wanted[0]:
        measured = getattr(found, name).reshape(-1)
        assert measured == pytest.approx([one[name] for one in wanted], rel=1e-12), name


@pytest.mark.parametrize("axis", AXES)
def test_a_channel_has_the_bits_of_the_same_values_alone(axis: int | str) -> None:
    x = values(3, 2, 5000)
    y = x + np.float32(0.01)
    found = bm.metrics(x, y, axis=axis)
    names = ("mse", "sqnr_db", "cosine", "max_abs")
    measured = np.stack([getattr(found, name).reshape(-1) for name in names], axis=1)
    pairs = zip(channels(x, axis), channels(y, axis), strict=True)
    for (a, b), one in list(zip(pairs, measured.tolist(), strict=True))[:7]:
        assert bm.Metrics(*one) == bm.metrics(a.reshape(1, -1), b.reshape(1, -1))


def test_one_dimension_is_one_row() -> None:
    x, y = np.float32([1, 2, 3]), np.float32([1, 2, 5])
    found = bm.metrics(x, y, axis="row")
    assert (found.shape, found.mse.tolist(), found.max_at.tolist()) == ((1,), [4 / 3], [[2]])
    assert bm.metrics(x, y, axis=0).mse.tolist() == [0, 0, 4]


def test_relative_error_and_its_limits() -> None:
    ones, zeros = np.ones((1, 4), np.float32), np.zeros((1, 4), np.float32)
    assert bm.metrics(ones, ones * np.float32(0.9)).relative_error == pytest.approx(0.1, rel=1e-6)
    assert [bm.metrics(x, x).relative_error for x in (ones, zeros)] == [0.0, 0.0]
    assert bm.metrics(zeros, ones).relative_error == math.inf


# Where the largest error is


@pytest.mark.parametrize("at", [(0, 0, 0), (2, 4, 69), (1, 3, 20)])
def test_place_of_the_largest_error_is_its_index(at: tuple[int, ...]) -> None:
    x = values(3, 5, 70)
    y = x + np.float32(0.25)
    y[at] = x[at] - 5
    assert bm.metrics(x, y).max_at == at


def test_first_of_equal_errors_is_told() -> None:
    x, y = np.zeros((4, 3), np.float32), np.zeros((4, 3), np.float32)
    y[1, 2], y[2, 0], y[1, 1] = 7, -7, -7
    assert bm.metrics(x, y).max_at == (1, 1)
    assert bm.metrics(x, y, axis="row").max_at.tolist() == [[-1, -1], [1, 1], [2, 0], [-1, -1]]
    assert bm.metrics(x, y, axis=1).max_at.tolist() == [[2, 0], [1, 1], [1, 2]]


def test_place_in_a_row_longer_than_a_block() -> None:
    x = np.zeros((2, 600_000), np.float32)
    y = x.copy()
    y[1, [299_999, 555_555]] = 1
    assert bm.metrics(x, y).max_at == (1, 299_999)
    assert bm.metrics(x, y, axis="row").max_at.tolist() == [[-1, -1], [1, 299_999]]


def test_place_in_more_rows_than_are_summed_at_a_time() -> None:
    x = np.zeros((70_001, 3), np.float32)
    y = x.copy()
    y[69_999, 1] = 2
    assert bm.metrics(x, y).max_at == (69_999, 1)


def test_nothing_lost_has_no_place() -> None:
    x = values(3, 5)
    assert bm.metrics(x, x).max_at is None


@pytest.mark.parametrize("axis", AXES)
def test_places_of_channels_have_their_largest_errors(axis: int | str) -> None:
    x = values(4, 5, 70)
    y = bm.quantize(x, bm.Affine(3)).dequantize()
    found = bm.metrics(x, y, axis=axis)
    for i, at in enumerate(found.max_at.reshape(-1, 3).tolist()):
        lost = float(found.max_abs.reshape(-1)[i])
        if lost == 0:
            assert at == [-1, -1, -1]
            continue
        own = np.ravel_multi_index(at[:2], (4, 5)) if axis == "row" else at[axis]  # type: ignore[index]
        assert (own, abs(float(x[tuple(at)]) - float(y[tuple(at)]))) == (i, lost)


# Codes


@pytest.mark.parametrize("scheme", SCHEMES, ids=name_of)
def test_codes_of_a_tensor_are_counted(scheme: bm.Affine) -> None:
    x = values(6, 64)
    q = bm.quantize(x, scheme)
    found = bm.metrics(x, q)
    assert found.levels_used == len(np.unique(q.codes))
    assert found.code_entropy == pytest.approx(entropy(q.codes), rel=1e-12, abs=1e-12)
    assert found.bits_per_weight == q.bits_per_weight()
    health = scheme.health(x, q.arrays)
    assert found.clip_rate == health["clipped"] / x.size
    assert found.zero_groups == health["zero_groups"]


@pytest.mark.parametrize("axis", ["row", 0, 1])
@pytest.mark.parametrize("scheme", SCHEMES, ids=name_of)
def test_codes_of_channels_are_counted(scheme: bm.Affine, axis: int | str) -> None:
    x = values(6, 64)
    q = bm.quantize(x, scheme)
    found = bm.metrics(x, q, axis=axis)
    each = channels(q.codes, axis)
    assert found.levels_used is not None
    assert found.code_entropy is not None
    assert found.levels_used.tolist() == [len(np.unique(codes)) for codes in each]
    assert found.code_entropy == pytest.approx([entropy(c) for c in each], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("axis", ["row", 0])
@pytest.mark.parametrize("scheme", SCHEMES, ids=name_of)
def test_counts_of_rows_add_up_to_those_of_the_tensor(scheme: bm.Affine, axis: int | str) -> None:
    x = values(6, 64)
    q = bm.quantize(x, scheme)
    found, whole = bm.metrics(x, q, axis=axis), bm.metrics(x, q)
    if scheme.axis is None:  # a row does not have a group of its own
        assert found.clip_rate is None
        assert found.zero_groups is None
        assert found.underflowed_scales is None
        assert found.bits_per_weight is None
        return
    assert found.clip_rate is not None
    assert found.zero_groups is not None
    assert found.bits_per_weight is not None
    assert found.clip_rate.mean() == pytest.approx(whole.clip_rate)
    assert found.zero_groups.sum() == whole.zero_groups
    assert found.bits_per_weight.mean() == pytest.approx(whole.bits_per_weight)


def test_clipped_weights_are_told_row_by_row() -> None:
    x = np.zeros((3, 100), np.float32)
    x[:, ::2] = 1
    x[:, 1::2] = -1
    x[1, :7] = 50
    q = bm.quantize(x, bm.Affine(4, clip="percentile:90"))
    found = bm.metrics(x, q, axis="row").clip_rate
    assert found is not None
    assert found.tolist() == [0.0, 0.07, 0.0]


def test_rows_of_higher_rank_are_told_one_by_one() -> None:
    x = values(2, 3, 40)
    found = bm.metrics(x, bm.quantize(x, bm.Affine(4, group_size=10)), axis="row")
    assert found.zero_groups is not None
    assert found.zero_groups.tolist() == [[0, 0, 4], [0, 0, 0]]


def test_scales_that_underflow_are_counted() -> None:
    x = np.ones((4, 32), np.float32)
    x[1:3] = 1e-9
    q = bm.quantize(x, bm.Affine(8, scales="float16"))
    assert bm.metrics(x, q).underflowed_scales == q.health["underflowed"] == 2
    found = bm.metrics(x, q, axis=0).underflowed_scales
    assert found is not None
    assert found.tolist() == [0, 1, 1, 0]


def test_arrays_tell_nothing_of_codes() -> None:
    x = values(4, 30)
    found = bm.metrics(x, x)
    told = ("clip_rate", "levels_used", "code_entropy", "zero_groups", "underflowed_scales")
    assert all(getattr(found, name) is None for name in (*told, "bits_per_weight"))


def test_all_codes_used_evenly_have_the_entropy_of_their_width() -> None:
    x = np.tile(np.arange(-8, 8, dtype=np.float32), (3, 10))
    found = bm.metrics(x, bm.quantize(x, bm.Affine(4, scale_rule="signed_max")))
    assert (found.levels_used, found.code_entropy, found.mse) == (16, 4.0, 0.0)


# Outputs


@pytest.mark.parametrize("tokens", [1, 20, 500])  # fewer than columns, and more
def test_output_error_is_that_of_the_outputs(tokens: int) -> None:
    x, a = values(6, 70), np.random.default_rng(1).standard_normal((tokens, 70))
    q = bm.quantize(x, bm.Affine(4))
    lost = a @ (x.astype(np.float64) - q.dequantize()).T
    kept = a @ x.astype(np.float64).T
    found = bm.metrics(x, q, activations=a)
    assert found.output_error == pytest.approx((lost**2).sum(), rel=1e-9)
    assert found.output_sqnr_db == pytest.approx(
        10 * np.log10((kept**2).sum() / (lost**2).sum()), rel=1e-9
    )
    rows = bm.metrics(x, q, activations=a.reshape(1, tokens, 70), axis="row")
    assert rows.output_error == pytest.approx((lost**2).sum(axis=0), rel=1e-9)


def test_hessian_gives_the_error_of_its_activations() -> None:
    x, a = values(6, 70), np.random.default_rng(1).standard_normal((500, 70))
    y = x + np.float32(0.1)
    given, made = bm.metrics(x, y, activations=a), bm.metrics(x, y, hessian=a.T @ a)
    assert made.output_error == pytest.approx(given.output_error, rel=1e-9)
    assert made.output_sqnr_db == pytest.approx(given.output_sqnr_db, rel=1e-9)


def test_unit_hessian_gives_the_squared_error() -> None:
    x = values(4, 5, 70)
    y = x + np.float32(0.1)
    found, each = bm.metrics(x, y, hessian=np.eye(70)), bm.metrics(x, y, axis=1, hessian=np.eye(70))
    assert found.output_error == pytest.approx(found.mse * x.size, rel=1e-12)
    assert found.output_sqnr_db == pytest.approx(found.sqnr_db, rel=1e-12)
    assert each.output_error == pytest.approx(each.mse * 4 * 70, rel=1e-12)


def test_exact_weights_have_exact_outputs() -> None:
    x = values(6, 70)
    found = bm.metrics(x, x, hessian=np.eye(70))
    assert (found.output_error, found.output_sqnr_db) == (0.0, math.inf)
    unseen = bm.metrics(x, x + np.float32(1), activations=np.zeros((3, 70)))
    assert (unseen.output_error, unseen.output_sqnr_db) == (0.0, math.inf)


def test_error_alone_may_show_that_a_hessian_is_indefinite() -> None:
    x, y = np.float32([[3, 0], [0, 0]]), np.float32([[3, 0], [0, 1]])
    with pytest.raises(ValueError, match=r"w·H·wᵀ is -1 for row 1 of the error"):
        bm.metrics(x, y, hessian=np.diag([1.0, -1.0]))


def test_only_the_symmetric_part_of_a_hessian_matters() -> None:
    x = values(6, 70)
    a = np.random.default_rng(1).standard_normal((90, 70))
    h, y = a.T @ a, x + np.float32(0.1)
    skew = np.triu(h, 1)
    wanted, found = bm.metrics(x, y, hessian=h), bm.metrics(x, y, hessian=h + skew - skew.T)
    assert found.output_error == pytest.approx(wanted.output_error, rel=1e-9)


def test_rounding_makes_no_hessian_indefinite() -> None:
    """Errors that no activation sees: their true sum is 0."""
    rng = np.random.default_rng(1)
    a, d = rng.standard_normal((3, 40)), np.zeros((200, 40))
    a[:, 1::2] = a[:, ::2]
    d[:, ::2] = rng.integers(-4, 5, (200, 20)) / 4
    d[:, 1::2] = -d[:, ::2]
    x = np.zeros((200, 40), np.float32)
    found = bm.metrics(x, d.astype(np.float32), hessian=a.T @ a, axis="row")
    assert found.output_error is not None
    assert (found.output_error >= 0).all()
    assert found.output_error.max() < 1e-12


def test_outputs_of_no_columns_are_exact() -> None:
    x = np.zeros((3, 0), np.float32)
    for options in ({"activations": np.ones((5, 0))}, {"hessian": np.ones((0, 0))}):
        found = bm.metrics(x, x, **options)
        assert (found.output_error, found.output_sqnr_db) == (0.0, math.inf)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activations": np.ones((3, 5)), "hessian": np.eye(5)}, "exclude each other"),
        ({"activations": np.ones((3, 4))}, r"activations has shape \(3, 4\); wanted \(..., 5\)"),
        ({"hessian": np.ones((5, 4))}, r"hessian has shape \(5, 4\); wanted \(5, 5\)"),
        ({"activations": np.full((1, 5), np.nan)}, "activations has 5 values"),
        ({"hessian": np.eye(5), "axis": 1}, "axis=1 is that of the inputs"),
        ({"hessian": -np.eye(5)}, r"not positive semidefinite: w·H·wᵀ is -5 for row 0 of x"),
        ({"hessian": 1e308 * np.eye(5)}, "hessian: the squares of outputs overflow float64"),
        ({"activations": np.full((2, 5), 1e200)}, "activations: the squares of outputs overflow"),
        ({"activations": np.full((9, 5), 1e200)}, "activations: the squares of outputs overflow"),
        ({"axis": "column"}, "axis='column' is not 'row', None or an int"),
        ({"axis": 2}, "axis=2 is out of range for 2 dimensions"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    x = np.ones((2, 5), np.float32)
    with pytest.raises(ValueError, match=message):
        bm.metrics(x, x, **options)


@pytest.mark.parametrize("axis", [1.0, True])
def test_axis_that_is_no_int_is_a_type_error(axis: Any) -> None:
    with pytest.raises(TypeError, match="axis takes an int"):
        bm.metrics(np.ones((2, 2), np.float32), np.ones((2, 2), np.float32), axis=axis)


@pytest.mark.parametrize("axis", ["row", 0, 1])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_value_that_is_not_finite_is_refused_in_channels_too(bad: float, axis: int | str) -> None:
    x, y = np.ones((3, 4), np.float32), np.ones((3, 4), np.float32)
    y[1, 2] = bad
    with pytest.raises(ValueError, match=r"q\.flat\[6\]"):
        bm.metrics(x, y, axis=axis)


# Records


@pytest.mark.parametrize("axis", [None, "row", 0])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
def test_no_values_lose_nothing(shape: tuple[int, ...], axis: Any) -> None:
    x = np.zeros(shape, np.float32)
    found: Any = bm.metrics(x, bm.quantize(x, bm.Affine(4)), axis=axis)
    for name, limit in (("mse", 0), ("sqnr_db", math.inf), ("cosine", 1), ("levels_used", 0)):
        assert np.all(np.asarray(getattr(found, name)) == limit)


def test_dict_holds_what_is_known_and_goes_through_json() -> None:
    x = values(4, 30)
    q = bm.quantize(x, bm.Affine(4))
    told = bm.metrics(x, q, hessian=np.eye(30)).to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)).keys() == told.keys()
    assert told["max_at"] == list(bm.metrics(x, q).max_at or ())
    assert {"levels_used", "output_error"} < told.keys()
    assert bm.metrics(x, x).to_dict() == {
        "mse": 0.0,
        "sqnr_db": None,
        "cosine": pytest.approx(1),
        "max_abs": 0.0,
    }
    rows = bm.metrics(x, q, axis="row").to_dict()
    assert len(json.loads(json.dumps(rows, allow_nan=False))["sqnr_db"]) == 4


def test_bfloat16_scales_underflow_by_their_bits() -> None:
    x = np.full((2, 16), 1e-44, np.float32).astype(ml_dtypes.bfloat16)
    x[0] = 1
    q = bm.quantize(x, bm.Affine(8, scales="bfloat16"))
    assert bm.metrics(x, q).underflowed_scales == q.health.get("underflowed", 0)
