# SPDX-License-Identifier: MIT
"""The counts of a report: groups of zeros, clipped weights, scales, values that are not finite."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import Health, pieces
from bitmill.schemes import counts
from checkpoints import make, weight

BFLOAT16 = ml_dtypes.bfloat16

CUTS: list[dict[str, Any]] = [
    {},
    {"group_size": 32},
    {"group_size": 7},  # the last group of a row is short
    {"group_size": 1000},
    {"axis": None},
    {"axis": 0},
    {"axis": 1},
    {"axis": -1},
]
KINDS: list[dict[str, Any]] = [
    {},
    {"scale_rule": "full_range"},
    {"scale_rule": "signed_max"},
    {"narrow_range": True},
    {"symmetric": False},
    {"symmetric": False, "offset": True},
]
SCHEMES = [
    bm.Affine(bits, **cut, **kind) for bits, cut, kind in itertools.product((2, 4, 8), CUTS, KINDS)
]


def name_of(scheme: bm.Affine) -> str:
    """What a test of this scheme is called."""
    return repr(scheme).replace(" ", "")


def groups(x: np.ndarray, scheme: bm.Affine) -> list[tuple[Any, Any]]:
    """Where in `x` each group lies, and where in the parameters its own, one after the other."""
    if scheme.axis is None:
        return [(..., (0,) * x.ndim)]
    if scheme.axis != "row":
        axis = scheme.axis % x.ndim
        places = [tuple(i if k == axis else 0 for k in range(x.ndim)) for i in range(x.shape[axis])]
        return [((slice(None),) * axis + (place[axis],), place) for place in places]
    size = scheme.group_size or x.shape[-1]
    starts = range(0, x.shape[-1], size)
    return [
        ((*row, slice(start, start + size)), (*row, start // size))
        for row in np.ndindex(x.shape[:-1])
        for start in starts
    ]


def brute_force(x: np.ndarray, arrays: dict[str, np.ndarray], scheme: bm.Affine) -> int:
    """Clipped values, counted group by group by the formula of the codes."""
    qmin, qmax = scheme.code_range
    total = 0
    for where, at in groups(x, scheme):
        values = x[where].astype(np.float32)
        if "offset" in arrays:
            if values.min() == values.max():
                continue  # codes 0 by definition
            values = values - arrays["offset"][at].astype(np.float32)
        codes = np.rint(values / arrays["scale"][at].astype(np.float32)).astype(np.float64)
        if "zero_point" in arrays:
            codes += int(arrays["zero_point"][at])
        total += int(((codes < qmin) | (codes > qmax)).sum())
    return total


def with_outliers(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """Normal values, some of them large, a row of zeros and one of equal values."""
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    x.reshape(-1)[::37] *= 20
    x[1] = 0
    x[2] = 123.4567
    return x.astype(dtype)


# Clipped weights


@pytest.mark.parametrize("scheme", SCHEMES, ids=name_of)
def test_clipped_is_what_brute_force_counts(scheme: bm.Affine) -> None:
    for x in (with_outliers(6, 75), with_outliers(4, 3, 40)):
        q = bm.quantize(x, scheme)
        health = scheme.health(x, q.arrays)
        assert health["clipped"] == brute_force(x, q.arrays, scheme)


@pytest.mark.parametrize("scheme", SCHEMES, ids=name_of)
def test_clipped_counts_what_small_scales_cut_off(scheme: bm.Affine) -> None:
    x = with_outliers(6, 75)
    made = scheme.fit(x)
    made = made._replace(scale=(made.scale * np.float32(0.37)).astype(made.scale.dtype))
    arrays = scheme.encode(x, made)
    clipped = scheme.health(x, arrays)["clipped"]
    assert clipped == brute_force(x, arrays, scheme)
    assert clipped > 0


@pytest.mark.parametrize("scales", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, BFLOAT16, np.float64])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())) or "sym")
def test_clipped_goes_by_the_scales_as_they_are_stored(
    scales: str, dtype: Any, kind: dict[str, Any]
) -> None:
    scheme = bm.Affine(8, group_size=32, scales=scales, **kind)
    x = with_outliers(8, 96, dtype=dtype)
    q = bm.quantize(x, scheme)
    assert scheme.health(x, q.arrays)["clipped"] == brute_force(x, q.arrays, scheme)


def test_half_a_code_beyond_the_last_is_clipped() -> None:
    scheme = bm.Affine(4)
    x = np.array([[7.0, 7.5, 7.50001, -8.5, -8.50001, 8, 0, -8]], np.float32)
    made = scheme.fit(x)._replace(scale=np.ones((1, 1), np.float32))
    health = scheme.health(x, scheme.encode(x, made))
    assert health["clipped"] == 4  # 7.5, 7.50001 and 8 become 8; −8.5 becomes −8, −8.50001 −9


def test_absmax_clips_nothing_and_full_range_may() -> None:
    x = weight(64, 256, dtype=np.float32)
    for rule, some in (("absmax", False), ("full_range", True)):
        scheme = bm.Affine(4, group_size=32, scale_rule=rule)
        clipped = scheme.health(x, bm.quantize(x, scheme).arrays)["clipped"]
        assert (clipped > 0) == some


def test_equal_values_with_an_offset_are_not_clipped() -> None:
    scheme = bm.Affine(4, symmetric=False, offset=True, scales="bfloat16")
    x = np.full((2, 32), 10000.7, np.float32)  # 16.7 above its bfloat16 offset
    assert scheme.health(x, bm.quantize(x, scheme).arrays)["clipped"] == 0


def test_quotient_beyond_float32_is_clipped() -> None:
    scheme = bm.Affine(8)
    x = np.array([[1e30, -1e30, 0, 1]], np.float32)
    made = scheme.fit(x)._replace(scale=np.full((1, 1), 1e-30, np.float32))
    assert scheme.health(x, scheme.encode(x, made))["clipped"] == 3


def test_counting_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = bm.Affine(3, group_size=7, symmetric=False)
    x = with_outliers(6, 75)
    made = scheme.fit(x)
    arrays = scheme.encode(x, made._replace(scale=made.scale / 3))
    whole = scheme.health(x, arrays)
    monkeypatch.setattr(counts, "_CHUNK", 11)
    assert scheme.health(x, arrays) == whole


@pytest.mark.parametrize("scheme", [bm.Affine(4), bm.Affine(8, symmetric=False)], ids=name_of)
def test_nothing_is_counted_where_nothing_is(scheme: bm.Affine) -> None:
    x = np.empty((0, 64), np.float32)
    health = scheme.health(x, bm.quantize(x, scheme).arrays)
    assert health == {"zero_groups": 0, "clipped": 0, "negative_scales": 0}


# Groups of zeros


@pytest.mark.parametrize("scheme", SCHEMES, ids=name_of)
def test_zero_groups_are_what_brute_force_counts(scheme: bm.Affine) -> None:
    x = with_outliers(6, 75)
    x[:, 4] = 0
    x[3, 32:64] = -0.0
    x[4] = 0.5
    wanted = sum(not x[where].any() for where, _ in groups(x, scheme))
    assert scheme.health(x, bm.quantize(x, scheme).arrays)["zero_groups"] == wanted


@pytest.mark.parametrize("dtype", [np.float32, np.float16, BFLOAT16, np.float64])
def test_group_of_subnormals_or_with_scale_1_is_no_group_of_zeros(dtype: Any) -> None:
    scheme = bm.Affine(8, scales="float16")
    x = np.zeros((4, 32), dtype)
    x[0, 3] = np.ldexp(1.0, -24) if dtype == np.float16 else np.ldexp(1.0, -130)
    x[1] = 127
    x[2] = -0.0
    q = bm.quantize(x, scheme)
    assert q.scale[1, 0] == 1
    assert scheme.health(x, q.arrays)["zero_groups"] == 2


# Scales


@pytest.mark.parametrize("scales", ["float32", "float16", "bfloat16"])
def test_underflowed_scales_are_counted(tmp_path: Path, scales: str) -> None:
    x = weight(8, 64, dtype=np.float32)
    x[0], x[1, 32:], x[2] = 1e-45, -1e-45, 0
    src = make(tmp_path / "src", {"a.weight": x}, config=None)
    scheme = bm.Affine(4, group_size=32, scales=scales)
    (tensor,) = bm.quantize_checkpoint(src, tmp_path / "dst", scheme).tensors
    assert tensor.health == Health(underflowed_scales=3, zero_groups=2)


def test_negative_scales_are_counted(tmp_path: Path) -> None:
    x = np.abs(weight(4, 64, dtype=np.float32))
    x[1] *= -1
    x[2, 5] = -9
    x[3] = 0
    src = make(tmp_path / "src", {"a.weight": x}, config=None)
    scheme = bm.Affine(4, scale_rule="signed_max")
    (tensor,) = bm.quantize_checkpoint(src, tmp_path / "dst", scheme).tensors
    negative = int((bm.quantize(x, scheme).scale < 0).sum())
    assert tensor.health.negative_scales == negative == 1
    assert tensor.health.zero_groups == 1


# Values that are not finite, in tensors that are kept


@pytest.mark.parametrize("dtype", [np.float32, np.float16, BFLOAT16, np.float64])
def test_nan_and_infinities_of_kept_tensors_are_counted(tmp_path: Path, dtype: Any) -> None:
    x = weight(50, 7, dtype=dtype)
    x[3], x[40, 2], x[49, 6] = np.inf, np.nan, -np.inf
    tensors = {"norm.weight": x, "fine.bias": weight(9, dtype=dtype), "a.weight": weight(4, 64)}
    report = bm.quantize_checkpoint(make(tmp_path / "s", tensors), tmp_path / "d", bm.Affine(8))
    health = {tensor.name: tensor.health for tensor in report.kept}
    assert health == {"norm.weight": Health(nonfinite=9), "fine.bias": Health()}


def test_float64_beyond_float32_is_finite(tmp_path: Path) -> None:
    tensors = {
        "norm.weight": np.array([1e300, -1e308, np.inf, 1.0]),
        "a.weight": weight(4, 64),
    }
    report = bm.quantize_checkpoint(make(tmp_path / "s", tensors), tmp_path / "d", bm.Affine(8))
    assert [tensor.health for tensor in report.kept] == [Health(nonfinite=1)]


def test_largest_values_of_every_dtype_are_finite(tmp_path: Path) -> None:
    tensors: dict[str, np.ndarray] = {"a.weight": weight(4, 64)}
    for dtype in (np.float16, BFLOAT16, np.float32, np.float64):
        largest = ml_dtypes.finfo(dtype).max
        tensors[f"{np.dtype(dtype).name}.bias"] = np.array([largest, -largest], dtype)
    report = bm.quantize_checkpoint(make(tmp_path / "s", tensors), tmp_path / "d", bm.Affine(8))
    assert not any(tensor.health for tensor in report.kept)


def test_integers_are_finite_whatever_their_bits(tmp_path: Path) -> None:
    tensors = {"steps": np.full(8, 0x7FC00000, np.int32), "a.weight": weight(4, 64)}
    report = bm.quantize_checkpoint(make(tmp_path / "s", tensors), tmp_path / "d", bm.Affine(8))
    assert not any(tensor.health for tensor in report.kept)


def test_blocks_of_a_kept_tensor_are_all_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = weight(1000, dtype=np.float64)
    x[::10] = np.nan
    monkeypatch.setattr(pieces, "PIECE", 64)
    src = make(tmp_path / "src", {"norm.weight": x, "a.weight": weight(4, 64)})
    report = bm.quantize_checkpoint(src, tmp_path / "dst", bm.Affine(8))
    assert [tensor.health.nonfinite for tensor in report.kept] == [100]


def test_quantized_tensors_that_need_no_look_have_no_counts(tmp_path: Path) -> None:
    src = make(tmp_path / "src", {"a.weight": weight(4, 64)})
    (tensor,) = bm.quantize_checkpoint(src, tmp_path / "dst", bm.Affine(4)).tensors
    assert tensor.health == Health()
    assert not tensor.health


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("scales", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("rule", ["absmax", "full_range", "signed_max"])
def test_scales_that_are_fitted_spare_a_look_at_the_values_and_change_no_count(
    rng: np.random.Generator, bits: int, scales: str, rule: str
) -> None:
    scheme = bm.Affine(bits, group_size=16, scales=scales, scale_rule=rule)
    qmax = scheme.code_range.qmax
    for exponent in (-44, -30, -8, -4, 0, 2):
        x = (rng.standard_normal((200, 64)) * 10.0**exponent).astype(np.float32)
        x[::7, :16] *= rng.random((29, 1), np.float32)
        if exponent == 0:
            x[3, 16:32] = 0
            x[5, 16:32] = np.linspace(-qmax, qmax, 16)  # its scale is 1
        q = bm.quantize(x, scheme)
        told, looked = scheme.health(x, q.arrays, fitted=True), scheme.health(x, q.arrays)
        assert {name: told.get(name, 0) for name in looked} == looked
        if (rule, scales, exponent) == ("absmax", "float32", -4) and bits <= 8:
            assert told == {}
