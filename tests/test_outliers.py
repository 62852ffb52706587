# SPDX-License-Identifier: MIT
"""Outliers: what is kept comes back, no range sees it, and every byte is counted."""

from __future__ import annotations

import inspect
import itertools
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill import _dtypes, schemes
from bitmill.schemes.base import Scheme
from bitmill.schemes.outlier_rest import learns_values
from checkpoints import weight
from conftest import same_bits
from outlier_schemes import AMOUNTS, INNER, KINDS, by_hand, kept, name_of, values

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
    if getattr(scheme.inner, "offset", False) or learns_values(scheme.inner):
        return  # it gets no zeros, or learns nothing from them
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


@pytest.mark.parametrize("bits", [1, 3])
def test_codebook_is_the_best_for_the_rest_alone(bits: int) -> None:
    x = np.random.default_rng(0).normal(3, 0.1, (16, 64)).astype(np.float32)
    x.reshape(-1)[::50] = 40
    rest = np.setdiff1d(np.arange(x.size), np.arange(0, x.size, 50))
    alone = bm.quantize(x.reshape(-1)[rest], bm.KMeans(bits))
    q = bm.quantize(x, bm.Outliers(bm.KMeans(bits), threshold="mad:6"))
    np.testing.assert_allclose(q.arrays["codebook"], alone.arrays["codebook"], rtol=1e-6)
    found = bm.quantize(x, bm.Outliers(bm.LearnedTable(3), threshold="mad:6"))
    assert 0 not in found.arrays["table"]


def test_row_of_nothing_but_outliers_has_some_codebook() -> None:
    x = values(4, 64)
    x[1] += 100
    q = bm.quantize(x, bm.Outliers(bm.KMeans(2, "row"), threshold=50, values="float32"))
    same_bits(q.dequantize()[1], x[1])


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


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(
    "options",
    [
        {"fraction": 0.01, "by": "loss"},
        {"fraction": 0.3, "by": "loss"},
        {"fraction": 0.5},
        {"fraction": 1, "per": "row"},
        {"fraction": 1},
        {"fraction": 0.1, "mode": "column"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "inner", [INNER[1], INNER[5], bm.KMeans(2, "row")], ids=lambda inner: inner.describe()
)
def test_no_more_memory_is_taken_than_is_told(
    inner: Any, options: dict[str, Any], dtype: str
) -> None:
    x = values(256, 1024).astype(_dtypes.dtype(dtype))
    scheme = bm.Outliers(inner, **options)
    tracemalloc.start()
    made = scheme.quantize(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= scheme.scratch(x.shape) + sum(a.nbytes for a in made.arrays.values())


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
    described: dict[str, Any] = {"scheme": "Affine"}
    for _ in range(3000):  # a file may say so
        described = {"scheme": "Outliers", "inner": described, "count": 1}
    with pytest.raises(ValueError, match="keeps outliers already"):
        schemes.from_dict(described)


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
