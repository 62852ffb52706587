# SPDX-License-Identifier: MIT
"""A folder of float weights goes in, a smaller folder comes out."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, Progress, open_checkpoint, pieces
from bitmill.checkpoint.manifest import MANIFEST
from bitmill.checkpoint.read import INDEX, WEIGHTS
from bitmill.checkpoint.report import REPORT
from bitmill.checkpoint.target import WORK
from bitmill.checkpoint.write import write_tensors
from bitmill.formats import pack_quantized
from checkpoints import arrays, by_hand, file_size_limit, llama, make, weight
from conftest import needs

W4 = bm.Affine(4, group_size=128, scales="bfloat16")
Q_PROJ = "model.layers.0.self_attn.q_proj"


def decoded(folder: Path) -> dict[str, bm.QTensor]:
    """The quantized weights of a folder with one scheme, by module."""
    checkpoint = open_checkpoint(folder)
    groups = checkpoint.config["quantization_config"]["config_groups"]
    stored: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays(checkpoint).items():
        module, _, field = name.rpartition(".")
        stored.setdefault(module, {})[field] = array
    return {
        module: pack_quantized.decode(fields, groups["group_0"]["weights"])
        for module, fields in stored.items()
        if "weight_packed" in fields
    }


def digests(folder: Path) -> dict[str, str]:
    """The content of every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def named(folder: Path) -> dict[str, str]:
    """The content of every file of a folder that has got its name."""
    return {name: found for name, found in digests(folder).items() if not name.startswith(WORK)}


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(
    "scheme",
    [
        W4,
        bm.Affine(8, scales="float16"),
        bm.Affine(4, group_size=32, scale_rule="signed_max"),
        bm.Affine(4, symmetric=False, group_size=64),
        bm.Affine(8, symmetric=False),
        bm.Affine(3),
    ],
    ids=lambda scheme: scheme.describe().replace(" ", "-"),
)
def test_stored_weights_are_those_of_quantize(
    tmp_path: Path, scheme: bm.Affine, shards: int
) -> None:
    tensors = llama()
    src, dst = make(tmp_path / "src", tensors, shards=shards), tmp_path / "dst"
    report = bm.quantize_checkpoint(src, dst, scheme)
    found = decoded(dst)
    assert len(found) == len(report.quantized) == 3
    for tensor in report.quantized:
        wanted = bm.quantize(tensors[tensor.name], tensor.scheme)
        stored = found[tensor.name.removesuffix(".weight")]
        assert stored.scheme.scales == scheme.scales
        assert stored.arrays.keys() == wanted.arrays.keys()
        for name, array in wanted.arrays.items():
            np.testing.assert_array_equal(stored.arrays[name], array, strict=True)


@pytest.mark.parametrize("shards", [1, 3])
def test_kept_tensors_are_unchanged_and_files_load_elsewhere(tmp_path: Path, shards: int) -> None:
    load_file = needs("safetensors.numpy").load_file
    tensors = llama()
    src, dst = make(tmp_path / "src", tensors, shards=shards), tmp_path / "dst"
    report = bm.quantize_checkpoint(src, dst, W4, max_shard_size="5GB" if shards == 1 else 70_000)
    files = sorted(path.name for path in dst.glob("*.safetensors"))
    assert len(files) == shards
    loaded = {name: array for file in files for name, array in load_file(dst / file).items()}
    for kept in report.kept:
        np.testing.assert_array_equal(loaded[kept.name], tensors[kept.name], strict=True)
    assert f"{Q_PROJ}.weight" not in loaded
    np.testing.assert_array_equal(loaded[f"{Q_PROJ}.weight_shape"], [256, 256])
    wanted = bm.quantize(tensors[f"{Q_PROJ}.weight"], report.quantized[0].scheme)
    words = loaded[f"{Q_PROJ}.weight_packed"]
    np.testing.assert_array_equal(words, wanted.packed.view(np.int32), strict=True)


def test_index_lists_every_tensor_and_the_size(tmp_path: Path) -> None:
    src, dst = make(tmp_path / "src", llama(), shards=3), tmp_path / "dst"
    bm.quantize_checkpoint(src, dst, W4, max_shard_size=50_000)
    index = json.loads((dst / INDEX).read_text())
    found = arrays(open_checkpoint(dst))
    assert index["weight_map"].keys() == found.keys()
    assert index["metadata"] == {"total_size": sum(array.nbytes for array in found.values())}


def test_config_gains_the_quantization_and_keeps_the_rest(src: Path, tmp_path: Path) -> None:
    bm.quantize_checkpoint(src, tmp_path / "dst", W4)
    config = json.loads((tmp_path / "dst" / "config.json").read_text())
    quantization = config.pop("quantization_config")
    assert config == json.loads((src / "config.json").read_text())
    assert quantization["ignore"] == ["lm_head", "model.embed_tokens"]
    assert quantization["config_groups"]["group_0"]["targets"] == ["Linear"]


def test_metadata_of_a_file_is_kept_and_says_pt(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"origin": "here"},
        "a.weight": {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 16]},
    }
    path = by_hand(tmp_path / "x.safetensors", header, bytes(16))
    bm.quantize_checkpoint(path, tmp_path / "dst", bm.Affine(8))
    written = open_checkpoint(tmp_path / "dst").files[WEIGHTS]
    assert written.metadata == {"format": "pt", "origin": "here"}


def test_single_file_gives_a_folder_of_its_own(src: Path, tmp_path: Path) -> None:
    (src / "tokenizer.json").write_text("{}")
    bm.quantize_checkpoint(src / WEIGHTS, src / "dst", W4)
    assert sorted(digests(src / "dst")) == [MANIFEST, REPORT, "config.json", WEIGHTS]


def test_other_files_are_copied_but_no_other_weights_and_caches(src: Path, tmp_path: Path) -> None:
    copied = {"tokenizer.json", "1_Pooling/config.json", ".gitattributes", ".github/ci.yml", ".env"}
    weights = {"pytorch_model.bin", "m.gguf", "onnx/m.onnx", "old.safetensors", "tf_model.h5"}
    private = {".git", ".cache", "code/__pycache__", ".hg", ".svn"}
    for name in (*copied, *weights, *(f"{folder}/file" for folder in private)):
        (src / name).parent.mkdir(exist_ok=True, parents=True)
        (src / name).write_text(name)
    (src / "linked").symlink_to(tmp_path)
    os.mkfifo(src / "pipe")
    report = bm.quantize_checkpoint(src, tmp_path / "dst", W4)
    assert set(report.not_copied) == weights | private | {"linked", "pipe"}
    assert set(digests(tmp_path / "dst")) == copied | {"config.json", WEIGHTS, REPORT, MANIFEST}
    assert all((tmp_path / "dst" / name).read_text() == name for name in copied)
    assert not (tmp_path / "dst/onnx").exists()


def test_report_says_what_each_tensor_lost_and_takes(src: Path, tmp_path: Path) -> None:
    report = bm.quantize_checkpoint(src, tmp_path / "dst", W4)
    assert [tensor.name for tensor in report.tensors] == [
        info.name for _, info in open_checkpoint(src).tensors()
    ]
    (q_proj,) = (tensor for tensor in report.quantized if tensor.name == f"{Q_PROJ}.weight")
    q = bm.quantize(llama()[q_proj.name], q_proj.scheme)
    assert q_proj.metrics == bm.metrics(llama()[q_proj.name], q)
    assert q_proj.bits_per_weight == q.bits_per_weight("compressed_tensors")
    assert q_proj.bits_per_weight == 4 + 16 / 128 + 128 / 256**2
    assert report.bytes_before == (src / WEIGHTS).stat().st_size
    assert report.bytes_after == (tmp_path / "dst" / WEIGHTS).stat().st_size
    assert all(np.isinf(tensor.sqnr_db) and not tensor.health for tensor in report.kept)
    assert report.seconds > 0


def test_health_counts_underflows_and_negative_scales(tmp_path: Path) -> None:
    x = weight(4, 128, dtype="float32")
    x[1] = 1e-44
    x[2] = np.abs(x[2])
    src = make(tmp_path / "src", {"a.weight": x})
    scheme = bm.Affine(4, group_size=64, scale_rule="signed_max", scales="bfloat16")
    (tensor,) = bm.quantize_checkpoint(src, tmp_path / "dst", scheme).tensors
    assert tensor.health.underflowed_scales == 2
    negative = int((bm.quantize(x, tensor.scheme).scale < 0).sum())
    assert tensor.health.negative_scales == negative > 0


def test_plan_and_rules_give_the_same_bytes_whatever_the_threads(src: Path, tmp_path: Path) -> None:
    plan = bm.plan_checkpoint(src, W4)
    bm.quantize_checkpoint(src, tmp_path / "a", plan)
    bm.quantize_checkpoint(src, tmp_path / "b", W4, num_threads=1)
    bm.quantize_checkpoint(src, tmp_path / "c", {"Linear": W4}, num_threads=3)
    assert digests(tmp_path / "a") == digests(tmp_path / "b") == digests(tmp_path / "c")


def test_wrong_thread_count_is_an_error_of_the_call(src: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^num_threads=0 must be between 1 and 1024"):
        bm.quantize_checkpoint(src, tmp_path / "dst", W4, num_threads=0)
    assert not (tmp_path / "dst").exists()


def test_progress_is_called_after_each_piece(src: Path, tmp_path: Path) -> None:
    calls: list[Progress] = []
    report = bm.quantize_checkpoint(src, tmp_path / "dst", W4, progress=calls.append)
    assert [call.tensor for call in calls] == [tensor.name for tensor in report.tensors]
    assert calls[-1].bytes_done == calls[-1].bytes_total
    assert [call.bytes_done for call in calls] == sorted(call.bytes_done for call in calls)


def test_nan_is_an_error_naming_file_and_tensor(tmp_path: Path) -> None:
    tensors = llama()
    tensors[f"{Q_PROJ}.weight"][3, 5] = np.nan
    src = make(tmp_path / "src", tensors)
    with pytest.raises(CheckpointError) as caught:
        bm.quantize_checkpoint(src, tmp_path / "dst", W4)
    text = str(caught.value)
    assert text.startswith(f"{src / WEIGHTS}: tensor '{Q_PROJ}.weight': ")
    assert f"[{3 * 256 + 5}]" in text
    assert "on_nonfinite='keep'" in text
    assert set(os.listdir(tmp_path / "dst")) == {WORK}


def test_interrupted_run_leaves_what_it_did_and_no_name(src: Path, tmp_path: Path) -> None:
    (src / "sub").mkdir()
    (src / "sub" / "file").write_text("x")

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bm.quantize_checkpoint(src, tmp_path / "dst", W4, progress=interrupt)
    assert os.listdir(tmp_path / "dst") == [WORK]


@pytest.mark.parametrize("dst", ["dst", "x/y/z"])
def test_failure_to_write_names_the_file_and_leaves_nothing(
    src: Path, tmp_path: Path, dst: str
) -> None:
    before = set(tmp_path.iterdir())
    with file_size_limit(1000), pytest.raises(OSError, match="File too large") as caught:
        bm.quantize_checkpoint(src, tmp_path / dst, W4)
    assert re.fullmatch(rf"{tmp_path / dst / WORK}/\w+-{WEIGHTS}", caught.value.filename)
    assert set(tmp_path.iterdir()) == before


def test_failure_to_copy_names_the_copy(src: Path, tmp_path: Path) -> None:
    (src / "notes.txt").write_bytes(bytes(400_000))
    with file_size_limit(300_000), pytest.raises(OSError, match="File too large") as caught:
        bm.quantize_checkpoint(src, tmp_path / "dst", W4)
    assert "-notes.txt" in f"{caught.value.filename} {caught.value.filename2}"
    assert not (tmp_path / "dst").exists()


def test_failure_at_the_end_leaves_no_name(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (src / "sub" / "deep").mkdir(parents=True)
    (src / "sub" / "deep" / "file").write_text("x")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        bm.quantize_checkpoint(src, tmp_path / "dst", W4)
    assert os.listdir(tmp_path / "dst") == [WORK]


def test_target_that_holds_something_is_refused(src: Path, tmp_path: Path) -> None:
    dst = make(tmp_path / "dst", llama(), shards=3)
    before = digests(dst)
    with pytest.raises(FileExistsError, match=r"is not empty; name another folder.*dst"):
        bm.quantize_checkpoint(src, dst, W4)
    assert digests(dst) == before


@pytest.mark.parametrize(("old", "new"), [(1, 1), (3, 1), (1, 3), (3, 2)])
def test_overwrite_removes_the_old_checkpoint_and_nothing_else(
    tmp_path: Path, old: int, new: int
) -> None:
    src = make(tmp_path / "src", llama(), shards=new)
    dst = make(tmp_path / "dst", llama(), shards=old)
    (dst / "notes.txt").write_text("mine")
    write_tensors(dst / "lora.safetensors", {"a": weight(2)})
    before, lora = set(digests(dst)), digests(dst)["lora.safetensors"]
    limit = {1: "5GB", 2: 110_000, 3: 70_000}[new]
    report = bm.quantize_checkpoint(src, dst, W4, overwrite=True, max_shard_size=limit)
    made = {*digests(src), REPORT, MANIFEST}
    assert set(digests(dst)) == made | {"notes.txt", "lora.safetensors"}
    assert digests(dst)["lora.safetensors"] == lora
    assert len(decoded(dst)) == 3
    assert set(report.replaced) == before & made
    assert set(report.removed) == before - made - {"notes.txt", "lora.safetensors"}


def test_overwrite_follows_no_index_out_of_the_folder(src: Path, tmp_path: Path) -> None:
    (tmp_path / "dst" / "sub").mkdir(parents=True)
    names = ("x.safetensors", "dst/y.txt", "dst/sub/z.safetensors")
    for name in names:
        (tmp_path / name).write_text("mine")
    for index in ({"a": "../x.safetensors"}, {"a": "sub/z.safetensors"}, {"a": "y.txt"}):
        (tmp_path / "dst" / INDEX).write_text(json.dumps({"weight_map": index}))
        report = bm.quantize_checkpoint(src, tmp_path / "dst", W4, overwrite=True)
        assert report.removed == (INDEX,)
    assert all((tmp_path / name).read_text() == "mine" for name in names)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS, "sub/notes.txt"])
def test_folder_where_a_file_must_go_is_found_before_the_work(
    src: Path, tmp_path: Path, name: str
) -> None:
    (src / "sub").mkdir()
    (src / "sub" / "notes.txt").write_text("new")
    dst = make(tmp_path / "dst", llama(), shards=3)
    (dst / name).unlink(missing_ok=True)
    (dst / name).mkdir(parents=True)
    before, calls = digests(dst), []
    with pytest.raises(IsADirectoryError, match="is a folder; a file must go there") as caught:
        bm.quantize_checkpoint(src, dst, W4, overwrite=True, progress=calls.append)
    assert caught.value.filename == str(dst / name)
    assert (digests(dst), calls) == (before, [])


def test_file_where_a_folder_must_go_is_found_before_the_work(src: Path, tmp_path: Path) -> None:
    (src / "sub").mkdir()
    (src / "sub" / "notes.txt").write_text("new")
    dst = make(tmp_path / "dst", llama())
    (dst / "sub").write_text("mine")
    before = digests(dst)
    with pytest.raises(OSError, match="sub"):
        bm.quantize_checkpoint(src, dst, W4, overwrite=True)
    assert digests(dst) == before


def test_failed_rename_loses_no_old_file(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dst = make(tmp_path / "dst", llama(), shards=3)
    before = digests(dst)

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(PermissionError):
        bm.quantize_checkpoint(src, dst, W4, overwrite=True)
    assert named(dst) == before


def test_empty_paths_are_refused(src: Path) -> None:
    with pytest.raises(ValueError, match="dst is empty; wanted a path"):
        bm.quantize_checkpoint(src, "", W4, overwrite=True)
    with pytest.raises(ValueError, match="src is empty; wanted a path"):
        bm.quantize_checkpoint("", src, W4, overwrite=True)


def test_failed_overwrite_leaves_the_old_checkpoint(src: Path, tmp_path: Path) -> None:
    dst = make(tmp_path / "dst", llama())
    before = digests(dst)
    broken = llama()
    broken[f"{Q_PROJ}.weight"][0, 0] = np.inf
    with pytest.raises(CheckpointError):
        bm.quantize_checkpoint(make(tmp_path / "bad", broken), dst, W4, overwrite=True)
    assert named(dst) == before


def test_empty_folder_is_a_fine_target(src: Path, tmp_path: Path) -> None:
    (tmp_path / "dst").mkdir()
    bm.quantize_checkpoint(src, tmp_path / "dst", W4)
    assert len(decoded(tmp_path / "dst")) == 3


def test_target_that_is_a_file_is_refused(src: Path, tmp_path: Path) -> None:
    (tmp_path / "dst").write_text("x")
    with pytest.raises(FileExistsError, match="is a file; the target is a folder"):
        bm.quantize_checkpoint(src, tmp_path / "dst", W4, overwrite=True)


@pytest.mark.parametrize("dst", ["src", "src/.", "src/inside", ".", "link", "link/inside"])
@pytest.mark.parametrize("as_file", [False, True])
def test_target_that_overlaps_the_source_is_refused(
    src: Path, tmp_path: Path, dst: str, as_file: bool
) -> None:
    (tmp_path / "link").symlink_to(src)
    before = digests(src)
    source = src / WEIGHTS if as_file else src
    if as_file and dst.endswith("inside"):  # beside the file, which is the whole source
        bm.quantize_checkpoint(source, tmp_path / dst, W4)
        return
    with pytest.raises(CheckpointError, match="overlaps the source"):
        bm.quantize_checkpoint(source, tmp_path / dst, W4, overwrite=True)
    assert digests(src) == before


def test_target_that_holds_the_blobs_of_the_source_is_refused(src: Path, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (src / WEIGHTS).rename(tmp_path / "blobs" / "x")
    (src / WEIGHTS).symlink_to(tmp_path / "blobs" / "x")
    with pytest.raises(CheckpointError, match="overlaps the source"):
        bm.quantize_checkpoint(src, tmp_path / "blobs", W4, overwrite=True)


def test_plan_for_other_tensors_is_refused(src: Path, tmp_path: Path) -> None:
    plan = bm.plan_checkpoint(src, W4)
    tensors = llama()
    del tensors["model.steps"]
    write_tensors(src / WEIGHTS, tensors)
    with pytest.raises(CheckpointError, match="the plan is for other tensors than these"):
        bm.quantize_checkpoint(src, tmp_path / "dst", plan)


def test_several_files_without_index_get_one(tmp_path: Path) -> None:
    src = make(tmp_path / "src", llama(), shards=2)
    (src / INDEX).unlink()
    bm.quantize_checkpoint(src, tmp_path / "dst", W4, max_shard_size=110_000)
    assert (tmp_path / "dst" / INDEX).is_file()
    assert len(decoded(tmp_path / "dst")) == 3


def test_file_of_another_name_becomes_model_safetensors(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    write_tensors(tmp_path / "src" / "weights.safetensors", llama())
    bm.quantize_checkpoint(tmp_path / "src", tmp_path / "dst", W4)
    assert sorted(digests(tmp_path / "dst")) == [MANIFEST, REPORT, "config.json", WEIGHTS]


def test_kept_tensor_larger_than_a_piece_is_copied_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 100)
    src = make(tmp_path / "src", llama())
    bm.quantize_checkpoint(src, tmp_path / "dst", W4)
    stored = arrays(open_checkpoint(tmp_path / "dst"))["lm_head.weight"]
    np.testing.assert_array_equal(stored, llama()["lm_head.weight"], strict=True)


def test_tensors_of_dtypes_that_numpy_lacks_are_copied(tmp_path: Path) -> None:
    header: dict[str, Any] = {
        "a.weight": {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 16]},
        "b.weight": {"dtype": "F8_E4M3", "shape": [2, 3], "data_offsets": [16, 22]},
        "c": {"dtype": "F4", "shape": [4], "data_offsets": [22, 24]},
    }
    path = by_hand(tmp_path / "x.safetensors", header, bytes(range(24)))
    bm.quantize_checkpoint(path, tmp_path / "dst", bm.Affine(8))
    found = open_checkpoint(tmp_path / "dst")
    kept = {info.name: (info.dtype, info.shape) for _, info in found.tensors()}
    assert (kept["b.weight"], kept["c"]) == (("F8_E4M3", (2, 3)), ("F4", (4,)))
    assert arrays(found)["b.weight"].tobytes() == bytes(range(16, 22))


def test_plans_can_be_sent_to_another_process(src: Path) -> None:
    plan = bm.plan_checkpoint(src, W4)
    assert pickle.loads(pickle.dumps(plan)) == plan
