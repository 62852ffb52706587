# SPDX-License-Identifier: MIT
"""`inspect` recognizes what is in a checkpoint: every golden file, and what bitmill writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, LayerScheme, quantize_checkpoint
from bitmill.checkpoint.inspect import inspect_checkpoint, inspect_tensor
from checkpoints import llama, make, weight
from golden_checkpoints import MODULE, golden, make_golden
from golden_files import GOLDEN, names

TINY = GOLDEN / "gguf" / "tiny.gguf"
METHODS = {
    "awq_gemm": "AWQ",
    "gptq_v1": "GPTQ",
    "bitsandbytes": "bitsandbytes",
    "compressed_tensors": "compressed-tensors",
    "mlx": "MLX",
}
FILES = [
    f"{folder}/{name}"
    for folder in ("awq_gptq", "bitsandbytes", "compressed_tensors", "mlx")
    for name in names(folder)
]
FLOAT_LABELS = {
    "float-quantized": "fp8",
    "mxfp4-pack-quantized": "mxfp4",
    "mxfp8-quantized": "mxfp8",
    "nvfp4-pack-quantized": "nvfp4",
}
NATIVE = LayerScheme(bm.Affine(4, group_size=128), format="native")


def float_label(args: dict[str, Any], *, config: bool) -> str:
    """The scheme of floats that is shown; bitmill reads no blocks of several rows."""
    if not config:
        return FLOAT_LABELS[args["format"]]
    if args["strategy"] == "block":
        return str(args["format"])
    granularity = {"channel": " row", "tensor": " tensor"}.get(args["strategy"], "")
    wide = {"fp8": "fp8_e4m3", "mxfp8": "mxfp8_e4m3"}
    kind = FLOAT_LABELS[args["format"]]
    return wide.get(kind, kind) + granularity


def label_of(file: str, args: dict[str, Any], *, config: bool) -> str:
    """The scheme that is shown, with a config.json and without."""
    folder, _, name = file.partition("/")
    size = f"g{args['group_size']}" if "group_size" in args else ""
    if folder == "awq_gptq":
        return f"int4 {size}"
    if folder == "mlx":
        if not config:
            return "affine ? bits" if args["mode"] == "affine" else "mx ? bits"
        return f"{args['mode']} {args['bits']} bits {size}"
    if folder == "bitsandbytes":
        if name.startswith("int8"):
            return "int8 row"
        kind, size, double = args["quant_type"], args["blocksize"], args["double_quant"]
        if config:
            return f"{kind.upper()} g{size}{' dq' if double else ''}"
        return f"{kind} b{size}{' nested' if double else ''}"
    if args["format"] in FLOAT_LABELS:
        return float_label(args, config=config)
    if not config:
        return args["format"]
    granularity = {"channel": "row", "tensor": "tensor", "group": size}[args["strategy"]]
    return f"int{args['num_bits']} {'sym' if args['symmetric'] else 'asym'} {granularity}"


@pytest.mark.parametrize("config", [True, False], ids=["config", "tensors"])
@pytest.mark.parametrize("module", [MODULE, ""], ids=["module", "root"])
@pytest.mark.parametrize("file", FILES)
def test_golden_file_is_recognized(tmp_path: Path, file: str, module: str, config: bool) -> None:
    wanted = make_golden(tmp_path, file, module, config=config)
    contents = inspect_checkpoint(tmp_path)
    (item,) = contents.items
    method = next(method for start, method in METHODS.items() if start in file)
    told = config or not file.startswith("mlx/")  # the files of MLX do not tell the bits
    assert (contents.method, item.method) == (method, method)
    assert item.name == (f"{module}.weight" if module else "weight")
    assert item.shape == (wanted.shape if told else None)
    assert item.kind == label_of(file, wanted.args, config=config)
    assert item.nbytes == sum(array.nbytes for _, array in wanted.tensors.values())
    assert len(item.parts) == len(wanted.tensors)


@pytest.mark.parametrize("alone", [True, False], ids=["folder", "file"])
def test_gguf_is_recognized(tmp_path: Path, alone: bool) -> None:
    path = tmp_path / ("tiny.gguf" if alone else "no-suffix")
    path.write_bytes(TINY.read_bytes())
    contents = inspect_checkpoint(tmp_path if alone else path)
    assert contents.method == "GGUF"
    assert contents.files == {path.name: TINY.stat().st_size}
    assert [(item.name, item.shape, item.kind, item.method) for item in contents.items] == [
        ("blk.0.Q8_0.weight", (4, 256), "Q8_0", "GGUF"),
        ("blk.0.Q4_0.weight", (4, 256), "Q4_0", "GGUF"),
        ("blk.0.Q4_K.weight", (4, 256), "Q4_K", "GGUF"),
        ("blk.0.norm.weight", (100,), "F32", None),
        ("blk.0.bf16.weight", (3, 256), "BF16", None),
    ]
    assert [item.bits_per_weight for item in contents.items] == [8.5, 4.5, 4.5, 32, 16]


def test_safetensors_count_before_gguf_in_a_folder(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", llama())
    (folder / "a.gguf").write_bytes(TINY.read_bytes())
    assert inspect_checkpoint(folder).method == "not quantized"


def test_checkpoint_that_is_not_quantized_is_its_tensors(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", llama(), shards=2)
    contents = inspect_checkpoint(folder)
    assert (contents.method, contents.quantized, contents.facts) == ("not quantized", (), {})
    assert {item.name: (item.shape, item.nbytes) for item in contents.items} == {
        name: (array.shape, array.nbytes) for name, array in llama().items()
    }
    assert {item.kind for item in contents.items} == {"BF16", "I64"}
    assert contents.files == {p.name: p.stat().st_size for p in folder.glob("*.safetensors")}


def test_native_checkpoint_is_recognized(tmp_path: Path) -> None:
    make(tmp_path / "src", llama())
    quantize_checkpoint(tmp_path / "src", tmp_path / "dst", NATIVE)
    contents = inspect_checkpoint(tmp_path / "dst")
    (item,) = (item for item in contents.items if "q_proj.weight" in item.name)
    q = bm.quantize(weight(256, 256), NATIVE.weights)
    assert (contents.method, len(contents.quantized)) == ("bitmill", 3)
    assert (item.shape, item.kind, item.nbytes) == (q.shape, q.scheme.describe(), q.nbytes)


def test_saved_file_is_recognized(tmp_path: Path) -> None:
    q = bm.quantize(weight(6, 130), bm.Affine(5, symmetric=False))
    bm.save({"w": q, "deep.w": q}, tmp_path / "q.safetensors")
    contents = inspect_checkpoint(tmp_path / "q.safetensors")
    assert contents.method == "bitmill"
    assert sorted((i.name, i.shape, i.kind, i.nbytes) for i in contents.items) == [
        (name, q.shape, q.scheme.describe(), q.nbytes) for name in ("deep.w", "w")
    ]


def test_input_activations_are_shown(tmp_path: Path) -> None:
    make(tmp_path / "src", llama())
    quantize_checkpoint(tmp_path / "src", tmp_path / "dst", LayerScheme(bm.Affine(8), "int8"))
    kinds = {item.kind for item in inspect_checkpoint(tmp_path / "dst").quantized}
    assert kinds == {"int8 sym row a8"}


def test_facts_are_what_the_configuration_says_in_single_values(tmp_path: Path) -> None:
    make_golden(tmp_path, "awq_gptq/gptq_v1_w4_g32", MODULE, config=True)
    assert inspect_checkpoint(tmp_path).facts == {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 32,
        "desc_act": False,
        "sym": False,
        "checkpoint_format": "gptq",
    }


def test_method_of_the_configuration_counts_where_tensors_tell_none(tmp_path: Path) -> None:
    config = {"quantization_config": {"quant_method": "unheard-of"}}
    folder = make(tmp_path / "m", {"m.codes": np.arange(4)}, config=config)
    assert inspect_checkpoint(folder).method == "unheard-of"


def test_bias_of_a_quantized_module_stands_for_itself(tmp_path: Path) -> None:
    tensors = {name: array for name, (_, array) in golden(FILES[0]).tensors.items()}
    tensors = {f"m.{name}": array for name, array in tensors.items()} | {"m.bias": weight(32)}
    items = inspect_checkpoint(make(tmp_path / "m", tensors)).items
    assert {item.name: item.method for item in items} == {"m.weight": "AWQ", "m.bias": None}


def test_weight_format_of_bitsandbytes_is_a_part(tmp_path: Path) -> None:
    tensors = {name: array for name, (_, array) in golden("bitsandbytes/int8_f16").tensors.items()}
    tensors["weight_format"] = np.zeros((), np.uint8)
    (item,) = inspect_checkpoint(make(tmp_path / "m", tensors)).items
    assert sorted(item.parts) == ["SCB", "weight", "weight_format"]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("method", ["GPTQ", "AWQ"])
def test_bits_of_packed_columns_are_told_by_the_zero_points(
    tmp_path: Path, method: str, bits: int
) -> None:
    words = (256, 32 * bits // 32) if method == "AWQ" else (256 * bits // 32, 32)
    tensors = {
        "m.qweight": np.zeros(words, np.int32),
        "m.qzeros": np.zeros((2, 32 * bits // 32), np.int32),
        "m.scales": np.ones((2, 32), np.float16),
    }
    (item,) = inspect_checkpoint(make(tmp_path / "m", tensors)).items
    assert (item.method, item.kind, item.shape) == (method, f"int{bits} g128", (32, 256))


def test_exceptions_of_mlx_go_by_the_names_of_modules(tmp_path: Path) -> None:
    file = "mlx/affine_w8_g64"
    make_golden(tmp_path, file, MODULE, config=False)
    said = {"group_size": 32, "bits": 4, MODULE: {"group_size": 64, "bits": 8}}
    (tmp_path / "config.json").write_text(json.dumps({"quantization": said}))
    (item,) = inspect_checkpoint(tmp_path).items
    assert (item.kind, item.shape) == ("affine 8 bits g64", (32, 256))


def test_mxfp6_is_told_from_mxfp4_by_its_size(tmp_path: Path) -> None:
    tensors = {
        "m.weight_packed": np.zeros((32, 192), np.uint8),
        "m.weight_scale": np.zeros((32, 8), np.uint8),
    }
    (item,) = inspect_checkpoint(make(tmp_path / "m", tensors)).items
    assert (item.kind, item.shape, item.bits_per_weight) == ("mxfp6", (32, 256), 6.25)


def test_float_weight_with_a_scale_is_not_quantized(tmp_path: Path) -> None:
    tensors = {"m.weight": weight(4, 4), "m.weight_scale": weight(4, 1)}
    contents = inspect_checkpoint(make(tmp_path / "m", tensors))
    assert (contents.method, len(contents.items)) == ("not quantized", 2)


@pytest.mark.parametrize("module", ["m.", ""])
def test_parts_of_like_names_are_all_shown(tmp_path: Path, module: str) -> None:
    tensors = {f"{module}{name}": weight(2) for name in ("weight.absmax", "absmax", "weight")}
    items = inspect_checkpoint(make(tmp_path / "m", tensors)).items
    assert sorted(item.name for item in items) == sorted(tensors)


@pytest.mark.parametrize("file", ["awq_gptq/gptq_v1_w4_g32", "mlx/affine_w4_g64"])
@pytest.mark.parametrize("bits", [0, -4, "4", None, [4], True, 1.5])
def test_bits_that_make_no_sense_are_not_reckoned_with(
    tmp_path: Path, file: str, bits: Any
) -> None:
    make_golden(tmp_path, file, MODULE, config=False)
    said = {"quant_method": "x", "bits": bits, "group_size": bits}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": said}))
    (item,) = inspect_checkpoint(tmp_path).items
    assert item.shape in (None, (32, 256), (32, 1024))


@pytest.mark.parametrize(
    "state",
    [b"[" * 50_000, b"\xff", b"[]", b'{"shape": [1, "x"]}', b'{"shape": 3}', b'{"shape": [-1]}'],
    ids=["deep", "no-text", "list", "strings", "number", "negative"],
)
def test_state_of_bitsandbytes_that_is_none_leaves_the_shape_open(
    tmp_path: Path, state: bytes
) -> None:
    tensors = {
        "m.weight": np.zeros((16, 1), np.uint8),
        "m.weight.quant_state.bitsandbytes__nf4": np.frombuffer(state, np.uint8),
    }
    (item,) = inspect_checkpoint(make(tmp_path / "m", tensors)).items
    assert (item.kind, item.shape) == ("nf4 b?", None)


@pytest.mark.parametrize("groups", [None, {"g": {"targets": ["re:["]}}, {"g": {"targets": 3}}])
def test_groups_that_make_no_sense_leave_the_tensors_to_tell(tmp_path: Path, groups: Any) -> None:
    make_golden(tmp_path, "compressed_tensors/pack_w4_sym_g32_f32", MODULE, config=False)
    said = {"quant_method": "compressed-tensors", "config_groups": groups}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": said}))
    (item,) = inspect_checkpoint(tmp_path).items
    assert (item.kind, item.shape) == ("pack-quantized", (32, 256))


def test_configuration_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", llama(), config={"quantization_config": [4]})
    with pytest.raises(CheckpointError, match=r"m: config.json: quantization_config is a JSON li"):
        inspect_checkpoint(folder)


def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match=r"pipe: is a pipe, .*; wanted a regular file"):
        inspect_checkpoint(tmp_path / "pipe")


def test_details_of_a_float_tensor_are_its_range_and_its_place(tmp_path: Path) -> None:
    x = np.array([[0.5, -2.0, 0.0], [0.0, 7.0, -0.0]], ml_dtypes.bfloat16)
    folder = make(tmp_path / "m", {"m.weight": x})
    found = inspect_tensor(folder, "m.weight")
    raw = (folder / "model.safetensors").read_bytes()
    place = found["stored"]["m.weight"]
    assert [found[key] for key in ("min", "max", "zeros", "nonfinite")] == [-2.0, 7.0, 3, 0]
    assert (place["file"], place["dtype"], place["shape"]) == ("model.safetensors", "BF16", [2, 3])
    assert raw[place["begin"] : place["begin"] + place["bytes"]] == x.tobytes()


def test_details_count_what_is_not_finite(tmp_path: Path) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1], np.float16)
    found = inspect_tensor(make(tmp_path / "m", {"x": x}), "x")
    assert (found["nonfinite"], "min" in found) == (3, False)


@pytest.mark.parametrize("x", [np.arange(3), np.zeros((0, 4), np.float32)], ids=["int", "empty"])
def test_details_of_a_tensor_without_statistics_are_where_it_lies(
    tmp_path: Path, x: np.ndarray
) -> None:
    found = inspect_tensor(make(tmp_path / "m", {"x": x}), "x")
    assert (found["bytes"], found["stored"]["x"]["bytes"], "min" in found) == (
        x.nbytes,
        x.nbytes,
        False,
    )


@pytest.mark.parametrize("layer", [NATIVE, NATIVE.weights], ids=["native", "pack-quantized"])
def test_details_of_a_quantized_tensor_are_codes_scales_and_values(
    tmp_path: Path, layer: LayerScheme | bm.Affine
) -> None:
    x = weight(64, 256)
    make(tmp_path / "src", {"m.weight": x})
    quantize_checkpoint(tmp_path / "src", tmp_path / "dst", layer)
    q = bm.quantize(x, NATIVE.weights)
    found = inspect_tensor(tmp_path / "dst", "m")
    values = q.dequantize()
    assert found["scheme"] == q.scheme.to_dict()
    assert found["scales"] == {
        "dtype": "float32",
        "shape": [64, 2],
        "min": q.scale.min(),
        "max": q.scale.max(),
        "zeros": 0,
        "nonfinite": 0,
    }
    assert found["codes"] == {v: np.count_nonzero(q.codes == v) for v in range(-7, 8)}
    assert found["levels_used"] == 15
    assert (found["min"], found["max"]) == (values.min(), values.max())
    assert found["zeros"] == np.count_nonzero(values == 0)


def test_details_of_an_empty_quantized_tensor_are_shown(tmp_path: Path) -> None:
    q = bm.quantize(np.zeros((0, 7), np.float32), bm.Affine(4))
    bm.save({"w": q}, tmp_path / "q.safetensors")
    found = inspect_tensor(tmp_path / "q.safetensors", "w")
    assert (found["shape"], found["codes"], found["bits_per_weight"]) == ([0, 7], {}, None)


def test_details_of_what_others_quantized_are_where_its_parts_lie(tmp_path: Path) -> None:
    wanted = make_golden(tmp_path, "mlx/mxfp4", MODULE, config=True)
    found = inspect_tensor(tmp_path, MODULE)
    assert {name: part["bytes"] for name, part in found["stored"].items()} == {
        f"{MODULE}.{name}": array.nbytes for name, (_, array) in wanted.tensors.items()
    }


def test_details_of_gguf_are_those_of_its_header() -> None:
    assert inspect_tensor(TINY, "blk.0.Q4_K") == {
        "name": "blk.0.Q4_K.weight",
        "shape": [4, 256],
        "kind": "Q4_K",
        "method": "GGUF",
        "bytes": 576,
        "bits_per_weight": 4.5,
        "parts": ["blk.0.Q4_K.weight"],
    }


def test_exact_name_counts_before_that_of_a_module(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", {"a": weight(2), "a.weight": weight(3)})
    assert inspect_tensor(folder, "a")["shape"] == [2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", r"no tensor 'nothing' in it$"),
        (f"{MODULE}.scales", rf"no tensor '{MODULE}.scales' in it \(it is a part of '{MODULE}"),
    ],
)
def test_name_of_no_weight_is_refused(tmp_path: Path, name: str, message: str) -> None:
    make_golden(tmp_path, "mlx/mxfp4", MODULE, config=True)
    with pytest.raises(CheckpointError, match=message) as caught:
        inspect_tensor(tmp_path, name)
    assert str(tmp_path) in str(caught.value)
