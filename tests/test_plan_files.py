# SPDX-License-Identifier: MIT
"""Plans as files: exact sizes before the work, saved, read, edited by hand, and refused."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, LayerScheme, Plan, read_plan
from bitmill.checkpoint.read import INDEX, WEIGHTS
from checkpoints import CONFIG, by_hand, contents, llama, make

W4 = bm.Affine(4, group_size=128, scales="bfloat16")
Q_PROJ = "model.layers.0.self_attn.q_proj.weight"
DOWN_PROJ = "model.layers.0.mlp.down_proj.weight"

ODD_CONFIG = {
    **CONFIG,
    "name": "Größe ☃ \U0001f600 \x07",
    "limit": float("inf"),
    "nothing": float("nan"),
    "eps": 1e-05,
    "huge": 1e300,
    "count": 10**40,
    "deep": [{"a": [None, True, {}]}, []],
}

RULES: list[Any] = [
    W4,
    "W8A8",
    bm.Affine(3, symmetric=False, group_size=64),
    LayerScheme(bm.Affine(4, axis=0), format="native"),
    {"re:.*q_proj": "W8A8", "Linear": "W4A16"},
]


def edited(plan: Plan, path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """The file `path` with a plan that somebody has edited."""
    plan.save(path)
    said = json.loads(path.read_text())
    edit(said)
    path.write_text(json.dumps(said))
    return path


def entry(said: dict[str, Any], name: str) -> dict[str, Any]:
    """What a plan file says about one tensor."""
    (found,) = (tensor for tensor in said["tensors"] if tensor["name"] == name)
    return found


# Sizes


@pytest.mark.parametrize("config", [None, CONFIG, ODD_CONFIG], ids=["none", "plain", "odd"])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("rules", RULES, ids=["W4", "W8A8", "int3-asym", "native", "mixed"])
def test_planned_sizes_are_those_of_the_files(
    tmp_path: Path, rules: Any, shards: int, config: Any
) -> None:
    src = make(tmp_path / "src", llama(), shards=shards, config=config)
    limit = "5GB" if shards == 1 else 50_000
    plan = bm.plan_checkpoint(src, rules, split_fused=True, max_shard_size=limit)
    bm.quantize_checkpoint(src, tmp_path / "dst", plan)
    sizes = {name: len(content) for name, content in contents(tmp_path / "dst").items()}
    del sizes["bitmill_report.json"], sizes["bitmill_manifest.json"]
    assert plan.files == sizes
    assert (INDEX in sizes) == (shards > 1)


def test_planned_sizes_of_a_single_file_are_those_of_the_folder(src: Path, tmp_path: Path) -> None:
    path = src / WEIGHTS
    renamed = path.rename(tmp_path / "weights.safetensors")
    plan = bm.plan_checkpoint(renamed, W4)
    bm.quantize_checkpoint(renamed, tmp_path / "dst", plan)
    sizes = {name: len(content) for name, content in contents(tmp_path / "dst").items()}
    del sizes["bitmill_report.json"], sizes["bitmill_manifest.json"]
    assert plan.files == sizes
    assert sizes.keys() == {WEIGHTS, "config.json"}


def test_odd_values_of_the_config_reach_the_target(tmp_path: Path) -> None:
    src = make(tmp_path / "src", llama(), config=ODD_CONFIG)
    bm.quantize_checkpoint(src, tmp_path / "dst", W4)
    config = json.loads((tmp_path / "dst" / "config.json").read_text(encoding="utf-8"))
    del config["quantization_config"]
    assert repr(config) == repr(ODD_CONFIG)  # NaN does not equal itself


def test_metadata_of_the_index_reach_the_target(tmp_path: Path) -> None:
    src = make(tmp_path / "src", llama(), shards=3)
    index = json.loads((src / INDEX).read_text())
    index["metadata"] = {"total_parameters": 10**12, "made by": "é"}
    (src / INDEX).write_text(json.dumps(index))
    plan = bm.plan_checkpoint(src, W4, max_shard_size=70_000)
    bm.quantize_checkpoint(src, tmp_path / "dst", plan)
    found = json.loads((tmp_path / "dst" / INDEX).read_text(encoding="utf-8"))["metadata"]
    assert found == {
        "total_parameters": 10**12,
        "made by": "é",
        "total_size": plan.bytes_after,
    }


def test_plan_reads_no_tensor_data(tmp_path: Path) -> None:
    begin, header = 0, {}
    for name in ("a.weight", "b.weight"):
        end = begin + (64 << 30)
        header[name] = {"dtype": "BF16", "shape": [1 << 17, 1 << 18], "data_offsets": [begin, end]}
        begin = end
    path = by_hand(tmp_path / "x.safetensors", header)
    os.truncate(path, path.stat().st_size + begin)  # a hole of 128 GiB
    tracemalloc.start()
    try:
        plan = bm.plan_checkpoint(path, W4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert plan.bytes_before == 128 << 30
    shards = [size for name, size in plan.files.items() if name.endswith(".safetensors")]
    assert len(shards) == 2
    assert sum(shards) > plan.bytes_after > 32 << 30
    assert peak < 1 << 20


# Saved and read


@pytest.mark.parametrize("rules", RULES, ids=["W4", "W8A8", "int3-asym", "native", "mixed"])
def test_plan_that_was_saved_and_read_is_the_same(src: Path, tmp_path: Path, rules: Any) -> None:
    plan = bm.plan_checkpoint(src, rules, split_fused=True)
    plan.save(tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json").tensors == plan.tensors


def test_plan_that_was_read_gives_the_bytes_of_its_rules(tmp_path: Path) -> None:
    src = make(tmp_path / "src", llama(), shards=3)
    rules = {"re:.*q_proj": "W8A8", "Linear": bm.Affine(4, group_size=256)}
    options: dict[str, Any] = {"on_unsupported": "fallback", "split_fused": True}
    plan = bm.plan_checkpoint(src, rules, **options)
    plan.save(tmp_path / "plan.json")
    bm.quantize_checkpoint(src, tmp_path / "made", plan)
    bm.quantize_checkpoint(src, tmp_path / "read", read_plan(tmp_path / "plan.json"))
    assert contents(tmp_path / "read") == contents(tmp_path / "made")


def test_plan_file_tells_sizes_and_notes(src: Path, tmp_path: Path) -> None:
    plan = bm.plan_checkpoint(src, bm.Affine(4, symmetric=False, group_size=128))
    plan.save(tmp_path / "plan.json")
    said = json.loads((tmp_path / "plan.json").read_text())
    assert said["files"] == plan.files
    assert said["notes"] == plan.notes() != []
    assert entry(said, Q_PROJ)["bytes_after"] < entry(said, Q_PROJ)["bytes_before"] == 2 * 256**2


def test_same_plan_same_file(src: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        bm.plan_checkpoint(src, W4).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_saving_replaces_an_older_plan(src: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("old")
    bm.plan_checkpoint(src, W4).save(path)
    assert len(read_plan(path).quantized) == 3
    assert sorted(tmp_path.iterdir()) == [path, src]


# Edited by hand


def test_another_scheme_written_into_a_plan_is_used(src: Path, tmp_path: Path) -> None:
    def edit(said: dict[str, Any]) -> None:
        entry(said, DOWN_PROJ)["layer"]["weights"] = {"scheme": "Affine", "bits": 3}

    path = edited(bm.plan_checkpoint(src, W4), tmp_path / "plan.json", edit)
    report = bm.quantize_checkpoint(src, tmp_path / "dst", read_plan(path))
    found = {tensor.name: tensor.scheme for tensor in report.quantized}
    assert found[DOWN_PROJ] == bm.Affine(3)
    stored = bm.load_checkpoint(tmp_path / "dst")[DOWN_PROJ]
    wanted = bm.quantize(llama()[DOWN_PROJ], bm.Affine(3))
    assert stored.arrays["packed"].tobytes() == wanted.arrays["packed"].tobytes()


def test_layer_set_to_null_is_kept(src: Path, tmp_path: Path) -> None:
    def edit(said: dict[str, Any]) -> None:
        entry(said, Q_PROJ)["layer"] = None
        entry(said, Q_PROJ)["reason"] = "looks fragile"

    path = edited(bm.plan_checkpoint(src, W4), tmp_path / "plan.json", edit)
    report = bm.quantize_checkpoint(src, tmp_path / "dst", read_plan(path))
    assert {tensor.name: tensor.reason for tensor in report.kept}[Q_PROJ] == "looks fragile"
    config = json.loads((tmp_path / "dst" / "config.json").read_text())
    assert Q_PROJ.removesuffix(".weight") in config["quantization_config"]["ignore"]
    stored = bm.load_checkpoint(tmp_path / "dst")[Q_PROJ]
    assert stored.tobytes() == llama()[Q_PROJ].tobytes()


def test_layer_given_to_a_kept_tensor_is_used(src: Path, tmp_path: Path) -> None:
    def edit(said: dict[str, Any]) -> None:
        entry(said, "lm_head.weight")["layer"] = entry(said, Q_PROJ)["layer"]

    path = edited(bm.plan_checkpoint(src, W4), tmp_path / "plan.json", edit)
    report = bm.quantize_checkpoint(src, tmp_path / "dst", read_plan(path))
    assert "lm_head.weight" in {tensor.name for tensor in report.quantized}


def test_sizes_in_a_plan_file_do_not_count(src: Path, tmp_path: Path) -> None:
    def edit(said: dict[str, Any]) -> None:
        del said["files"], said["notes"]
        entry(said, Q_PROJ)["bytes_after"] = -1

    plan = bm.plan_checkpoint(src, W4)
    path = edited(plan, tmp_path / "plan.json", edit)
    bm.quantize_checkpoint(src, tmp_path / "edited", read_plan(path))
    bm.quantize_checkpoint(src, tmp_path / "made", plan)
    assert contents(tmp_path / "edited") == contents(tmp_path / "made")


# Refused


def _set(name: str, **values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda said: entry(said, name).update(values)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_set(Q_PROJ, layer="W4A16"), "layer is 'W4A16'; wanted an object, or null"),
        (_set(Q_PROJ, layer={"format": "native"}), "weights=None; wanted the scheme as an object"),
        (
            _set(Q_PROJ, layer={"weights": {"scheme": "Curved"}}),
            "scheme='Curved' is not one of: Affine",
        ),
        (
            _set(Q_PROJ, layer={"weights": {"scheme": "Affine", "bits": 12}}),
            "bits=12",
        ),
        (
            _set(Q_PROJ, layer={"weights": {"scheme": "Affine", "bits": "4"}}),
            "scheme Affine cannot be made from {'bits': '4'}: bits",
        ),
        (
            _set(Q_PROJ, layer={"weights": {"scheme": "Affine", "bits": 4}, "format": "gguf"}),
            "format='gguf' is not one of: auto, pack-quantized, int-quantized, float-quantized",
        ),
        (
            _set(Q_PROJ, layer={"weights": {"scheme": "Affine"}, "speed": 9}),
            "{'speed': 9} are not the options of a layer",
        ),
        (_set(Q_PROJ, dtype="F23"), "dtype 'F23' is not one of: BOOL, U8"),
        (_set(Q_PROJ, shape=3), "'int' object is not iterable"),
        (lambda said: entry(said, Q_PROJ).pop("layer"), "lacks 'layer'"),
    ],
)
def test_wrong_entry_names_file_and_tensor(
    src: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = edited(bm.plan_checkpoint(src, W4), tmp_path / "plan.json", edit)
    with pytest.raises(CheckpointError) as caught:
        read_plan(path)
    assert str(caught.value).startswith(f"{path}: tensor {Q_PROJ!r}: {message}")


def test_wrong_entry_without_a_name_is_told_by_its_number(src: Path, tmp_path: Path) -> None:
    def edit(said: dict[str, Any]) -> None:
        said["tensors"][1] = "x"

    path = edited(bm.plan_checkpoint(src, W4), tmp_path / "plan.json", edit)
    with pytest.raises(CheckpointError) as caught:
        read_plan(path)
    assert str(caught.value) == f"{path}: tensor 1: is 'x'; wanted an object"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not the JSON it should be"),
        ("\xff", "not the JSON it should be"),
        ("[]", "holds a JSON list; wanted an object"),
        ("{}", "no plan of this bitmill: wanted 'version' 1 and a list 'tensors'"),
        ('{"version": 2, "tensors": []}', "no plan of this bitmill: wanted 'version' 1"),
        ('{"version": 1, "tensors": {}}', "no plan of this bitmill: wanted 'version' 1"),
    ],
)
def test_file_that_is_no_plan_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError) as caught:
        read_plan(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_plan_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"plan\.json"):
        read_plan(tmp_path / "plan.json")
    with pytest.raises(CheckpointError, match="is a folder; wanted a regular file"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("scheme", "name", "message"),
    [
        ({"bits": 4, "group_size": 100}, Q_PROJ, "rows of 256 weights are not a whole number of"),
        ({"bits": 16}, Q_PROJ, "the format holds 2 to 8 bits, not 16"),
        ({"bits": 4, "axis": 3}, Q_PROJ, "axis=3 is out of range for 2 dimensions"),
        ({"bits": 4}, "model.norm.weight", "the format holds 2- and 3-D weights only, not 1-D"),
        ({"bits": 4}, "model.steps", "dtype I64"),
        (
            {"bits": 4},
            "model.layers.0.self_attn.q_proj.bias",
            "it is not named *.weight",
        ),
    ],
)
def test_scheme_that_does_not_fit_is_refused_before_anything_is_written(
    src: Path, tmp_path: Path, scheme: dict[str, Any], name: str, message: str
) -> None:
    layer = {"weights": {"scheme": "Affine", **scheme}}
    path = edited(bm.plan_checkpoint(src, W4), tmp_path / "plan.json", _set(name, layer=layer))
    with pytest.raises(CheckpointError) as caught:
        bm.quantize_checkpoint(src, tmp_path / "dst", read_plan(path))
    text = str(caught.value)
    assert text.startswith(f"{src}: 1 of ")
    assert message in text
    assert f": {name.removesuffix('.weight')}. " in text
    assert not (tmp_path / "dst").exists()


def test_plan_without_a_layer_is_refused(src: Path, tmp_path: Path) -> None:
    def edit(said: dict[str, Any]) -> None:
        for tensor in said["tensors"]:
            tensor["layer"] = None

    path = edited(bm.plan_checkpoint(src, W4), tmp_path / "plan.json", edit)
    with pytest.raises(CheckpointError, match="nothing to quantize: all is ignored"):
        bm.quantize_checkpoint(src, tmp_path / "dst", read_plan(path))


def test_plan_for_another_checkpoint_names_source_and_tensor(src: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", llama() | {"model.extra": llama()["model.steps"]})
    plan = bm.plan_checkpoint(other, W4)
    with pytest.raises(CheckpointError) as caught:
        bm.quantize_checkpoint(src, tmp_path / "dst", plan)
    assert str(caught.value) == (
        f"{src}: the plan is for other tensors than these, such as 'model.extra'; plan this "
        "checkpoint anew"
    )
    assert not (tmp_path / "dst").exists()


def test_errors_about_a_single_file_name_that_file(src: Path) -> None:
    path = src / WEIGHTS
    with pytest.raises(CheckpointError) as caught:
        bm.plan_checkpoint(path, {"nothing": W4})
    assert str(caught.value).startswith(f"{path}: nothing matches 'nothing'")
