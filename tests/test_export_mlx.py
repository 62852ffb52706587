# SPDX-License-Identifier: MIT
"""Exports to MLX: the bytes of golden files, and values that MLX computes from the tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
import golden_files
from bitmill.checkpoint import CheckpointError, open_checkpoint, read_tensor
from bitmill.checkpoint.header import read_header
from bitmill.export import mlx
from checkpoints import CONFIG, llama, make
from conftest import needs, same_bits
from exports import NAME, exported, quantized

GOLDEN = [name for name in golden_files.names("mlx") if name.startswith("affine")]
WIDTHS = (2, 3, 4, 5, 6, 8)


def from_peers(x: np.ndarray, bits: int, size: int, params: dict[str, np.ndarray]) -> bm.QTensor:
    """A weight quantized by us under the peer's scales and biases."""
    scheme = bm.Affine(bits, symmetric=False, offset=True, group_size=size)
    options = {"qmin": 0, "qmax": (1 << bits) - 1, "group_size": size}
    field = "packed" if bits < 8 else "codes"
    codes = bm.kernels.affine_encode(
        x, params["scales"], None, params["biases"], bits=bits if bits < 8 else None, **options
    )
    held = {field: codes, "scale": params["scales"], "offset": params["biases"]}
    return bm.QTensor(scheme, x.shape, "float32", held)


def test_there_is_a_golden_file_of_each_width() -> None:
    assert [name[8] for name in GOLDEN if "w4_g64" not in name] == [*map(str, WIDTHS)]


@pytest.mark.parametrize("name", GOLDEN)
def test_same_inputs_and_scales_give_the_peers_bytes(name: str) -> None:
    x, args, peers = golden_files.read(f"mlx/{name}")
    q = from_peers(x, args["bits"], args["group_size"], peers)
    for part, array in mlx.encode(q).items():
        same_bits(np.ascontiguousarray(array), peers[part], part)


def value_of(parts: Any, bits: int, columns: int, *, rounded: bool) -> np.ndarray:
    """scale · u + bias in float64, by a reader of its own; products rounded as those of offsets."""
    stream = np.unpackbits(parts["weight"].view(np.uint8), axis=1, bitorder="little")
    fields = stream[:, : columns * bits].reshape(len(stream), columns, bits)
    codes = fields @ (1 << np.arange(bits))
    size = columns // parts["scales"].shape[1]
    scale, bias = (
        np.repeat(parts[name].astype(np.float64), size, axis=1) for name in ("scales", "biases")
    )
    return (scale * codes).astype(np.float32) + bias if rounded else scale * codes + bias


SCHEMES = [
    *(bm.Affine(bits, group_size=64) for bits in WIDTHS),
    *(bm.Affine(bits, symmetric=False, group_size=32, scales="float16") for bits in WIDTHS),
    *(bm.Affine(8, symmetric=False, scales=scales) for scales in ("float16", "bfloat16")),
    *(bm.Affine(4, group_size=128, scales=scales) for scales in ("float16", "bfloat16")),
    *(
        bm.Affine(4, symmetric=False, offset=True, group_size=64, scales=scales)
        for scales in ("float32", "float16", "bfloat16")
    ),
    bm.Affine(4, group_size=128, scale_rule="signed_max", scales="float16"),
    bm.Affine(4, group_size=32, scales=bm.Scales("float16", bits=6, super_block=128)),
    bm.Affine(4, axis=None),
    bm.Affine(8, axis=0),
    bm.Affine(8),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_tensors_stand_for_just_our_values(tmp_path: Path, scheme: bm.Affine) -> None:
    folder, parts, q = exported(tmp_path, scheme, "mlx")
    assert {name: (a.dtype.name, a.shape) for name, a in parts.items()} == {
        field.name: (field.dtype, field.shape) for field in mlx.tensors(scheme, q.shape)
    }
    exact = value_of(parts, scheme.bits, q.shape[1], rounded=scheme.offset)
    assert np.array_equal(exact.astype(np.float32), q.dequantize())
    said = json.loads((folder / "config.json").read_text())
    size = q.shape[1] // parts["scales"].shape[1]
    assert said["quantization"] == {"group_size": size, "bits": scheme.bits, "mode": "affine"}
    assert said["quantization_config"] == said["quantization"]


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_mlx_computes_our_values(tmp_path: Path, scheme: bm.Affine) -> None:
    mx = needs("mlx.core")
    folder, _, q = exported(tmp_path, scheme, "mlx")
    parts = mx.load(str(folder / "model.safetensors"))
    said = json.loads((folder / "config.json").read_text())["quantization"]
    words, scale, bias = (parts[f"{NAME}.{part}"] for part in ("weight", "scales", "biases"))

    def dequantized(dtype: Any) -> np.ndarray:
        values = mx.dequantize(words, scale.astype(dtype), bias.astype(dtype), **said)
        return np.array(values.astype(mx.float32))

    ours, found = q.dequantize(), dequantized(mx.float32)
    if scale.dtype != mx.float32 or not (scheme.symmetric or scheme.offset):
        assert np.array_equal(found, ours)
    # Scales of 24 digits: builds of MLX without FMA round the product, too.
    largest = np.abs(ours).max()
    assert np.abs(found - ours).max() <= 2.0**-23 * largest
    # In the dtype that is stored, which is the model's, it rounds product and sum to that.
    digits = {mx.float32: 24, mx.float16: 11, mx.bfloat16: 8}[scale.dtype]
    assert np.abs(dequantized(scale.dtype) - ours).max() <= 2.0 ** (2 - digits) * largest


def test_matrix_products_of_mlx_are_those_of_our_values(tmp_path: Path) -> None:
    mx = needs("mlx.core")
    scheme = bm.Affine(4, symmetric=False, group_size=64, scales="bfloat16")
    folder, _, q = exported(tmp_path, scheme, "mlx")
    parts = mx.load(str(folder / "model.safetensors"))
    operands = (parts[f"{NAME}.{part}"] for part in ("weight", "scales", "biases"))
    eye = mx.eye(q.shape[1])
    y = mx.quantized_matmul(eye, *operands, transpose=True, group_size=64, bits=4)
    np.testing.assert_allclose(np.array(y).T, q.dequantize(), rtol=0, atol=1e-8)


def test_zero_points_widen_scales_and_biases_and_a_note_says_so(tmp_path: Path) -> None:
    src = quantized(tmp_path, bm.Affine(4, symmetric=False, scales="float16"))
    done = bm.export_checkpoint(src, tmp_path / "mlx", to="mlx")
    assert done.notes == (
        "scales and biases of 1 weights with zero-points are float32, which alone holds the biases",
    )


@pytest.mark.parametrize(
    ("scheme", "shape", "why"),
    [
        (bm.Affine(7), (64, 384), "the format holds 2, 3, 4, 5, 6 or 8 bits, not 7"),
        (bm.Affine(4), (64, 80), "rows of 80 cannot be cut into groups of 32, 64 or 128"),
        (
            bm.Affine(4, group_size=48),
            (64, 384),
            "rows of 384 in groups of 48 cannot be cut into groups of 32, 64 or 128",
        ),
        (bm.Affine(8, axis=1), (64, 384), "the format holds scales along rows only"),
        (bm.Affine(4, symmetric=False), (64, 384), "the format adds a bias"),
        (bm.Float("fp8_e4m3"), (64, 384), "the format holds affine codes only, no Float"),
    ],
)
def test_what_mlx_cannot_hold_is_refused(
    tmp_path: Path, scheme: Any, shape: tuple[int, int], why: str
) -> None:
    src = quantized(tmp_path, scheme, shape)
    with pytest.raises(CheckpointError, match=f"mlx cannot hold just these values: {NAME}.*{why}"):
        bm.export_checkpoint(src, tmp_path / "mlx", to="mlx")
    assert not (tmp_path / "mlx").exists()


def test_module_called_like_a_key_of_the_config_is_refused_where_it_would_take_its_place(
    tmp_path: Path,
) -> None:
    x, path = np.ones((32, 64), np.float32), tmp_path / "q.safetensors"
    most = {name: bm.quantize(x, bm.Affine(4, group_size=32)) for name in ("a", "b", "mode")}
    bm.save(most, path)
    assert "mode" in bm.export_checkpoint(path, tmp_path / "mlx", to="mlx").weights
    bm.save(most | {"mode": bm.quantize(x, bm.Affine(8, group_size=32))}, path)
    with pytest.raises(CheckpointError, match="mlx cannot tell of module 'mode', whose width"):
        bm.export_checkpoint(path, tmp_path / "other", to="mlx")
    assert not (tmp_path / "other").exists()


def test_bias_that_overflows_is_refused_by_name(tmp_path: Path) -> None:
    scheme = bm.Affine(8, group_size=64, scales="float16")
    large = {"codes": np.zeros((2, 64), np.int8), "scale": np.full((2, 1), 600, np.float16)}
    path = tmp_path / "q.safetensors"
    bm.save({"m.weight": bm.QTensor(scheme, (2, 64), "float32", large)}, path)
    with pytest.raises(CheckpointError, match=r"'m.weight': the bias of a group, -128 scales, ov"):
        bm.export_checkpoint(path, tmp_path / "mlx", to="mlx")
    assert not (tmp_path / "mlx").exists()


def test_weights_of_other_widths_are_named_and_kept_tensors_are_the_same(tmp_path: Path) -> None:
    src = make(tmp_path / "src", llama(), shards=2, config=CONFIG)
    rules = {"re:.*down_proj": bm.Affine(8, group_size=32), "Linear": bm.Affine(4, group_size=64)}
    bm.quantize_checkpoint(src, tmp_path / "q", rules, max_shard_size="100KB")
    done = bm.export_checkpoint(tmp_path / "q", tmp_path / "mlx", to="mlx")
    said = json.loads((tmp_path / "mlx" / "config.json").read_text())
    assert said == {
        **CONFIG,
        "quantization": said["quantization"],
        "quantization_config": said["quantization"],
    }
    assert said["quantization"] == {
        "group_size": 64,
        "bits": 4,
        "mode": "affine",
        "model.layers.0.mlp.down_proj": {"group_size": 32, "bits": 8},
    }
    files = [name for name in done.files if name.endswith(".safetensors")]
    assert len(files) == len(open_checkpoint(tmp_path / "q").files) > 1
    assert read_header(tmp_path / "mlx" / files[0]).metadata == {"format": "pt"}
    before, places = bm.load_checkpoint(src), open_checkpoint(tmp_path / "mlx").tensors()
    kept = {info.name: read_tensor(path, info) for path, info in places if info.name in before}
    quantized_names = {f"{module}.weight" for module in done.weights}
    assert set(done.kept) == kept.keys() - quantized_names == before.keys() - quantized_names
    for name in done.kept:
        same_bits(kept[name], before[name], name)
