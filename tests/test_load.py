# SPDX-License-Identifier: MIT
"""load_checkpoint gives back what bitmill wrote, bit for bit, and says what it cannot read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
import golden_files
from bitmill.checkpoint import CheckpointError, LayerScheme, open_checkpoint, quantize_checkpoint
from bitmill.checkpoint.write import write_tensors
from bitmill.formats import NATIVE
from checkpoints import arrays, by_hand, llama, make, weight
from conftest import same_bits

Q_PROJ = "model.layers.0.self_attn.q_proj"
PACKED = [
    LayerScheme(bm.Affine(bits, symmetric=symmetric, group_size=size, scales="bfloat16"))
    for bits in range(2, 9)
    for symmetric in (True, False)
    for size in (None, 32)
]
CONTAINED = [
    LayerScheme(bm.Affine(8), "int8"),
    LayerScheme(bm.Affine(8, group_size=128), format="int-quantized"),
    LayerScheme(bm.Affine(8, symmetric=False), format="int-quantized"),
    LayerScheme(bm.Affine(4, group_size=64, scales="float16"), format="int-quantized"),
    LayerScheme(bm.Affine(3, symmetric=False, group_size=32), format="int-quantized"),
]
OWN = [
    LayerScheme(bm.Affine(4, group_size=100, scale_rule="signed_max"), format=NATIVE),
    LayerScheme(bm.Affine(16, scale_rule="full_range"), format=NATIVE),
    LayerScheme(bm.Affine(5, symmetric=False, offset=True, axis=None), format=NATIVE),
]
INT8 = [name for name in golden_files.names("compressed_tensors") if name.startswith("int8")]


def name_of(layer: LayerScheme) -> str:
    return f"{layer.format} {layer.describe()}"


def quantized(
    folder: Path, layer: Any, *, max_shard_size: int | str = "5GB", **tensors: np.ndarray
) -> Path:
    """A folder quantized by `layer`; without tensors, that of the small Llama."""
    src = make(folder / "src", tensors or llama())
    quantize_checkpoint(src, folder / "dst", layer, max_shard_size=max_shard_size)
    return folder / "dst"


def damaged(folder: Path, changes: Mapping[str, np.ndarray | None]) -> Path:
    """The folder with some tensors of its only file replaced, or left out where they are None."""
    found = arrays(open_checkpoint(folder)) | changes
    kept = {name: array for name, array in found.items() if array is not None}
    write_tensors(folder / "model.safetensors", kept)
    return folder


def said(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def say(folder: Path, config: Mapping[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def assert_loaded(folder: Path, scheme: bm.Affine, tensors: Mapping[str, np.ndarray]) -> None:
    """Fail unless the folder holds these tensors, three of them quantized, under their names."""
    loaded = bm.load_checkpoint(folder)
    assert list(loaded) == sorted(tensors)
    assert len(loaded) == len(tensors)
    for name, x in tensors.items():
        found = loaded[name]
        if name not in loaded.stored:
            same_bits(found, x, name)
            continue
        wanted = bm.quantize(x, scheme)
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        assert found.scheme.layout(x.shape) == scheme.layout(x.shape)
        for field, array in wanted.arrays.items():
            same_bits(found.arrays[field], array, f"{name}.{field}")
    assert len(loaded.stored) == 3


@pytest.mark.parametrize("layer", [*PACKED, *CONTAINED, *OWN], ids=name_of)
def test_quantized_checkpoint_is_what_quantize_returns(tmp_path: Path, layer: LayerScheme) -> None:
    folder = quantized(tmp_path, layer)
    assert_loaded(folder, layer.weights, llama())


@pytest.mark.parametrize("layer", [PACKED[0], CONTAINED[0], OWN[0]], ids=name_of)
def test_shards_are_one_checkpoint(tmp_path: Path, layer: LayerScheme) -> None:
    folder = quantized(tmp_path, layer, max_shard_size=50_000)
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert_loaded(folder, layer.weights, llama())


def test_checkpoint_that_is_not_quantized_is_its_arrays(tmp_path: Path) -> None:
    loaded = bm.load_checkpoint(make(tmp_path / "m", llama(np.float64)))
    assert loaded.stored == {}
    for name, x in llama(np.float64).items():
        same_bits(loaded[name], x, name)


def test_saved_file_is_read_under_the_names_that_were_saved(tmp_path: Path) -> None:
    x = weight(6, 130)
    wanted = {layer.weights.describe(): bm.quantize(x, layer.weights) for layer in OWN}
    bm.save(wanted, tmp_path / "q.safetensors")
    loaded = bm.load_checkpoint(tmp_path / "q.safetensors")
    assert list(loaded) == sorted(wanted)
    for name, q in wanted.items():
        assert (loaded[name].scheme, loaded[name].dtype) == (q.scheme, "bfloat16")
        for field, array in q.arrays.items():
            same_bits(loaded[name].arrays[field], array, field)


@pytest.mark.parametrize("name", INT8)
def test_int8_of_compressed_tensors_is_decoded_to_its_values(tmp_path: Path, name: str) -> None:
    x, args, tensors = golden_files.read(f"compressed_tensors/{name}")
    wanted = tensors.pop("dequant")
    weights = {key: value for key, value in args.items() if key != "format"}
    group = {"targets": ["Linear"], "format": args["format"], "weights": weights}
    config = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    stored = {f"m.{part}": array for part, array in tensors.items()}
    folder = make(tmp_path / "m", stored, config={"quantization_config": config})
    q = bm.load_checkpoint(folder)["m.weight"]
    assert q.dtype == x.dtype.name
    same_bits(q.dequantize(dtype=wanted.dtype.name), wanted)


@pytest.mark.parametrize("layer", [PACKED[0], CONTAINED[0]], ids=name_of)
def test_dtype_is_that_of_the_configuration(tmp_path: Path, layer: LayerScheme) -> None:
    folder = quantized(tmp_path, layer)
    say(folder, {**said(folder), "dtype": "float16"})
    assert bm.load_checkpoint(folder)[f"{Q_PROJ}.weight"].dtype == "float16"


def test_dtype_of_the_native_format_is_that_of_each_weight(tmp_path: Path) -> None:
    tensors = {f"{d}.weight": weight(4, 128, dtype=d) for d in ("float32", "float16", "bfloat16")}
    loaded = bm.load_checkpoint(quantized(tmp_path, OWN[0], **tensors))
    assert {f"{q.dtype}.weight": q.shape for q in loaded.values()} == dict.fromkeys(
        tensors, (4, 128)
    )


def test_scheme_of_the_native_format_is_whole(tmp_path: Path) -> None:
    q = bm.load_checkpoint(quantized(tmp_path, OWN[0]))[f"{Q_PROJ}.weight"]
    assert q.scheme == OWN[0].weights


def test_dtype_that_numpy_lacks_is_bytes(tmp_path: Path) -> None:
    entry = {"dtype": "F8_E4M3FNUZ", "shape": [2, 3], "data_offsets": [0, 6]}
    path = by_hand(tmp_path / "m.safetensors", {"t": entry}, b"abcdef")
    same_bits(bm.load_checkpoint(path)["t"], np.frombuffer(b"abcdef", np.uint8))


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_floats_of_8_bits_are_those_of_ml_dtypes(tmp_path: Path, dtype: str) -> None:
    entry = {"dtype": dtype, "shape": [2, 3], "data_offsets": [0, 6]}
    path = by_hand(tmp_path / "m.safetensors", {"t": entry}, b"abcdef")
    found = bm.load_checkpoint(path)["t"]
    assert (found.dtype.name.partition("_")[2][:4].upper(), found.shape) == (dtype[3:7], (2, 3))
    assert found.tobytes() == b"abcdef"


def test_tensors_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    folder = quantized(tmp_path, PACKED[0], max_shard_size=50_000)
    loaded = bm.load_checkpoint(folder)
    shard = loaded.stored[f"{Q_PROJ}.weight"].parts["weight_packed"][0]
    mates = {name for name, w in loaded.stored.items() if w.parts["weight_packed"][0] == shard}
    mates |= {name for name, (path, _) in loaded.kept.items() if path == shard}
    header = int.from_bytes(shard.read_bytes()[:8], "little") + 8
    with open(shard, "r+b") as file:
        file.truncate(header)
    assert 0 < len(mates) < len(loaded)
    for name in loaded:
        if name in mates:
            with pytest.raises(CheckpointError, match=f"{shard.name}: ends at byte"):
                loaded[name]
        else:
            assert loaded[name].size


def test_every_access_reads_anew(tmp_path: Path) -> None:
    loaded = bm.load_checkpoint(make(tmp_path / "m", {"t": np.zeros(3, np.int8)}))
    loaded["t"][:] = 1
    assert loaded["t"].sum() == 0


def test_broken_weight_breaks_no_other(tmp_path: Path) -> None:
    folder = damaged(quantized(tmp_path, PACKED[0]), {f"{Q_PROJ}.weight_shape": np.arange(2)})
    loaded = bm.load_checkpoint(folder)
    with pytest.raises(CheckpointError, match=f"'{Q_PROJ}.weight'"):
        loaded[f"{Q_PROJ}.weight"]
    assert all(loaded[name].size for name in loaded if Q_PROJ not in name)


def test_unknown_name_is_a_key_error(tmp_path: Path) -> None:
    loaded = bm.load_checkpoint(make(tmp_path / "m", llama()))
    assert "nothing" not in loaded
    with pytest.raises(KeyError, match="nothing"):
        loaded["nothing"]


def test_repr_counts_the_tensors(tmp_path: Path) -> None:
    folder = quantized(tmp_path, PACKED[0])
    assert repr(bm.load_checkpoint(folder)) == (
        f"LoadedCheckpoint({str(folder)!r}, 9 tensors, 3 of them quantized)"
    )


def refused(folder: Path, message: str) -> None:
    """Fail unless the checkpoint, or else one of its tensors, is refused with this message."""
    with pytest.raises(CheckpointError, match=message) as caught:
        dict(bm.load_checkpoint(folder))
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({"quantization_config": {"quant_method": ["x"]}}, r"\['x'\]"),
        ({"quantization": {"bits": 4}}, "mlx"),
        ({"quantization": {"bits": 4}, "quantization_config": {"bits": 4}}, "mlx"),
    ],
)
def test_other_method_is_refused_by_name(
    tmp_path: Path, config: dict[str, Any], method: str
) -> None:
    folder = make(tmp_path / "m", llama(), config=config)
    refused(folder, f"quantized by {method}, which bitmill does not read")


@pytest.mark.parametrize(
    ("layer", "part"),
    [
        (PACKED[0], "weight_packed"),
        (PACKED[0], "weight_scale"),
        (PACKED[0], "weight_shape"),
        (PACKED[2], "weight_zero_point"),
        (CONTAINED[0], "weight"),
        (CONTAINED[2], "weight_zero_point"),
        (OWN[0], "packed"),
        (OWN[0], "scale"),
    ],
)
def test_missing_part_is_named_with_its_tensor(
    tmp_path: Path, layer: LayerScheme, part: str
) -> None:
    folder = damaged(quantized(tmp_path, layer), {f"{Q_PROJ}.{part}": None})
    refused(folder, f"tensor '{Q_PROJ}.weight': {part} is missing; found ")


@pytest.mark.parametrize(
    ("layer", "part", "array"),
    [
        (PACKED[0], "weight_packed", np.zeros((256, 17), np.int32)),
        (PACKED[0], "weight_packed", np.zeros((256, 16), np.uint32)),
        (PACKED[0], "weight_scale", np.ones((256, 2), ml_dtypes.bfloat16)),
        (PACKED[0], "weight_scale", np.ones(256, ml_dtypes.bfloat16)),
        (PACKED[0], "weight_scale", np.ones((256, 1), np.float64)),
        (PACKED[0], "weight_scale", np.ones((256, 1), np.int8)),
        (PACKED[0], "weight_shape", np.array([256, 240])),
        (PACKED[0], "weight_shape", np.array([-256, 256])),
        (PACKED[0], "weight_shape", np.array([1 << 62, 1 << 62])),
        (PACKED[0], "weight_shape", np.array([256.0, 256.0])),
        (PACKED[0], "weight_shape", np.array(256)),
        (PACKED[2], "weight_zero_point", np.zeros((8, 2), np.int32)),
        (CONTAINED[0], "weight", np.zeros((255, 256), np.int8)),
        (CONTAINED[0], "weight", np.zeros(256, np.int8)),
        (CONTAINED[0], "weight", np.zeros((256, 256), np.uint8)),
        (CONTAINED[1], "weight_scale", np.ones((256, 3), np.float32)),
        (CONTAINED[2], "weight_zero_point", np.zeros((256, 1), np.int32)),
        (OWN[0], "scale", np.ones((256, 2), np.float32)),
        (OWN[0], "packed", np.zeros((256, 1), np.uint32)),
    ],
)
def test_part_of_the_wrong_shape_or_dtype_is_refused(
    tmp_path: Path, layer: LayerScheme, part: str, array: np.ndarray
) -> None:
    folder = damaged(quantized(tmp_path, layer), {f"{Q_PROJ}.{part}": array})
    refused(folder, f"tensor '{Q_PROJ}.weight': ")


@pytest.mark.parametrize("code", [8, -9, 127, -128])
@pytest.mark.parametrize("part", ["weight", "weight_zero_point"])
def test_codes_beyond_their_bits_are_refused(tmp_path: Path, part: str, code: int) -> None:
    layer = LayerScheme(bm.Affine(4, symmetric=False), format="int-quantized")
    folder = quantized(tmp_path, layer)
    array = arrays(open_checkpoint(folder))[f"{Q_PROJ}.{part}"]
    array[3, 0] = code
    damaged(folder, {f"{Q_PROJ}.{part}": array})
    refused(folder, f"tensor '{Q_PROJ}.weight': {part} holds codes outside -8 to 7")


def test_weight_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    folder = damaged(quantized(tmp_path, PACKED[0]), {f"{Q_PROJ}.weight": weight(256, 256)})
    refused(folder, f"tensor '{Q_PROJ}.weight' is there twice: quantized, and not")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"g": {"targets": ["other.module"], "weights": {}}}, f"targets '{Q_PROJ}'"),
        ({"g": {"targets": ["re:other"], "weights": {}}}, f"targets '{Q_PROJ}'"),
        ({}, f"targets '{Q_PROJ}'"),
        ({"g": {"targets": ["Linear"]}}, f"its group for '{Q_PROJ}' has no 'weights'"),
        (None, "its 'config_groups' is no object of objects"),
        ({"g": 3}, "its 'config_groups' is no object of objects"),
        ({"g": {"targets": None, "weights": {}}}, ""),
        ({"g": {"targets": ["re:["], "weights": {}}}, ""),
        ({"g": {"targets": ["Linear"], "weights": {}, "format": "x"}}, f"'{Q_PROJ}' is in the fo"),
    ],
)
def test_groups_that_do_not_tell_the_scheme_are_refused(
    tmp_path: Path, groups: Any, message: str
) -> None:
    src = make(tmp_path / "src", {f"{Q_PROJ}.weight": weight(256, 256)})
    quantize_checkpoint(src, tmp_path / "dst", PACKED[0])
    config = said(tmp_path / "dst")
    config["quantization_config"]["config_groups"] = groups
    refused(say(tmp_path / "dst", config), f"quantization_config of config.json: .*{message}")


@pytest.mark.parametrize(
    "change",
    [
        {"num_bits": 5},
        {"num_bits": 1},
        {"num_bits": "4"},
        {"type": "float"},
        {"strategy": "block"},
        {"strategy": ["group"]},
        {"symmetric": False},
        {"strategy": "group", "group_size": 0},
        {"strategy": "group", "group_size": 100},
        {"strategy": "group", "group_size": "32"},
    ],
)
def test_group_that_does_not_fit_the_tensors_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    folder = quantized(tmp_path, LayerScheme(bm.Affine(4)))
    config = said(folder)
    config["quantization_config"]["config_groups"]["group_0"]["weights"].update(change)
    refused(say(folder, config), "tensor 'model.layers.0.*weight': ")


@pytest.mark.parametrize("order", ["group", "dynamic", True])
def test_groups_of_columns_that_are_no_neighbours_are_refused(tmp_path: Path, order: Any) -> None:
    folder = quantized(tmp_path, LayerScheme(bm.Affine(4, group_size=128)))
    config = said(folder)
    weights = config["quantization_config"]["config_groups"]["group_0"]["weights"]
    weights["actorder"] = "static"
    before = np.asarray(bm.load_checkpoint(say(folder, config))[f"{Q_PROJ}.weight"])
    assert before.shape == (256, 256)
    weights["actorder"] = order
    refused(say(folder, config), f"its groups are those of weight_g_idx .actorder {order!r}")


@pytest.mark.parametrize(
    "change",
    [
        {"tensors": []},
        {"version": 9},
        {"tensors": {"m": 3}},
        {"tensors": {"m": {"scheme": {"scheme": "Cube"}, "shape": [2], "dtype": "float32"}}},
    ],
)
def test_configuration_of_the_native_format_that_is_none_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    folder = quantized(tmp_path, OWN[0])
    config = said(folder)
    config["quantization_config"].update(change)
    refused(say(folder, config), "quantization_config of config.json: ")


def test_configuration_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", llama(), config={"quantization_config": [4]})
    refused(folder, "quantization_config is a JSON list; wanted an object")
