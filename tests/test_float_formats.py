# SPDX-License-Identifier: MIT
"""The float formats of compressed-tensors: tensors, configuration, checkpoints from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
import golden_files
from bitmill.checkpoint import (
    CheckpointError,
    LayerScheme,
    open_checkpoint,
    plan_checkpoint,
    quantize_checkpoint,
)
from bitmill.checkpoint.inspect import inspect_checkpoint
from bitmill.checkpoint.rules import read_rules
from bitmill.cli import main
from bitmill.formats import BY_NAME, PRESETS, Weight, compressed_tensors
from bitmill.formats.layer import FLOAT_FORMATS
from checkpoints import llama, make, weight
from conftest import same_bits
from golden_checkpoints import MODULE, make_golden

FILES = [
    name
    for name in golden_files.names("compressed_tensors")
    if name.startswith(("fp8", "mxfp", "nvfp")) and "block" not in name
]
SCHEMES = [
    bm.Float("fp8_e4m3"),
    bm.Float("fp8_e4m3", axis=None, scales="bfloat16"),
    bm.Float("fp8_e4m3", group_size=64),
    *(bm.Float(kind) for kind in FLOAT_FORMATS if kind != "fp8_e4m3"),
]
NATIVE = [bm.Float(kind) for kind in ("fp8_e5m2", "mxfp6_e3m2", "mxfp8_e5m2")]


@pytest.fixture
def src(tmp_path: Path) -> Path:
    return make(tmp_path / "src", llama())


@pytest.mark.parametrize("name", FILES)
def test_peers_checkpoints_are_read_and_encoded_to_the_same_bytes(
    tmp_path: Path, name: str
) -> None:
    x, _, arrays = golden_files.read(f"compressed_tensors/{name}")
    wanted = make_golden(tmp_path, f"compressed_tensors/{name}", MODULE, config=True)
    q = bm.load_checkpoint(tmp_path)[f"{MODULE}.weight"]
    dequant = arrays["dequant"]
    assert (q.shape, q.scheme.scales) == (x.shape, q.scale.dtype.name)
    values = q.dequantize(dtype=dequant.dtype.name)
    np.testing.assert_array_equal(values.astype(np.float32), dequant.astype(np.float32))
    format = BY_NAME[wanted.args["format"]]
    encoded = format.encode(q)
    assert {name: array.tobytes() for name, array in encoded.items()} == {
        name: array.tobytes() for name, (_, array) in wanted.tensors.items()
    }


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_decode_undoes_encode(scheme: bm.Float) -> None:
    q = bm.quantize(weight(6, 192), scheme)
    layer = LayerScheme(scheme)
    format = BY_NAME[layer.format]
    arrays, said = format.encode(q), config_group(layer, q)
    listed = format.tensors(scheme, q.shape)
    assert [(f.name, f.dtype, f.shape) for f in listed] == [
        (name, array.dtype.name, array.shape) for name, array in arrays.items()
    ]
    assert format.nbytes(scheme, q.shape) == sum(array.nbytes for array in arrays.values())
    assert q.bits_per_weight("compressed_tensors") == q.bits_per_weight()
    found = format.decode(arrays, said["weights"], dtype_name="bfloat16")
    assert (found.scheme, found.shape, found.dtype) == (scheme, q.shape, "bfloat16")
    for name, array in q.arrays.items():
        same_bits(found.arrays[name], array, name)


def config_group(layer: LayerScheme, q: bm.QTensor) -> dict[str, Any]:
    said = compressed_tensors.config({"m": Weight(layer, q.shape, q.dtype)}, linear=["m"])
    return dict(json.loads(json.dumps(said))["config_groups"]["group_0"])


def test_configuration_groups_are_those_of_compressed_tensors() -> None:
    q = bm.quantize(weight(6, 192), bm.Float("fp8_e4m3"))
    assert config_group(PRESETS["FP8_DYNAMIC"], q) == {
        "targets": ["Linear"],
        "format": "float-quantized",
        "weights": {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"},
        "input_activations": {
            "num_bits": 8, "type": "float", "symmetric": True, "strategy": "token", "dynamic": True,
        },
    }  # fmt: skip
    four = {"num_bits": 4, "type": "float", "symmetric": True}
    assert config_group(PRESETS["MXFP4"], q)["weights"] == {
        **four, "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8",
    }  # fmt: skip
    assert config_group(PRESETS["NVFP4"], q)["weights"] == {
        **four, "strategy": "tensor_group", "group_size": 16,
        "scale_dtype": "torch.float8_e4m3fn",
    }  # fmt: skip


@pytest.mark.parametrize("scheme", [*SCHEMES, *NATIVE], ids=repr)
def test_checkpoints_hold_what_quantize_makes_of_each_weight(
    src: Path, tmp_path: Path, scheme: bm.Float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitmill.checkpoint.pieces.PIECE", 1 << 13)  # several for each weight
    report = quantize_checkpoint(src, tmp_path / "dst", scheme)
    before, after = bm.load_checkpoint(src), bm.load_checkpoint(tmp_path / "dst")
    found = [name for name in after if isinstance(after[name], bm.QTensor)]
    assert len(found) == 3
    for name in found:
        wanted = bm.quantize(before[name], scheme)
        assert after[name].scheme == wanted.scheme
        for field, array in wanted.arrays.items():
            same_bits(after[name].arrays[field], array, (name, field))
    items = {item.name: item.kind for item in inspect_checkpoint(tmp_path / "dst").quantized}
    assert items == dict.fromkeys(found, scheme.describe())
    assert {tensor.scheme for tensor in report.quantized} == {scheme}


@pytest.mark.parametrize("preset", ["FP8", "FP8_DYNAMIC", "MXFP4", "MXFP8", "NVFP4"])
def test_presets_from_the_command_line(
    src: Path, tmp_path: Path, preset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dst = tmp_path / "dst"
    assert main(["quantize", str(src), str(dst), "--scheme", preset]) == 0
    assert main(["inspect", str(dst)]) == 0
    shown = capsys.readouterr().out
    assert PRESETS[preset].describe() in shown
    assert main(["compare", str(src), str(dst)]) == 0
    dtypes = {info.name.rpartition(".")[2]: info.dtype for _, info in
              open_checkpoint(dst).tensors()}  # fmt: skip
    wanted = {
        "FP8": {"weight_scale": "BF16"},
        "FP8_DYNAMIC": {"weight_scale": "BF16"},
        "MXFP4": {"weight_packed": "U8", "weight_scale": "U8"},
        "MXFP8": {"weight_scale": "U8"},
        "NVFP4": {"weight_packed": "U8", "weight_scale": "F8_E4M3", "weight_global_scale": "F32"},
    }
    assert wanted[preset].items() <= dtypes.items()


def test_options_for_integers_do_not_go_with_float_presets(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (["--clip", "mse"], ["--group-size", "64"], ["--scale-rule", "absmax"]):
        with pytest.raises(SystemExit):
            main(["quantize", str(src), str(tmp_path / "d"), "--scheme", "MXFP4", *option])
        assert f"{option[0]} does not go with --scheme MXFP4" in capsys.readouterr().err


def test_rule_files_name_kinds(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        '[rules]\n"re:.*o_proj" = { kind = "fp8_e4m3", group_size = "none" }\n'
        '"re:.*up_proj" = { kind = "mxfp4", rule = "floor" }\nLinear = "NVFP4"\n'
    )
    rules = read_rules(path).rules
    assert list(rules.values()) == [
        LayerScheme(bm.Float("fp8_e4m3")),
        LayerScheme(bm.Float("mxfp4", rule="floor")),
        "NVFP4",
    ]
    path.write_text('[rules]\nLinear = { kind = "mxfp4", bits = 4 }\n')
    with pytest.raises(CheckpointError, match="'bits' is not one of: axis, format, group_size"):
        read_rules(path)


def test_formats_that_do_not_fit_are_refused(src: Path) -> None:
    mxfp4 = bm.Float("mxfp4")
    for format, reason in (
        ("pack-quantized", "the format holds affine codes only, no Float"),
        ("float-quantized", "the format holds fp8_e4m3 only, not mxfp4"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            plan_checkpoint(src, LayerScheme(mxfp4, format=format))
    with pytest.raises(CheckpointError, match="the format holds nvfp4 only, no Affine"):
        plan_checkpoint(src, LayerScheme(bm.Affine(4), format="nvfp4-pack-quantized"))
    odd = {"m.weight": weight(4, 100)}
    source = make(src.parent / "odd", odd)
    with pytest.raises(CheckpointError, match="rows of 100 weights are not a whole number"):
        plan_checkpoint(source, "MXFP4")
    with pytest.raises(ValueError, match="input_activations='fp8' do not go with pack-quantized"):
        LayerScheme(bm.Affine(4), "fp8", format="pack-quantized")
    with pytest.raises(ValueError, match="input_activations='int8' do not go with float-quantized"):
        LayerScheme(bm.Float("fp8_e4m3"), "int8")


def test_descriptions_that_do_not_fit_are_refused() -> None:
    q = bm.quantize(weight(6, 192), bm.Float("mxfp4"))
    format = BY_NAME["mxfp4-pack-quantized"]
    arrays, said = format.encode(q), config_group(LayerScheme(q.scheme), q)["weights"]
    for change, message in (
        ({"num_bits": 6}, "its num_bits is 6; mxfp4 has 4"),
        ({"group_size": 16}, "its group_size is 16; mxfp4 has 32"),
        ({"type": "int"}, "its type is 'int'; mxfp4 has 'float'"),
    ):
        with pytest.raises(ValueError, match=message):
            format.decode(arrays, said | change)
    with pytest.raises(ValueError, match="weight_scale is missing"):
        format.decode({"weight_packed": arrays["weight_packed"]}, said)
    wrong = arrays | {"weight_scale": arrays["weight_scale"][:, :-1]}
    with pytest.raises(ValueError, match=r"weight_scale is uint8 \(6, 5\)"):
        format.decode(wrong, said)
    fp8 = BY_NAME["float-quantized"]
    with pytest.raises(ValueError, match="strategy 'block'; bitmill reads tensor, channel, group"):
        fp8.scheme_of({"num_bits": 8, "type": "float", "strategy": "block"},
                      {"weight_scale": "float32"})  # fmt: skip


def test_format_that_is_not_named_is_told_by_the_weights(src: Path, tmp_path: Path) -> None:
    for preset in ("FP8", "MXFP4", "MXFP8", "NVFP4"):
        dst = tmp_path / preset
        quantize_checkpoint(src, dst, preset)
        path = dst / "config.json"
        config = json.loads(path.read_text())
        said = config["quantization_config"]
        del said["format"], said["config_groups"]["group_0"]["format"]
        path.write_text(json.dumps(config))
        kinds = {item.kind for item in inspect_checkpoint(dst).quantized}
        assert kinds == {PRESETS[preset].describe()}


def test_notes_tell_what_runtimes_do_not_take() -> None:
    def notes(scheme: bm.Float, dtype: str = "bfloat16") -> list[str]:
        return compressed_tensors.notes({"m": Weight(LayerScheme(scheme), (8, 64), dtype)})

    assert notes(bm.Float("fp8_e4m3", scales="bfloat16")) == []
    (note,) = notes(bm.Float("fp8_e4m3"))
    assert "scales are float32 in a bfloat16 model" in note
    (note,) = notes(bm.Float("fp8_e4m3", group_size=32, scales="bfloat16"))
    assert "one scale per row or tensor only" in note
    (note,) = notes(bm.Float("nvfp4"))
    assert "vLLM takes the largest global scale of q/k/v" in note
    (note,) = notes(bm.Float("mxfp4"))
    assert note == "vLLM takes mxfp4 weights in its newest versions only"
    assert (
        "a float32 model loads only with dequantize=True" in notes(bm.Float("mxfp4"), "float32")[1]
    )
    assert "mxfp6 weights need compressed-tensors 0.20" in notes(bm.Float("mxfp6_e2m3"))[1]
