# SPDX-License-Identifier: MIT
"""Runs that were broken off are continued: nothing is done twice, nothing is mixed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import (
    CheckpointError,
    LayerScheme,
    Progress,
    pieces,
    quantize_checkpoint,
)
from bitmill.checkpoint.data import write_at
from bitmill.checkpoint.header import read_header
from bitmill.checkpoint.read import WEIGHTS
from bitmill.checkpoint.target import WORK
from bitmill.checkpoint.write import write_tensors
from checkpoints import contents, llama, make, weight

W4 = bm.Affine(4, group_size=128, scales="bfloat16")
RULES = [
    W4,
    bm.Affine(4, symmetric=False, group_size=64),
    bm.Affine(3, symmetric=False),
    LayerScheme(bm.Affine(8, axis=None), format="int-quantized"),
    {"Linear": LayerScheme(bm.Affine(5, axis=1, symmetric=False, offset=True), format="native")},
]
Q_PROJ, DOWN = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight"

PIECES = {DOWN: 52, Q_PROJ: 37, "model.layers.0.self_attn.k_proj.weight": 10}
"""What `small_pieces` makes of the larger tensors."""


class StopError(Exception):
    """Ends a run."""


def stop_after(count: int) -> Callable[[Progress], None]:
    """For `progress`: ends the run when so many pieces are done."""
    left = count

    def stop(_: Progress) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise StopError

    return stop


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the small Llama into some hundred pieces."""
    monkeypatch.setattr(pieces, "PIECE", 1 << 12)


@pytest.mark.parametrize("rules", RULES, ids=["W4", "int4-asym", "int3-asym", "tensor", "column"])
def test_pieces_give_the_bytes_of_a_whole(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: Any
) -> None:
    quantize_checkpoint(src, tmp_path / "cut", rules)
    monkeypatch.setattr(pieces, "PIECE", 1 << 30)
    quantize_checkpoint(src, tmp_path / "whole", rules)
    cut, whole = contents(tmp_path / "cut"), contents(tmp_path / "whole")
    for found in (cut, whole):  # digests are those of pieces
        manifest = json.loads(found.pop("bitmill_manifest.json"))
        assert manifest["tensors"].keys() == llama().keys()
    assert cut == whole


@pytest.mark.parametrize("rules", RULES[:1] + RULES[3:], ids=["W4", "tensor", "column"])
@pytest.mark.parametrize("count", [1, 3, 7, 20])
def test_continued_run_gives_the_bytes_of_an_unbroken_one(
    src: Path, tmp_path: Path, done: list[str], rules: Any, count: int
) -> None:
    quantize_checkpoint(src, tmp_path / "whole", rules)
    total = len(done)
    done.clear()
    with pytest.raises(StopError):
        quantize_checkpoint(src, tmp_path / "dst", rules, progress=stop_after(count))
    assert os.listdir(tmp_path / "dst") == [WORK]
    done.clear()
    report = quantize_checkpoint(src, tmp_path / "dst", rules)
    assert len(done) <= total - count
    assert contents(tmp_path / "dst") == contents(tmp_path / "whole")
    assert not report.unchanged
    assert report.replaced == report.removed == ()


def test_finished_target_is_left_alone(src: Path, tmp_path: Path, done: list[str]) -> None:
    (src / "tokenizer.json").write_text("{}")
    first = quantize_checkpoint(src, tmp_path / "dst", W4)
    before = {path: path.stat().st_ctime_ns for path in (tmp_path / "dst").iterdir()}
    done.clear()
    again = quantize_checkpoint(src, tmp_path / "dst", W4)
    assert (again.unchanged, done) == (True, [])
    assert again.to_dict() == first.to_dict()
    after = {path: path.stat().st_ctime_ns for path in (tmp_path / "dst").iterdir()}
    assert after == before


def change_values(src: Path) -> None:
    tensors = llama()
    tensors[DOWN][-1, -1] *= 2
    write_tensors(src / WEIGHTS, tensors)


def change_shape(src: Path) -> None:
    write_tensors(src / WEIGHTS, llama() | {DOWN: weight(256, 512)})


def change_other(src: Path) -> None:
    (src / "tokenizer.json").write_text("[]")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_values, f"{DOWN} has other values now"),
        (change_shape, "it was not made of this model.safetensors"),
        (change_other, "tokenizer.json is another"),
    ],
)
def test_finished_target_of_another_source_is_refused(
    src: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    (src / "tokenizer.json").write_text("{}")
    quantize_checkpoint(src, tmp_path / "dst", W4)
    before = contents(tmp_path / "dst")
    change(src)
    with pytest.raises(FileExistsError, match=r"is finished, but differs: .*=True") as error:
        quantize_checkpoint(src, tmp_path / "dst", W4)
    assert message in str(error.value)
    assert contents(tmp_path / "dst") == before
    quantize_checkpoint(src, tmp_path / "dst", W4, overwrite=True)
    quantize_checkpoint(src, tmp_path / "new", W4)
    assert contents(tmp_path / "dst") == contents(tmp_path / "new")


def test_finished_target_of_another_plan_is_refused(src: Path, tmp_path: Path) -> None:
    quantize_checkpoint(src, tmp_path / "dst", W4)
    with pytest.raises(FileExistsError, match=r"q_proj\.weight is stored in another way"):
        quantize_checkpoint(src, tmp_path / "dst", bm.Affine(8))


def test_damaged_target_is_not_taken_for_a_finished_one(src: Path, tmp_path: Path) -> None:
    quantize_checkpoint(src, tmp_path / "dst", W4)
    os.truncate(tmp_path / "dst" / WEIGHTS, 1000)
    with pytest.raises(FileExistsError, match=r"model\.safetensors has another size, or is gone"):
        quantize_checkpoint(src, tmp_path / "dst", W4)


def test_other_plan_reuses_the_tensors_that_it_does_not_change(
    src: Path, tmp_path: Path, done: list[str]
) -> None:
    with pytest.raises(StopError):
        quantize_checkpoint(src, tmp_path / "dst", W4, progress=stop_after(100))
    finished = set(done)
    rules = {"re:.*q_proj": bm.Affine(8, scales="bfloat16"), "Linear": W4}
    plan = bm.plan_checkpoint(src, rules, split_fused=True)
    done.clear()
    quantize_checkpoint(src, tmp_path / "dst", plan)
    assert Q_PROJ in finished
    assert Q_PROJ in done
    assert len(set(done) & finished) < len(finished) - 2
    quantize_checkpoint(src, tmp_path / "new", plan)
    assert contents(tmp_path / "dst") == contents(tmp_path / "new")


def test_changed_source_is_not_mixed_with_what_was_done(src: Path, tmp_path: Path) -> None:
    with pytest.raises(StopError):
        quantize_checkpoint(src, tmp_path / "dst", W4, progress=stop_after(30))
    change_values(src)
    quantize_checkpoint(src, tmp_path / "dst", W4)
    quantize_checkpoint(src, tmp_path / "new", W4)
    assert contents(tmp_path / "dst") == contents(tmp_path / "new")


def test_other_shards_of_a_changed_source_are_reused(tmp_path: Path, done: list[str]) -> None:
    src = make(tmp_path / "src", llama(), shards=3)
    with pytest.raises(StopError):
        quantize_checkpoint(src, tmp_path / "dst", W4, progress=stop_after(100))
    done.clear()
    first = src / "model-00001-of-00003.safetensors"
    changed = read_header(first).tensors
    os.utime(first)
    quantize_checkpoint(src, tmp_path / "dst", W4)
    assert set(done) >= set(changed)
    assert len(done) < 100


def test_source_that_changes_while_it_is_read_is_an_error(src: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has changed"):
        quantize_checkpoint(
            src, tmp_path / "dst", W4, progress=lambda _: os.utime(src / WEIGHTS), num_threads=1
        )
    assert os.listdir(tmp_path / "dst") == [WORK]


@pytest.mark.parametrize("damage", ["cut", "other bytes", "gone", "journal cut", "journal wrong"])
def test_damaged_work_is_done_anew(src: Path, tmp_path: Path, done: list[str], damage: str) -> None:
    dst = tmp_path / "dst"
    with pytest.raises(StopError):
        quantize_checkpoint(src, dst, W4, progress=stop_after(80))
    (partial,) = (dst / WORK).glob(f"*-{WEIGHTS}")
    journal = dst / WORK / "journal.jsonl"
    if damage == "cut":
        os.truncate(partial, partial.stat().st_size - 30_000)
    elif damage == "other bytes":
        write_at(partial, [(partial.stat().st_size // 2, np.ones(3000, np.uint8))])
    elif damage == "gone":
        partial.unlink()
    elif damage == "journal cut":
        os.truncate(journal, journal.stat().st_size - 20)
    else:
        journal.write_bytes(journal.read_bytes()[:3000] + b"{}\nxyz\n")
    done.clear()
    quantize_checkpoint(src, dst, W4)
    assert done
    quantize_checkpoint(src, tmp_path / "new", W4)
    assert contents(dst) == contents(tmp_path / "new")


def nan_in(*names: str) -> dict[str, np.ndarray]:
    tensors = llama()
    for name in names:
        tensors[name][-1, -1] = np.nan
    return tensors


@pytest.mark.parametrize("limit", ["5GB", 50_000])
@pytest.mark.parametrize("names", [(DOWN,), (Q_PROJ,), (DOWN, Q_PROJ)])
def test_nonfinite_tensors_are_kept_if_asked(
    tmp_path: Path, done: list[str], names: tuple[str, ...], limit: Any
) -> None:
    src = make(tmp_path / "src", nan_in(*names))
    dst = tmp_path / "dst"
    with pytest.raises(CheckpointError, match="on_nonfinite='keep'") as error:
        quantize_checkpoint(src, dst, W4, max_shard_size=limit)
    assert any(repr(name) in str(error.value) for name in names)
    done.clear()
    keep = {"on_nonfinite": "keep", "max_shard_size": limit}
    continued = quantize_checkpoint(src, dst, W4, **keep)
    counts = {name: done.count(name) for name in set(done) - set(names)}
    assert counts == {name: n for name, n in counts.items() if n <= PIECES.get(name, 8)}
    fresh = quantize_checkpoint(src, tmp_path / "new", W4, **keep)
    assert contents(dst) == contents(tmp_path / "new")
    assert continued.to_dict() == fresh.to_dict()
    for tensor in fresh.tensors:
        if tensor.name in names:
            assert (tensor.layer, tensor.unsupported) == (
                None,
                "values that are not finite in float32",
            )
            assert (tensor.health.nonfinite, tensor.health.fallbacks) == (1, 1)
    loaded = bm.load_checkpoint(dst)
    for name in names:
        assert loaded[name].tobytes() == nan_in(*names)[name].tobytes()
    assert quantize_checkpoint(src, dst, W4, **keep).unchanged
    with pytest.raises(FileExistsError, match="is stored in another way"):
        quantize_checkpoint(src, dst, W4, max_shard_size=limit)


def test_tensors_stay_in_the_shards_that_were_planned(tmp_path: Path) -> None:
    src = make(tmp_path / "src", nan_in(DOWN))
    limit = {"max_shard_size": 50_000}
    quantize_checkpoint(src, tmp_path / "dst", W4, on_nonfinite="keep", **limit)
    quantize_checkpoint(make(tmp_path / "good", llama()), tmp_path / "ok", W4, **limit)

    def homes(folder: Path) -> dict[str, str]:
        index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
        return {name.rsplit(".weight", 1)[0]: file for name, file in index.items()}

    assert homes(tmp_path / "dst") == homes(tmp_path / "ok")
    sizes = [path.stat().st_size for path in (tmp_path / "dst").glob("*.safetensors")]
    assert max(sizes) > 150_000


@pytest.mark.parametrize("axis", [None, 1])
def test_nonfinite_tensor_whose_pieces_share_scales_is_kept(tmp_path: Path, axis: Any) -> None:
    src = make(tmp_path / "src", nan_in(Q_PROJ))
    rules = {"Linear": LayerScheme(bm.Affine(8, axis=axis), format="native")}
    with pytest.raises(CheckpointError, match=f"{Q_PROJ}.*x has 1 value"):
        quantize_checkpoint(src, tmp_path / "dst", rules)
    report = quantize_checkpoint(src, tmp_path / "dst", rules, on_nonfinite="keep")
    assert [t.name for t in report.tensors if t.unsupported] == [Q_PROJ]


def test_ignoring_the_tensor_is_a_new_plan_that_reuses_the_rest(
    tmp_path: Path, done: list[str]
) -> None:
    src = make(tmp_path / "src", nan_in(DOWN))
    calls: list[Progress] = []
    with pytest.raises(CheckpointError):
        quantize_checkpoint(src, tmp_path / "dst", W4, progress=calls.append)
    finished = {now.tensor for now in calls} - {DOWN}
    plan = bm.plan_checkpoint(src, W4, ignore=["re:.*down_proj"])
    done.clear()
    quantize_checkpoint(src, tmp_path / "dst", plan)
    assert finished
    assert not set(done) & finished
    quantize_checkpoint(src, tmp_path / "new", plan)
    assert contents(tmp_path / "dst") == contents(tmp_path / "new")


def test_error_for_a_piece_names_the_place_in_the_tensor(tmp_path: Path) -> None:
    x = weight(256, 256, dtype="float32")
    x[200, 130] = 1e38
    src = make(tmp_path / "src", {"a.weight": x})
    with pytest.raises(CheckpointError, match=r"'a.weight': x: group \(200, 1\) spans"):
        quantize_checkpoint(src, tmp_path / "dst", bm.Affine(4, group_size=128, scales="float16"))
    x[200, 130], x[-1, 7] = np.inf, np.nan
    src = make(tmp_path / "nan", {"a.weight": x})
    with pytest.raises(CheckpointError) as error:
        quantize_checkpoint(src, tmp_path / "dst2", bm.Affine(4, group_size=128))
    with pytest.raises(ValueError, match="x has 2 values") as whole:
        bm.quantize(x, bm.Affine(4, group_size=128))
    assert str(whole.value) in str(error.value)


def test_second_process_is_told_who_holds_the_target(src: Path, tmp_path: Path) -> None:
    code = f"""
import time, bitmill as bm
def wait(_):
    print("go", flush=True)
    time.sleep(100)
bm.quantize_checkpoint({str(src)!r}, {str(tmp_path / "dst")!r}, bm.Affine(8), progress=wait)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"go\n"
        wanted = rf"dst: process {first.pid} on .* is writing to it"
        with pytest.raises(CheckpointError, match=wanted):
            quantize_checkpoint(src, tmp_path / "dst", bm.Affine(8))
        first.send_signal(signal.SIGKILL)
    quantize_checkpoint(src, tmp_path / "dst", bm.Affine(8))
    quantize_checkpoint(src, tmp_path / "new", bm.Affine(8))
    assert contents(tmp_path / "dst") == contents(tmp_path / "new")


def test_second_run_in_this_process_is_refused(src: Path, tmp_path: Path) -> None:
    def again(_: Progress) -> None:
        with pytest.raises(CheckpointError, match=r"\(this one\) is writing to it"):
            quantize_checkpoint(src, tmp_path / "dst", W4)

    assert not quantize_checkpoint(src, tmp_path / "dst", W4, progress=again).unchanged


def test_what_others_put_into_an_unfinished_target_is_respected(src: Path, tmp_path: Path) -> None:
    with pytest.raises(StopError):
        quantize_checkpoint(src, tmp_path / "dst", W4, progress=stop_after(3))
    (tmp_path / "dst" / "config.json").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        quantize_checkpoint(src, tmp_path / "dst", W4)
    assert (tmp_path / "dst" / "config.json").read_text() == "mine"


@pytest.mark.parametrize("link", ["symlink", "hard link"])
def test_target_whose_file_is_the_source_is_refused(src: Path, tmp_path: Path, link: str) -> None:
    (tmp_path / "dst").mkdir()
    if link == "symlink":
        (tmp_path / "dst" / WEIGHTS).symlink_to(src / WEIGHTS)
    else:
        os.link(src / WEIGHTS, tmp_path / "dst" / WEIGHTS)
    with pytest.raises(CheckpointError, match="under another name"):
        quantize_checkpoint(src, tmp_path / "dst", W4, overwrite=True)
    assert os.listdir(tmp_path / "dst") == [WEIGHTS]


def test_stacks_of_matrices_and_odd_rows_are_cut_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {
        "a.experts.weight": weight(5, 37, 128),
        "b.experts.weight": weight(3, 400, 128, seed=1),
        "c.weight": weight(1001, 96, seed=2),
        "d.weight": weight(7, 4096, seed=3),
    }
    src = make(tmp_path / "src", tensors)
    scheme = bm.Affine(3, symmetric=False, group_size=32)
    for size in (1 << 12, 1 << 14, 1 << 30):
        monkeypatch.setattr(pieces, "PIECE", size)
        quantize_checkpoint(src, tmp_path / f"{size}", {"re:.*": scheme})
    files = [contents(tmp_path / f"{size}")[WEIGHTS] for size in (1 << 12, 1 << 14, 1 << 30)]
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize("shape", [(6, 5, 3, 3), (4, 300), (40, 7, 20)])
@pytest.mark.parametrize("axis", [0, 1, -1, None, "row"])
@pytest.mark.parametrize("offset", [False, True])
def test_native_weights_of_any_axis_are_cut_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: Any, axis: Any, offset: bool
) -> None:
    x = weight(*shape, dtype=ml_dtypes.bfloat16)
    x[0] = 0.5  # a constant part of what is not constant
    src = make(tmp_path / "src", {"a.weight": x})
    scheme = bm.Affine(4, symmetric=not offset, axis=axis, offset=offset)
    monkeypatch.setattr(pieces, "PIECE", 600)
    layer = LayerScheme(scheme, format="native")
    report = quantize_checkpoint(src, tmp_path / "dst", {"re:.*": layer})
    found, wanted = bm.load_checkpoint(tmp_path / "dst")["a.weight"], bm.quantize(x, scheme)
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array, strict=True)
    assert report.tensors[0].metrics == bm.metrics(x, wanted)
    health = scheme.health(x, wanted.arrays)
    assert {name: getattr(report.tensors[0].health, name) for name in health} == health


def test_what_other_plans_have_left_stays_while_there_is_room(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "dst" / WORK
    for bits in (4, 5, 6):
        with pytest.raises(StopError):
            quantize_checkpoint(src, tmp_path / "dst", bm.Affine(bits), progress=stop_after(110))
    assert len(list(work.glob(f"*-{WEIGHTS}"))) == 3
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"No space left on device: \d+ bytes more are needed"):
        quantize_checkpoint(src, tmp_path / "dst", bm.Affine(7))
    assert len(list(work.glob(f"*-{WEIGHTS}"))) == 1  # with the tensors that all plans keep
