# SPDX-License-Identifier: MIT
"""Two-level scales: what is stored, what it is worth, and that every layer above takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill import reference
from bitmill._dtypes import STORAGES
from bitmill.schemes import from_dict
from checkpoints import make
from conftest import same_bits


def scheme(bits: int = 4, **options: Any) -> bm.Affine:
    scales = options.pop("scales", bm.Scales("float16", bits=6, super_block=128))
    options = {"group_size": 32, "symmetric": False, "offset": True, "clip": "mse"} | options
    return bm.Affine(bits, scales=scales, **options)


KINDS = [
    {},
    {"clip": "minmax"},
    {"offset": False},
    {"symmetric": True, "offset": False},
    {"symmetric": True, "offset": False, "scale_rule": "signed_max"},
]


def normal(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("module", [reference, bm.kernels])
def test_codes_and_steps_by_hand(module: Any) -> None:
    # Scales 63 and 10 thirds: the step is one third in float32; the second code is exact.
    scale = np.float32([[21, 10 / 3]])
    x = np.float32([[21 * 7, -21 * 8, 0, 0, 10 / 3 * 7, -10 / 3, 0, 0]])
    made = module.two_level_params(
        x, scale, qmin=-8, qmax=7, bits=6, signed=False, super_groups=2, scales="float32",
        group_size=4,
    )  # fmt: skip
    assert made.super_scale.tolist() == [[float(np.float32(21 / 63))]]
    assert made.scale.tolist() == [[63, 10]]
    assert (made.offset, made.super_offset, made.overflowed, made.underflowed) == (None, None, 0, 0)


@pytest.mark.parametrize("module", [reference, bm.kernels])
def test_a_neighbour_is_taken_where_it_is_better(module: Any) -> None:
    # One step is 1 by the first group. The second one's scale, 30.4, rounds to 30; its values are
    # multiples of 31.
    x = np.float32([[63 * 7, 0, 0, 0, 31, 62, -93, 31 * 7]])
    made = module.two_level_params(
        x, np.float32([[63, 30.4]]), qmin=-8, qmax=7, bits=6, signed=False, super_groups=2,
        group_size=4,
    )  # fmt: skip
    assert made.super_scale.tolist() == [[1]]
    assert made.scale.tolist() == [[63, 31]]


def test_offsets_of_a_super_block_share_a_sign() -> None:
    x = np.concatenate([normal((2, 32)) - 5, normal((2, 32)) + 4], axis=1)
    q = bm.quantize(x, scheme())
    assert q.offset is not None
    assert (q.offset[:, 0] < -5).all()
    assert (q.offset[:, 1] == 0).all()
    up = bm.quantize(x + 20, scheme())
    assert up.offset is not None
    assert (up.offset > 10).all()
    assert bm.metrics(x, q).sqnr_db > 14


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("shape", [(5, 300), (1, 32), (7,), (2, 3, 130)])
def test_values_are_those_of_the_stored_parameters(
    options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    x = normal(shape)
    q = bm.quantize(x, scheme(**options))
    scale = np.repeat(q.scale, 32, axis=-1)[..., : shape[-1]]
    codes = q.codes.astype(np.float32)
    if q.zero_point is not None:
        codes -= np.repeat(q.zero_point, 32, axis=-1)[..., : shape[-1]]
    values = codes * scale
    if q.offset is not None:
        values += np.repeat(q.offset, 32, axis=-1)[..., : shape[-1]]
    np.testing.assert_array_equal(q.dequantize(), values)
    stepped = q.arrays["super_scale"].astype(np.float32)
    assert np.isin(np.abs(q.scale), np.multiply.outer(stepped, np.arange(64, dtype="f4"))).all()
    assert q.nbytes == sum(a.nbytes for a in q.arrays.values())
    assert bm.metrics(x, q).sqnr_db > 15


def test_bits_per_weight_count_everything() -> None:
    plain = bm.Scales("float16", bits=6, super_block=384)
    for group_size, wanted in ((32, 4 + 12 / 32 + 32 / 384), (16, 4 + 12 / 16 + 32 / 384)):
        q = bm.quantize(normal((8, 384)), scheme(group_size=group_size, scales=plain))
        assert q.bits_per_weight() == pytest.approx(wanted)


@pytest.mark.parametrize("options", KINDS)
def test_constant_groups_and_zeros_are_exact(options: dict[str, Any]) -> None:
    x = normal((3, 128))
    x[0, :32], x[1] = 0, 0
    q = bm.quantize(x, scheme(**options))
    values = q.dequantize()
    assert not values[0, :32].any()
    assert not values[1].any()
    assert (q.scale[1] == 0).all()


def test_a_constant_group_beside_others_keeps_its_value_by_the_offset() -> None:
    x = normal((1, 128))
    x[0, 32:64] = x.min()
    q = bm.quantize(x, scheme())
    assert q.offset is not None
    assert np.ptp(q.dequantize()[0, 32:64]) == 0
    assert abs(q.dequantize()[0, 40] - x.min()) <= abs(float(q.arrays["super_offset"][0, 0]))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("bits", [4, 6, 8])
def test_finer_codes_are_better_and_all_beat_minmax_rounded(storage: str, bits: int) -> None:
    x = normal((16, 512))
    scales = bm.Scales(storage, bits=bits, super_block=256)
    db = bm.metrics(x, bm.quantize(x, scheme(scales=scales))).sqnr_db
    best = bm.metrics(x, bm.quantize(x, scheme(scales="float32"))).sqnr_db
    assert best - {4: 1.2, 6: 0.25, 8: 0.1}[bits] < db <= best + 0.01


def test_importance_reaches_the_codes_of_the_scales() -> None:
    x, weights = normal((32, 256)), np.ones(256)
    weights[::4] = 50
    plain, weighed = (bm.quantize(x, scheme(), importance=w) for w in (None, weights))

    def loss(q: bm.QTensor) -> float:
        return float((weights * (x - q.dequantize().astype(float)) ** 2).sum())

    assert loss(weighed) < 0.8 * loss(plain)


@pytest.mark.parametrize("module", [reference, bm.kernels])
def test_importance_of_zeros_alone_is_none_without_an_offset(module: Any) -> None:
    x = np.float32([[0, 21 * 7, -21 * 8, 3], [0, 31, 62, -93]])
    options = {"qmin": -8, "qmax": 7, "bits": 6, "signed": False, "super_groups": 1}
    scale, weights = np.float32([[21.3], [30.4]]), np.float32([1, 0, 0, 0])
    plain, weighed = (
        module.two_level_params(x, scale, importance=w, **options) for w in (None, weights)
    )
    same_bits(weighed.scale, plain.scale)


@pytest.mark.parametrize("options", KINDS)
def test_files_and_dictionaries_keep_it(tmp_path: Path, options: dict[str, Any]) -> None:
    q = bm.quantize(normal((5, 300)), scheme(**options))
    bm.save({"w": q}, tmp_path / "w.safetensors")
    again = bm.load(tmp_path / "w.safetensors")["w"]
    assert again.scheme == q.scheme == from_dict(q.scheme.to_dict())
    assert hash(again.scheme) == hash(q.scheme)
    np.testing.assert_array_equal(again.dequantize(), q.dequantize())


@pytest.mark.parametrize("options", [KINDS[0], KINDS[4]])
def test_checkpoints_hold_it_in_the_native_format_and_in_pieces(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    weight = normal((3000, 512))
    src = make(tmp_path / "src", {"model.layers.0.mlp.up_proj.weight": weight})
    for name, memory in (("whole", "1GiB"), ("pieces", "24MiB")):
        bm.quantize_checkpoint(src, tmp_path / name, scheme(**options), max_memory=memory)
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "pieces")]
    assert files[0] == files[1]
    (loaded,) = (
        q for q in bm.load_checkpoint(tmp_path / "whole").values() if isinstance(q, bm.QTensor)
    )
    np.testing.assert_array_equal(
        loaded.dequantize(), bm.quantize(weight, scheme(**options)).dequantize()
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bm.Scales("int8"), ValueError, "dtype='int8' is not one of"),
        (lambda: bm.Scales(bits=3), ValueError, "bits=3 must be between 4 and 8"),
        (lambda: bm.Scales(super_block=0), ValueError, "super_block=0 must be between"),
        (lambda: scheme(group_size=None), ValueError, "goes with groups: group_size=32"),
        (lambda: scheme(group_size=48), ValueError, "super_block=128 is not a multiple of"),
        (lambda: scheme(scales={"dtypes": 1}), ValueError, "is no description of Scales"),
        (lambda: scheme(scales=6), TypeError, "scales=6 is a int; scales takes a string"),
    ],
)
def test_wrong_options_say_what_is_wanted(call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_step_that_overflows_is_an_error() -> None:
    with pytest.raises(ValueError, match="a scale or offset of a super-block overflows float16"):
        bm.quantize(normal((2, 128)) * np.float32(3e7), scheme())


def test_foreign_formats_say_that_they_cannot() -> None:
    q = bm.quantize(normal((4, 128)), scheme(symmetric=True, offset=False))
    with pytest.raises(ValueError, match="no two-level scales"):
        q.bits_per_weight("compressed_tensors")
    with pytest.raises(ValueError, match="which cannot take other values"):
        bm.correct_bias(normal((4, 128)), q)
