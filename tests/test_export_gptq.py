# SPDX-License-Identifier: MIT
"""Exports to GPTQ: words that a reader of its own unpacks, golden files, and the configuration."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
import golden_files
from bitmill.checkpoint import CheckpointError
from bitmill.checkpoint.inspect import inspect_checkpoint
from bitmill.export import gptq
from checkpoints import config_of, llama, make
from conftest import same_bits
from exports import NAME, exported, quantized

WIDTHS = (2, 3, 4, 8)
HALVES = ("float16", "bfloat16")


def fields(words: np.ndarray, bits: int) -> np.ndarray:
    """The fields of words that are packed along the first axis, one number at a time."""
    count = len(words) * 32 // bits
    found = np.zeros((count, *words.shape[1:]), np.int64)
    unsigned = words.view(np.uint32).astype(np.int64)
    for i in range(count):
        for bit in range(bits):
            place = i * bits + bit
            found[i] |= (unsigned[place // 32] >> place % 32 & 1) << bit
    return found


def unpacked(parts: Any, bits: int, less: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes [C, R], zero-points and scales of each of them, as a loader of GPTQ finds them."""
    points = fields(parts["qzeros"].T, bits).T + less
    groups = parts["g_idx"]
    return fields(parts["qweight"], bits), points[groups], parts["scales"][groups]


SYMMETRIC = [
    *(bm.Affine(bits, group_size=128, scales=scales) for bits in WIDTHS for scales in HALVES),
    bm.Affine(4, scales="float16"),
    bm.Affine(8, axis=None, scales="float16"),
    bm.Affine(4, group_size=32, scale_rule="signed_max", scales="bfloat16"),
    bm.Affine(4, group_size=96, narrow_range=True, scales="float16"),
    bm.Affine(4, group_size=512, scales="float16"),  # a row is a group
]
ASYMMETRIC = [
    *(bm.Affine(bits, symmetric=False, group_size=64, scales="float16") for bits in WIDTHS),
    bm.Affine(4, symmetric=False, scales="bfloat16"),
]


@pytest.mark.parametrize(
    ("to", "scheme"),
    [("gptq", s) for s in SYMMETRIC] + [("gptq_v2", s) for s in (*SYMMETRIC, *ASYMMETRIC)],
)
def test_words_unpack_to_our_codes_and_values(tmp_path: Path, to: str, scheme: bm.Affine) -> None:
    folder, parts, q = exported(tmp_path, scheme, to)
    version = {"gptq": gptq.V1, "gptq_v2": gptq.V2}[to]
    assert {name: (a.dtype.name, a.shape) for name, a in parts.items()} == {
        field.name: (field.dtype, field.shape) for field in version.tensors(scheme, q.shape)
    }
    codes, points, scale = unpacked(parts, scheme.bits, int(to == "gptq"))
    signed = 1 << scheme.bits - 1 if scheme.symmetric else 0
    assert np.array_equal(codes.T, q.codes.astype(np.int64) + signed)
    values = (codes - points).astype(np.float32) * scale.astype(np.float32)
    assert np.array_equal(values.T, q.dequantize())
    assert config_of(folder) == {
        "quant_method": "gptq",
        "bits": scheme.bits,
        "group_size": -1 if scheme.group_size in (None, 512) else scheme.group_size,
        "sym": scheme.symmetric,
        "desc_act": False,
        "checkpoint_format": to,
        "lm_head": False,
    }
    (item,) = inspect_checkpoint(folder).items
    assert (item.name, item.method, item.shape) == (f"{NAME}.weight", "GPTQ", q.shape)


@pytest.mark.parametrize("name", [n for n in golden_files.names("awq_gptq") if "gptq_v" in n])
def test_golden_files_are_made_again_byte_for_byte(name: str) -> None:
    """They are of version 1 with zero-points: in 4 bits, its words are the others less 0x1111..."""
    x, args, peers = golden_files.read(f"awq_gptq/{name}")
    codes, points, _ = unpacked({**peers, "qzeros": peers["qzeros"] + np.int32(0x11111111)}, 4, 0)
    groups = points[:: args["group_size"]]
    scheme = bm.Affine(4, symmetric=False, group_size=args["group_size"], scales="float16")
    held = {
        "packed": bm.pack(np.ascontiguousarray(codes.T).astype(np.uint8), 4),
        "scale": np.ascontiguousarray(peers["scales"].T),
        "zero_point": np.ascontiguousarray(groups.T).astype(np.uint8),
    }
    made = gptq.V2.encode(bm.QTensor(scheme, x.shape, "float32", held))
    made["qzeros"] = made["qzeros"] - np.int32(0x11111111)
    for part, array in made.items():
        same_bits(array, peers[part], part)


def test_zero_points_of_symmetric_weights_are_the_words_that_all_loaders_read_alike(
    tmp_path: Path,
) -> None:
    _, parts, _ = exported(tmp_path, bm.Affine(4, group_size=128, scales="float16"), "gptq")
    assert set(parts["qzeros"].view(np.uint32).ravel()) == {0x77777777}


@pytest.mark.parametrize(
    ("scheme", "shape", "why"),
    [
        (bm.Affine(5, scales="float16"), (64, 384), "the format holds 2, 3, 4 or 8 bits, not 5"),
        (bm.Affine(4), (64, 384), "holds float16 or bfloat16 scales, not float32"),
        (
            bm.Affine(4, symmetric=False, scales="float16"),
            (64, 384),
            "version 1 stores zero-points less 1",
        ),
        (
            bm.Affine(4, symmetric=False, offset=True, scales="float16"),
            (64, 384),
            "integer zero-points only, no real offsets",
        ),
        (bm.Affine(4, scales="float16"), (60, 384), "60 codes of 4 bits are not a whole number"),
        (bm.Affine(3, scales="float16"), (64, 72), "72 codes of 3 bits are not a whole number"),
        (
            bm.Affine(4, group_size=128, scales="float16"),
            (64, 320),
            "rows of 320 weights are not a whole number of groups of 128",
        ),
        (bm.NF4(), (64, 384), "the format holds affine codes only, no NF4"),
    ],
)
def test_what_gptq_cannot_hold_is_refused(
    tmp_path: Path, scheme: Any, shape: tuple[int, int], why: str
) -> None:
    src = quantized(tmp_path, scheme, shape)
    with pytest.raises(CheckpointError, match=f"gptq cannot hold just these values: {NAME}.*{why}"):
        bm.export_checkpoint(src, tmp_path / "gptq", to="gptq")
    assert not (tmp_path / "gptq").exists()


def test_two_levels_of_scales_are_refused_as_such(tmp_path: Path) -> None:
    scheme = bm.Affine(4, group_size=32, scales=bm.Scales("float16", bits=6, super_block=128))
    src = quantized(tmp_path, scheme)
    with pytest.raises(CheckpointError, match="one scale per group, no two-level scales"):
        bm.export_checkpoint(src, tmp_path / "gptq", to="gptq")


def test_embeddings_are_refused(tmp_path: Path) -> None:
    x = np.ones((64, 128), np.float32)
    q = bm.quantize(x, bm.Affine(4, scales="float16"))
    bm.save({"model.embed_tokens.weight": q}, tmp_path / "q.safetensors")
    with pytest.raises(CheckpointError, match="Linear layers only, no embeddings"):
        bm.export_checkpoint(tmp_path / "q.safetensors", tmp_path / "gptq", to="gptq")


def way_of(config: dict[str, Any], module: str) -> dict[str, Any] | None:
    """How vLLM and GPTQModel find out what to expect of a Linear: None if it is not quantized."""
    for pattern, said in config.get("dynamic", {}).items():
        if re.match(pattern[2:], module):
            return None if pattern.startswith("-:") else said
    return {name: config[name] for name in ("bits", "group_size", "sym")}


def test_linear_layers_that_are_kept_or_quantized_in_another_way_are_named(tmp_path: Path) -> None:
    src = make(tmp_path / "src", llama())
    rules = {
        "re:.*down_proj": bm.Affine(8, scales="bfloat16"),
        "re:.*q_proj": bm.Affine(4, group_size=64, scales="bfloat16"),
        "lm_head": bm.Affine(8, scales="bfloat16"),
    }
    plan = bm.plan_checkpoint(src, rules, split_fused=True)
    bm.quantize_checkpoint(src, tmp_path / "q", plan)
    done = bm.export_checkpoint(tmp_path / "q", tmp_path / "gptq", to="gptq")
    assert [note.partition(":")[0] for note in done.notes] == [
        "layers that differ are named in 'dynamic'"
    ]
    config, layer = config_of(tmp_path / "gptq"), "model.layers.0"
    row = {"bits": 8, "group_size": -1, "sym": True}
    assert config["lm_head"]
    assert config["dynamic"].keys() == {
        r"-:^model\.layers\.0\.self_attn\.k_proj$",
        r"+:^model\.layers\.0\.self_attn\.q_proj$",
    }
    assert way_of(config, f"{layer}.mlp.down_proj") == row == way_of(config, "lm_head")
    assert way_of(config, f"{layer}.self_attn.k_proj") is None
    assert way_of(config, f"{layer}.self_attn.q_proj") == {**row, "bits": 4, "group_size": 64}


def test_version_2_takes_what_is_symmetric_and_what_is_not(tmp_path: Path) -> None:
    src = make(tmp_path / "src", llama())
    rules = {
        "re:.*down_proj": bm.Affine(4, symmetric=False, scales="bfloat16"),
        "Linear": bm.Affine(4, scales="bfloat16"),
    }
    bm.quantize_checkpoint(src, tmp_path / "q", rules)
    bm.export_checkpoint(tmp_path / "q", tmp_path / "gptq", to="gptq_v2")
    config = config_of(tmp_path / "gptq")
    assert json.dumps(config["dynamic"]) == json.dumps(
        {
            r"+:^model\.layers\.0\.mlp\.down_proj$": {
                "bits": 4,
                "group_size": -1,
                "sym": False,
            }
        }
    )
