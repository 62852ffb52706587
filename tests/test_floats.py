# SPDX-License-Identifier: MIT
"""The float schemes: scales by hand, their extremes, options, counts, pieces."""

from __future__ import annotations

import pickle
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
import engines
from bitmill.schemes import from_dict
from bitmill.schemes.floats import KINDS
from conftest import same_bits

MXFP = [kind for kind in KINDS if kind.startswith("mx")]
SCHEMES = [
    *(bm.Float(kind) for kind in KINDS),
    *(bm.Float(kind, rule="floor") for kind in MXFP),
    bm.Float("fp8_e4m3", axis=None),
    bm.Float("fp8_e4m3", group_size=24, scales="bfloat16"),
    bm.Float("fp8_e5m2", scales="float16"),
]


@pytest.fixture(params=engines.ENGINES)
def engine(request):
    with engines.api(request.param):
        yield


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def kept_db(x: np.ndarray, scheme: bm.Float) -> float:
    return bm.metrics(x, bm.quantize(x, scheme)).sqnr_db


def test_fp8_scale_is_absmax_over_the_largest_value(engine):
    q = bm.quantize(row(1, -896, 3), bm.Float("fp8_e4m3"))
    assert (q.scale.item(), np.asarray(q).tolist()) == (2, [[1, -896, 3]])
    q = bm.quantize(row(1, -57344, 7), bm.Float("fp8_e5m2"))
    assert (q.scale.item(), np.asarray(q).tolist()) == (1, [[1, -57344, 7]])


@pytest.mark.parametrize(
    ("kind", "absmax", "floor", "rounded"),
    [
        ("mxfp4", 4, 0, 0), ("mxfp4", 6.999, 0, 0), ("mxfp4", 7, 0, 1), ("mxfp4", 7.999, 0, 1),
        ("mxfp4", 8, 1, 1),
        ("mxfp6_e2m3", 7.749, 0, 0), ("mxfp6_e2m3", 7.75, 0, 1),
        ("mxfp6_e3m2", 29.99, 0, 0), ("mxfp6_e3m2", 30, 0, 1),
        ("mxfp8_e4m3", 447.9, 0, 0), ("mxfp8_e4m3", 448, 0, 1), ("mxfp8_e4m3", 256, 0, 0),
        ("mxfp8_e5m2", 61439, 0, 0), ("mxfp8_e5m2", 61440, 0, 1),
    ],
)  # fmt: skip
def test_mxfp_scales_by_hand(engine, kind, absmax, floor, rounded):
    for rule, exponent in (("floor", floor), ("compressed-tensors", rounded)):
        q = bm.quantize(row(0, -absmax), bm.Float(kind, rule=rule))
        assert q.arrays["scale"].item() == 127 + exponent
        assert q.scale.item() == 2.0**exponent


def test_exponents_next_to_powers_of_two_are_exact(engine):
    for exponent in range(-120, 120):
        power = np.float32(2.0**exponent)
        for absmax, wanted in ((power, 0), (np.nextafter(power, np.float32(0)), -1)):
            q = bm.quantize(row(absmax), bm.Float("mxfp4", rule="floor"))
            assert q.arrays["scale"].item() == 127 + exponent - 2 + wanted


def test_mxfp_by_the_floor_rule_cuts_what_is_beyond_the_largest_value(engine):
    x = row(7.5, -6.9, 7.0, 1)
    floor, rounded = (bm.Float("mxfp4", rule=rule) for rule in ("floor", "compressed-tensors"))
    assert np.asarray(bm.quantize(x, floor)).tolist() == [[6, -6, 6, 1]]
    assert np.asarray(bm.quantize(x, rounded)).tolist() == [[8, -6, 8, 1]]
    for scheme, clipped in ((floor, 2), (rounded, 0)):
        assert scheme.health(x, bm.quantize(x, scheme).arrays)["clipped"] == clipped


def test_least_and_greatest_scales_of_mxfp(engine):
    q = bm.quantize(row(2.0**-149, -(2.0**-127)), bm.Float("mxfp4"))
    assert (q.arrays["scale"].item(), q.scale.item()) == (0, 2.0**-127)
    assert np.asarray(q).tolist() == [[0, -(2.0**-127)]]
    assert q.health == {"underflowed": 1}
    largest = float(np.finfo(np.float32).max)
    q = bm.quantize(row(largest, 1), bm.Float("mxfp4"))
    assert (q.arrays["scale"].item(), q.health) == (127 + 125, {})  # 4 * 2^126 is no float32
    assert np.asarray(q).tolist() == [[6 * 2.0**125, 0]]


def test_scale_byte_255_is_nan(engine):
    scheme = bm.Float("mxfp4")
    arrays = {"packed": np.zeros((1, 4), np.uint32), "scale": np.full((1, 1), 255, np.uint8)}
    q = bm.QTensor(scheme, (1, 32), "float32", arrays)
    assert np.isnan(q.scale).all()
    assert np.isnan(np.asarray(q)).all()


def test_nvfp4_by_hand(engine):
    x = np.zeros((2, 32), np.float32)
    x[0, 0], x[0, 16], x[1, 0], x[1, 1] = 12, -6, 3, 2.5
    q = bm.quantize(x, bm.Float("nvfp4"))
    assert q.arrays["global_scale"].tolist() == [2688 / 12]
    local = q.arrays["scale"].view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    assert local.tolist() == [[448, 224], [112, 0.125]]
    assert q.scale.tolist() == [[2, 1], [0.5, np.float32(0.125 / 224)]]
    assert np.asarray(q)[:, [0, 1, 16]].tolist() == [[12, 0, -6], [3, 2, 0]]


def test_nvfp4_of_zeros_and_of_very_small_and_large_weights(engine):
    zeros = bm.quantize(np.zeros((2, 16), np.float32), bm.Float("nvfp4"))
    assert zeros.arrays["global_scale"].item() == 1
    assert (zeros.scale == 0.125).all()
    assert not np.asarray(zeros).any()
    for size in (1e-37, 3.4e38):
        x = np.linspace(-size, size, 16, dtype=np.float32).reshape(1, -1)
        q = bm.quantize(x, bm.Float("nvfp4"))
        assert np.isfinite(q.arrays["global_scale"]).all()
        assert np.abs(np.asarray(q) - x).max() <= 0.17 * size


def test_nvfp4_scales_that_vanish_are_counted(engine):
    x = np.ones((3, 32), np.float32)
    x[1, 16:], x[2] = 1e-9, 0
    q = bm.quantize(x, bm.Float("nvfp4"))
    assert q.health == {"underflowed": 1}
    found = q.scheme.health(x, q.arrays, fitted=True)
    assert found == {"clipped": 0, "underflowed_scales": 1, "zero_groups": 2}


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_values_and_codes_are_those_of_the_scales(engine, rng, scheme):
    x = rng.standard_normal((5, 100), np.float32)
    q = bm.quantize(x, scheme)
    scale = np.broadcast_to(q.scale.astype(np.float32), (5, q.scale.shape[-1]))
    spread = np.repeat(scale, -(-100 // scale.shape[1]), axis=1)[:, :100]
    if scheme.group_size:
        spread = np.repeat(scale, scheme.group_size, axis=1)[:, :100]
    of = getattr(ml_dtypes, scheme.format)
    top = np.float32(scheme.element.max)
    values = np.clip(x / spread, -top, top).astype(of).astype(np.float32)
    same_bits(np.asarray(q), values * spread)
    assert q.codes.dtype == np.uint8
    assert q.codes.shape == x.shape


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_arrays_are_those_of_the_layout_in_any_rank(scheme, rng):
    for shape in ((64,), (3, 40), (2, 3, 33), (0, 32), (4, 0)):
        q = bm.quantize(rng.standard_normal(shape, np.float32), scheme)
        assert q.dequantize(dtype="bfloat16").shape == shape
        assert q.nbytes == sum(array.nbytes for array in q.arrays.values())


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_pieces_give_the_arrays_of_the_whole(scheme, rng):
    x = rng.standard_normal((12, 96), np.float32) * np.float32(2.0) ** np.arange(12)[:, None]
    whole, seen = bm.quantize(x, scheme), None
    parts = np.split(x, [5, 6])
    if scheme.cut(x.shape).shared:
        for part in parts:
            seen = scheme.merge(seen, scheme.scan(part))
    made = [scheme.quantize(part, seen).arrays for part in parts]
    for name, array in whole.arrays.items():
        pieces = [arrays[name] for arrays in made]
        if name == "global_scale" or (scheme.axis is None and name == "scale"):
            for piece in pieces:
                same_bits(piece, array)
        else:
            same_bits(np.concatenate(pieces), array)


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_schemes_come_back_from_json_and_pickle(scheme):
    assert from_dict(scheme.to_dict()) == scheme
    assert pickle.loads(pickle.dumps(scheme)) == scheme
    assert eval(repr(scheme), {"Float": bm.Float}) == scheme


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_saved_tensors_come_back(scheme, rng, tmp_path):
    q = bm.quantize(rng.standard_normal((8, 64), np.float32), scheme)
    bm.save({"w": q}, tmp_path / "w.safetensors")
    again = bm.load(tmp_path / "w.safetensors")["w"]
    assert again.scheme == scheme
    same_bits(np.asarray(again), np.asarray(q))


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_fitted_tensors_have_the_counts_of_others(scheme, rng):
    x = rng.standard_normal((6, 96), np.float32)
    x[2], x[3, :32] = 0, 0
    q = bm.quantize(x, scheme)
    found = scheme.health(x, q.arrays)
    fitted = scheme.health(x, q.arrays, fitted=True)
    assert {**dict.fromkeys(found, 0), **fitted} == found
    zero = {"row": 1, "tensor": 0, "g24": 4 + 1}.get(scheme.describe().split()[-1])
    if zero is None:
        zero = 8 if scheme.kind == "nvfp4" else 4
    assert found["zero_groups"] == zero


def test_scale_that_overflows_its_dtype_is_an_error():
    with pytest.raises(ValueError, match=r"group \(0, 0\) .* fp8_e4m3 scale overflows float16"):
        bm.quantize(row(1e9), bm.Float("fp8_e4m3", scales="float16"))
    q = bm.quantize(row(1e-30), bm.Float("fp8_e4m3", scales="float16"))
    assert (float(q.scale.item()), q.health) == (2.0**-24, {"underflowed": 1})


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_values_that_are_not_finite_are_errors(scheme):
    x = np.ones((2, 64), np.float32)
    x[1, 3] = np.nan
    with pytest.raises(ValueError, match=r"the first, x.flat\[67\], is nan"):
        bm.quantize(x, scheme)
    with pytest.raises(ValueError, match=r"x.flat\[67\]"):
        scheme.scan(x)


def test_importance_is_refused():
    with pytest.raises(ValueError, match="importance goes with schemes that search"):
        bm.quantize(row(1, 2), bm.Float("mxfp4"), importance=[1.0, 2.0])


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"kind": "fp4"}, ValueError, "kind='fp4' is not one of: fp8_e4m3"),
    ({"kind": 8}, TypeError, "kind takes a string"),
    ({"axis": 0}, ValueError, "axis=0 is not 'row' or None"),
    ({"axis": None, "group_size": 32}, ValueError, "exclude each other"),
    ({"scales": "float64"}, ValueError, "scales='float64' is not one of"),
    ({"rule": "floor"}, ValueError, "rule='floor' goes with scales that are powers of two"),
    ({"kind": "mxfp4", "rule": "ceil"}, ValueError, "rule='ceil' is not one of"),
    ({"kind": "mxfp4", "group_size": 16}, ValueError, "mxfp4 has blocks of 32"),
    ({"kind": "mxfp4", "axis": None}, ValueError, "mxfp4 has blocks of 32"),
    ({"kind": "nvfp4", "scales": "bfloat16"}, ValueError, "goes with fp8: nvfp4 has its own"),
    ({"kind": "nvfp4", "rule": "floor"}, ValueError, "powers of two"),
]


@pytest.mark.parametrize(("given", "error", "message"), BAD)
def test_bad_options(given, error, message):
    with pytest.raises(error, match=message):
        bm.Float(**{"kind": "fp8_e4m3"} | given)


def test_sizes_count_everything():
    shape = (4096, 4096)
    wanted = {"fp8_e4m3": 8 + 32 / 4096, "mxfp4": 4.25, "mxfp6_e2m3": 6.25, "mxfp8_e5m2": 8.25,
              "nvfp4": 4.5 + 32 / 4096**2}  # fmt: skip
    for kind, bits in wanted.items():
        q = bm.quantize(np.zeros(shape, np.float32), bm.Float(kind))
        assert q.bits_per_weight() == bits


@pytest.mark.parametrize(
    ("kind", "rule", "sqnr_db"),
    [
        ("mxfp4", "floor", 18.5), ("mxfp4", None, 18.7), ("nvfp4", None, 20.0),
        ("mxfp6_e2m3", None, 30.0), ("mxfp8_e4m3", None, 31.0), ("fp8_e4m3", None, 31.0),
    ],
)  # fmt: skip
def test_normal_weights_keep_at_least(rng, kind, rule, sqnr_db):
    x = rng.standard_normal((256, 1024), np.float32)
    assert kept_db(x, bm.Float(kind, rule=rule)) >= sqnr_db
