# SPDX-License-Identifier: MIT
"""What all exports have in common: their targets, their errors, and runs that are broken off."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import (
    CheckpointError,
    LayerScheme,
    Progress,
    open_checkpoint,
    read_tensor,
)
from bitmill.checkpoint.read import CONFIG, INDEX, WEIGHTS
from bitmill.checkpoint.target import WORK
from bitmill.checkpoint.write import write_tensors
from bitmill.export import walk
from checkpoints import by_hand, contents, llama, make
from commands import parsed, printed, run
from conftest import needs
from crashes import Runs, sample, strace_or_skip
from exports import NAME, quantized

LAYER = "model.layers.0"


@pytest.fixture
def q(tmp_path: Path) -> Path:
    """A quantized Llama in two files, with a tokenizer."""
    src = make(tmp_path / "src", llama(), shards=2)
    (src / "tokenizer.json").write_text("{}")
    (src / "sub").mkdir()
    (src / "sub" / "notes.txt").write_text("notes")
    scheme = bm.Affine(4, group_size=128, scales="bfloat16")
    bm.quantize_checkpoint(src, tmp_path / "q", scheme, max_shard_size="100KB")
    return tmp_path / "q"


def test_report_names_weights_kept_tensors_and_files(q: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    done = bm.export_checkpoint(q, tmp_path / "mlx", to="mlx", progress=seen.append)
    assert sorted(done.weights) == [
        f"{LAYER}.mlp.down_proj",
        f"{LAYER}.self_attn.k_proj",
        f"{LAYER}.self_attn.q_proj",
    ]
    assert done.to == "mlx"
    assert len(done.weights) + len(done.kept) == len(bm.load_checkpoint(q)) == len(seen)
    assert seen[-1].bytes_done == seen[-1].bytes_total > 0
    found = contents(tmp_path / "mlx")
    assert found.keys() == {*done.files, "tokenizer.json", "sub/notes.txt"}
    assert all(len(found[name]) == size for name, size in done.files.items())
    assert done.replaced == done.removed == done.not_copied == ()


@pytest.mark.parametrize("to", walk.TARGETS)
def test_same_source_gives_the_same_bytes_from_both_formats(tmp_path: Path, to: str) -> None:
    if to == "onnx":
        needs("onnx")
    scheme = bm.Affine(4, group_size=64, scales="float16")
    src = make(tmp_path / "src", {"m.weight": llama()["lm_head.weight"]})
    for format in ("native", "pack-quantized"):
        plan = bm.plan_checkpoint(src, {"m": LayerScheme(scheme, format=format)})
        bm.quantize_checkpoint(src, tmp_path / format, plan)
        bm.export_checkpoint(tmp_path / format, tmp_path / f"{format}.out", to=to)
    assert contents(tmp_path / "native.out") == contents(tmp_path / "pack-quantized.out")


def test_activations_that_are_lost_are_told(src: Path, tmp_path: Path) -> None:
    bm.quantize_checkpoint(src, tmp_path / "q", "W8A8")
    done = bm.export_checkpoint(tmp_path / "q", tmp_path / "mlx", to="mlx")
    assert "activations of 3 layers are not quantized in the target" in done.notes[-1]


@pytest.mark.parametrize("name", ["onnxruntime", "mlx"])
@pytest.mark.parametrize("shape", [(1, 32), (48, 100), (64, 384), (7, 4096)])
def test_exports_hold_all_that_their_target_takes(name: str, shape: tuple[int, int]) -> None:
    target = bm.targets.get(name)
    exporter = walk.FORMATS[str(target.export)]
    for bits, kind, size, scales in itertools.product(
        target.supported_bits, target.kinds, target.group_sizes, target.scales
    ):
        symmetry = {"symmetric": kind == "symmetric", "offset": kind == "offset"}
        scheme = bm.Affine(bits, **symmetry, group_size=size, scales=scales)
        if target.why_not(scheme, shape) is None:
            assert exporter.why_not(scheme, shape, "m") is None, scheme


# Errors


def test_every_weight_that_cannot_be_held_is_named_by_its_reason(src: Path, tmp_path: Path) -> None:
    rules = {"re:.*down_proj": bm.Affine(5), "Linear": bm.Affine(4, symmetric=False, offset=True)}
    plan = bm.plan_checkpoint(src, {k: LayerScheme(v, format="native") for k, v in rules.items()})
    bm.quantize_checkpoint(src, tmp_path / "q", plan)
    with pytest.raises(CheckpointError) as caught:
        bm.export_checkpoint(tmp_path / "q", tmp_path / "dst", to="gptq")
    assert str(caught.value) == (
        f"{tmp_path / 'q'}: gptq cannot hold just these values: {LAYER}.mlp.down_proj.weight (the "
        f"format holds 2, 3, 4 or 8 bits, not 5); {LAYER}.self_attn.k_proj.weight, "
        f"{LAYER}.self_attn.q_proj.weight (the format holds integer zero-points only, no real "
        "offsets)"
    )
    assert not (tmp_path / "dst").exists()


def test_source_without_quantized_weights_is_refused(src: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing to export: no weight in it is quantized$"):
        bm.export_checkpoint(src, tmp_path / "dst", to="mlx")


def test_file_without_its_config_is_refused_with_a_hint(q: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json tells of that: name the folder"):
        bm.export_checkpoint(min(q.glob("*.safetensors")), tmp_path / "dst", to="mlx")


def test_what_others_quantized_is_refused(q: Path, tmp_path: Path) -> None:
    bm.export_checkpoint(q, tmp_path / "gptq", to="gptq")
    with pytest.raises(CheckpointError, match="quantized by gptq, which bitmill does not read"):
        bm.export_checkpoint(tmp_path / "gptq", tmp_path / "dst", to="mlx")


def test_unknown_target_is_a_wrong_argument(q: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="to='tflite'"):
        bm.export_checkpoint(q, tmp_path / "dst", to="tflite")


def test_broken_weight_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    src = quantized(tmp_path, bm.Affine(4, scales="float16"))
    path = src / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: \d+ bytes"):
        bm.export_checkpoint(src, tmp_path / "dst", to="mlx")
    entry = {"dtype": "U32", "shape": [2, 8], "data_offsets": [0, 64]}
    by_hand(path, {f"{NAME}.packed": entry}, bytes(64))
    with pytest.raises(CheckpointError, match=f"'{NAME}.weight': scale is missing"):
        bm.export_checkpoint(src, tmp_path / "dst", to="mlx")
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("to", walk.TARGETS)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_scales_that_are_no_numbers_are_named_and_leave_nothing(
    tmp_path: Path, to: str, value: float
) -> None:
    if to == "onnx":
        needs("onnx")
    one = bm.quantize(np.ones((32, 64), np.float32), bm.Affine(4, scales="float16"))
    scale = one.arrays["scale"].copy()
    scale[3] = value
    broken = bm.QTensor(one.scheme, one.shape, one.dtype, one.arrays | {"scale": scale})
    bm.save({"a.weight": one, "m.weight": broken}, tmp_path / "q.safetensors")
    with pytest.raises(CheckpointError, match=f"'m.weight': scale holds {value}: the checkpoint"):
        bm.export_checkpoint(tmp_path / "q.safetensors", tmp_path / "dst", to=to)
    assert not (tmp_path / "dst").exists()


def test_only_file_that_is_left_gets_the_name_that_loaders_look_for(
    q: Path, tmp_path: Path
) -> None:
    """Of a source whose second file holds nothing but scales of weights that begin in the first."""
    held = {info.name: read_tensor(path, info) for path, info in open_checkpoint(q).tensors()}
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    homes = {name: files[name.endswith("_scale")] for name in held}
    split = tmp_path / "split"
    shutil.copytree(q, split, ignore=shutil.ignore_patterns("*.safetensors*"))
    for file in files:
        write_tensors(split / file, {name: held[name] for name in held if homes[name] == file})
    (split / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": homes}))
    bm.export_checkpoint(split, tmp_path / "dst", to="mlx")
    assert [path.name for path in (tmp_path / "dst").glob("*.safetensors")] == [WEIGHTS]
    assert not (tmp_path / "dst" / INDEX).exists()
    assert bm.export_checkpoint(split, tmp_path / "again", to="gptq").files.keys() == {
        WEIGHTS,
        CONFIG,
    }


def test_names_that_would_be_given_twice_are_an_error(tmp_path: Path) -> None:
    one = bm.quantize(np.ones((2, 64), np.float32), bm.Affine(4))
    bm.save({"m": one, "m.weight": one}, tmp_path / "q.safetensors")
    with pytest.raises(CheckpointError, match="two weights would be those of module 'm'"):
        bm.export_checkpoint(tmp_path / "q.safetensors", tmp_path / "dst", to="mlx")


@pytest.mark.parametrize("shards", ["5GB", "100KB"])
@pytest.mark.parametrize(("to", "part"), [("mlx", "scales"), ("gptq", "g_idx")])
def test_kept_tensor_that_is_called_like_a_part_of_a_weight_is_an_error(
    tmp_path: Path, shards: str, to: str, part: str
) -> None:
    """In the same file as the weight, or in another."""
    name = f"{LAYER}.self_attn.q_proj.{part}"
    src = make(tmp_path / "src", llama() | {name: np.ones(2, np.float32)})
    scheme = bm.Affine(4, group_size=128, scales="bfloat16")
    bm.quantize_checkpoint(src, tmp_path / "q", scheme, max_shard_size=shards)
    with pytest.raises(CheckpointError, match=f"q: two tensors would have the name '{name}'"):
        bm.export_checkpoint(tmp_path / "q", tmp_path / "dst", to=to)
    assert not (tmp_path / "dst").exists()


def test_kept_tensor_does_not_take_the_place_of_codes_in_a_graph(tmp_path: Path) -> None:
    needs("onnx")
    plain = {"m.weight": llama()["lm_head.weight"]}
    odd = plain | {"m.weight_codes": np.ones(8, np.float32)}
    for name, tensors in (("plain", plain), ("odd", odd)):
        src = make(tmp_path / name / "src", tensors)
        bm.quantize_checkpoint(src, tmp_path / name / "q", {"m": bm.Affine(4, group_size=128)})
        done = bm.export_checkpoint(tmp_path / name / "q", tmp_path / name / "onnx", to="onnx")
        assert done.kept == ()
    assert contents(tmp_path / "odd" / "onnx") == contents(tmp_path / "plain" / "onnx")


def test_source_that_changes_meanwhile_is_an_error(q: Path, tmp_path: Path) -> None:
    file = min(q.glob("*.safetensors"))

    def touch(_: Progress) -> None:
        os.utime(file, ns=(0, 0))

    with pytest.raises(CheckpointError, match="has changed"):
        bm.export_checkpoint(q, tmp_path / "dst", to="mlx", progress=touch)
    assert not (tmp_path / "dst").exists()


# The target


def test_target_that_holds_something_is_refused_unless_it_may_be_replaced(
    q: Path, tmp_path: Path
) -> None:
    dst = make(tmp_path / "dst", llama(), shards=5)
    (dst / "mine.txt").write_text("mine")
    before = contents(dst)
    with pytest.raises(FileExistsError, match="is not empty; name another folder, or pass overwr"):
        bm.export_checkpoint(q, dst, to="mlx")
    assert contents(dst) == before
    done = bm.export_checkpoint(q, dst, to="mlx", overwrite=True)
    bm.export_checkpoint(q, tmp_path / "new", to="mlx")
    assert contents(dst) == {**contents(tmp_path / "new"), "mine.txt": b"mine"}
    assert {*done.replaced, *done.removed} == before.keys() - {"mine.txt"}


def test_config_of_what_was_there_is_listed_when_it_goes(q: Path, tmp_path: Path) -> None:
    needs("onnx")
    bm.export_checkpoint(q, tmp_path / "dst", to="mlx")
    before = contents(tmp_path / "dst").keys()
    done = bm.export_checkpoint(q, tmp_path / "dst", to="onnx", overwrite=True)
    assert {*done.removed} == before - contents(tmp_path / "dst").keys()
    assert CONFIG in done.removed


def test_run_that_quantizes_into_the_target_is_not_disturbed(q: Path, tmp_path: Path) -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bm.quantize_checkpoint(tmp_path / "src", tmp_path / "dst", "W8A16", progress=stop)
    before = contents(tmp_path / "dst")
    with pytest.raises(FileExistsError, match="holds an unfinished run that quantizes"):
        bm.export_checkpoint(q, tmp_path / "dst", to="mlx")
    assert contents(tmp_path / "dst") == before
    bm.quantize_checkpoint(tmp_path / "src", tmp_path / "dst", "W8A16")


@pytest.mark.parametrize("dst", [".", "inside"])
def test_target_in_the_source_is_refused(q: Path, dst: str) -> None:
    with pytest.raises(CheckpointError, match="overlaps the source"):
        bm.export_checkpoint(q, q / dst, to="mlx", overwrite=True)


def test_interrupted_export_leaves_nothing(q: Path, tmp_path: Path) -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bm.export_checkpoint(q, tmp_path / "dst", to="mlx", progress=stop)
    assert not (tmp_path / "dst").exists()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Runs of which strace follows each call."""
    strace_or_skip()
    with Runs(tmp_path_factory.mktemp("runs")) as started:
        yield started


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and follows Linux's calls")
@pytest.mark.parametrize("how", ["signal=SIGKILL", "error=EIO"])
def test_target_is_complete_or_absent_whatever_ends_the_run(
    q: Path, tmp_path: Path, runs: Runs, how: str
) -> None:
    dst = tmp_path / "dst"
    argv = ("export", q, dst, "--to", "gptq")
    ended = runs.run(argv, trace="%file,%desc")
    assert ended.code == 0, ended.errors
    calls, wanted, source = ended.calls, contents(dst), contents(q)
    assert {"openat", "write", "ftruncate", "fsync", "rename", "mkdir", "unlink"} <= calls.keys()
    del calls["read"]
    for call in calls:
        for n in sample(6 if call in ("write", "rename") else 3, range(1, calls[call] + 1)):
            shutil.rmtree(dst, ignore_errors=True)
            broken = runs.run(argv, inject=f"{call}:{how}:when={n}", trace=call)
            named = {k: v for k, v in contents(dst).items() if not k.startswith(f"{WORK}/")}
            assert all(wanted[name] == data for name, data in named.items()), (call, n)
            assert CONFIG not in named or named == wanted, (call, n)
            assert broken.code in (0, 1, -9), broken
            assert "Traceback" not in broken.errors, broken.errors
            if named != wanted:
                assert broken.code != 0
                assert runs.run(argv).code == 0, (call, n)
                assert contents(dst) == wanted, (call, n)
    assert contents(q) == source


# Memory


def test_kept_tensors_are_copied_in_blocks(
    q: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bm.export_checkpoint(q, tmp_path / "whole", to="mlx")
    monkeypatch.setattr(walk, "_BLOCK", 1000)
    bm.export_checkpoint(q, tmp_path / "blocks", to="mlx")
    assert contents(tmp_path / "blocks") == contents(tmp_path / "whole")


def test_one_weight_is_in_memory_at_a_time(tmp_path: Path) -> None:
    x = np.ones((1024, 4096), np.float32)
    one = bm.quantize(x, bm.Affine(4, group_size=128, scales="float16"))
    bm.save({f"layers.{i}.weight": one for i in range(12)}, tmp_path / "q.safetensors")
    del x
    for to in ("mlx", "gptq"):
        tracemalloc.start()
        bm.export_checkpoint(tmp_path / "q.safetensors", tmp_path / to, to=to)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * one.nbytes, to


# The command


def test_command_says_what_it_wrote(
    q: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, "export", q, tmp_path / "gptq", "--to", "gptq").splitlines()
    assert lines[-1] == "exported to gptq: 3 weights; 6 tensors copied"
    assert any(line.startswith("file: config.json, ") for line in lines)
    said = parsed(printed(capsys, "export", q, tmp_path / "mlx", "--to", "mlx", "--json"))
    assert said["to"] == "mlx"
    assert said["files"].keys() <= contents(tmp_path / "mlx").keys()
    assert len(said["weights"]) == 3


def test_errors_of_the_command_are_one_line(
    q: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src = tmp_path / "src"
    assert run("export", q, tmp_path / "dst") == 2
    assert "--to" in capsys.readouterr().err
    assert run("export", src, tmp_path / "dst", "--to", "mlx") == 1
    assert "nothing to export" in capsys.readouterr().err
    assert run("export", q, src, "--to", "mlx") == 1
    assert capsys.readouterr().err.endswith("name another folder, or pass --overwrite\n")
    bm.quantize_checkpoint(src, tmp_path / "f32", "W4A16")
    assert run("export", tmp_path / "f32", tmp_path / "dst", "--to", "gptq") == 1
    assert "(quantize with --scale-dtype 'float16')" in capsys.readouterr().err


def test_help_names_the_targets(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "export", "--help")
    assert "--to {onnx,mlx,gptq,gptq_v2}" in text
