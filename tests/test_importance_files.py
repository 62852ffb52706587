# SPDX-License-Identifier: MIT
"""`importance=` of checkpoints: from .npz, safetensors and imatrix files, checked before use."""

from __future__ import annotations

import builtins
import json
import multiprocessing
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, LayerScheme, Progress, pieces
from bitmill.checkpoint.target import WORK
from bitmill.checkpoint.write import write_tensors
from checkpoints import CONFIG, contents, llama, made, make, weight
from commands import run
from conftest import needs

MSE = bm.Affine(4, group_size=128, clip="mse", scales="bfloat16")
LAYER = "model.layers.0"
Q_PROJ, K_PROJ = f"{LAYER}.self_attn.q_proj.weight", f"{LAYER}.self_attn.k_proj.weight"
DOWN = f"{LAYER}.mlp.down_proj.weight"
COLUMNS = {Q_PROJ: 256, K_PROJ: 256, DOWN: 384}


def native(*args: Any, **options: Any) -> dict[str, LayerScheme]:
    """Rules for the native format, which takes any scheme."""
    return {"Linear": LayerScheme(bm.Affine(*args, **options), format="native")}


RULES = {
    "groups": MSE,
    "asymmetric": bm.Affine(3, symmetric=False, group_size=64, clip="mse"),
    "exact": bm.Affine(2, group_size=32, clip="mse-exact"),
    "rows": bm.Affine(5, clip="mse"),
    "offset": native(4, symmetric=False, group_size=32, offset=True, clip="mse"),
    "tensor": native(4, axis=None, clip="mse"),
    "columns": native(6, axis=1, clip="mse"),
    "two-level": native(4, group_size=32, clip="mse", scales=bm.Scales("float16")),
}


def importances(seed: int = 5) -> dict[str, np.ndarray]:
    """A number for each column of each weight of the small Llama, from 1e-4 to 1e4."""
    rng = np.random.default_rng(seed)
    return {
        name: np.exp(rng.uniform(-9, 9, columns)).astype(np.float32)
        for name, columns in COLUMNS.items()
    }


def npz(path: Path, vectors: Mapping[str, Any]) -> Path:
    np.savez(path, **vectors)
    return path


def compressed(path: Path, vectors: Mapping[str, Any]) -> Path:
    np.savez_compressed(path, **vectors)
    return path


def safetensors(path: Path, vectors: Mapping[str, Any]) -> Path:
    write_tensors(path, vectors)
    return path


def modules(path: Path, vectors: Mapping[str, Any]) -> Path:
    return npz(path, {name.removesuffix(".weight"): v for name, v in vectors.items()})


Writer = Callable[[Path, Mapping[str, Any]], Path]


def check(folder: Path, rules: Any, vectors: Mapping[str, Any]) -> None:
    """Fail unless each weight in the folder is what `bm.quantize` makes of it by its importance."""
    plan = bm.plan_checkpoint(folder.parent / "src", rules)
    found = bm.load_checkpoint(folder)
    tensors = llama()
    assert plan.quantized
    for planned in plan.quantized:
        name, scheme = planned.name, planned.scheme
        assert scheme is not None
        wanted = bm.quantize(tensors[name], scheme, importance=vectors.get(name))
        for field, array in wanted.arrays.items():
            np.testing.assert_array_equal(found[name].arrays[field], array, err_msg=name)


# What it gives


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("piece", [1 << 12, 1 << 22])
def test_weights_are_those_of_quantize_by_their_importance(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: Any, piece: int
) -> None:
    monkeypatch.setattr(pieces, "PIECE", piece)
    vectors = importances()
    path = npz(tmp_path / "i.npz", vectors)
    report = bm.quantize_checkpoint(src, tmp_path / "dst", rules, importance=path)
    check(tmp_path / "dst", rules, vectors)
    assert not any("importance" in note for note in report.notes)
    bm.quantize_checkpoint(src, tmp_path / "without", rules)
    weights = "model.safetensors"
    assert contents(tmp_path / "dst")[weights] != contents(tmp_path / "without")[weights]


KINDS = [
    *((write, dtype) for write in (npz, modules) for dtype in ("f2", "f4", "f8", ">f4")),
    (compressed, "f4"),
    *((safetensors, dtype) for dtype in ("f2", "f4", "f8", ml_dtypes.bfloat16)),
]


@pytest.mark.parametrize(("write", "dtype"), KINDS)
def test_every_kind_of_file_gives_the_same(
    src: Path, tmp_path: Path, write: Writer, dtype: Any
) -> None:
    vectors = {name: v.clip(1e-2, 1e4).astype(dtype) for name, v in importances().items()}
    path = write(tmp_path / "i.npz", vectors)
    bm.quantize_checkpoint(src, tmp_path / "dst", MSE, importance=path)
    check(tmp_path / "dst", MSE, vectors)


def test_command_line_takes_the_file(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = npz(tmp_path / "i.npz", importances())
    assert run("quantize", src, tmp_path / "dst", "--importance", path) == 0
    check(tmp_path / "dst", MSE, importances())
    assert run("quantize", src, tmp_path / "dst", "--importance", path) == 0
    assert "nothing to do" in capsys.readouterr().out
    plan = tmp_path / "plan.json"
    assert run("quantize", src, "--dry-run", "--plan", plan) == 0
    assert run("quantize", src, tmp_path / "b", "--plan", plan, "--importance", path) == 0
    assert made(tmp_path / "b") == made(tmp_path / "dst")
    assert run("quantize", src, "--dry-run", "--importance", path) == 2
    assert "--importance: goes with writing, not with --dry-run" in capsys.readouterr().err


def test_weights_without_an_entry_are_named_in_a_note(src: Path, tmp_path: Path) -> None:
    vectors = importances()
    del vectors[DOWN]
    path = npz(tmp_path / "i.npz", vectors)
    report = bm.quantize_checkpoint(src, tmp_path / "dst", MSE, importance=path)
    check(tmp_path / "dst", MSE, vectors)
    assert report.notes == (f"no importance for 1 of 3 quantized weights: {DOWN!r}",)


def test_long_lists_of_weights_without_an_entry_are_shortened(tmp_path: Path) -> None:
    tensors = {f"layers.{i}.weight": weight(4, 128) for i in range(9)}
    src = make(tmp_path / "src", tensors)
    path = npz(tmp_path / "i.npz", {"layers.3.weight": np.ones(128)})
    (note,) = bm.quantize_checkpoint(src, tmp_path / "dst", MSE, importance=path).notes
    assert note.startswith("no importance for 8 of 9 quantized weights: 'layers.0.weight', ")
    assert note.endswith("'layers.5.weight', and 3 more")


def test_only_ratios_count(src: Path, tmp_path: Path) -> None:
    for name, factor in (("a", 1.0), ("b", 2.0**-90)):
        vectors = {n: v.astype(np.float64) * factor for n, v in importances().items()}
        path = npz(tmp_path / f"{name}.npz", vectors)
        bm.quantize_checkpoint(src, tmp_path / name, MSE, importance=path)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


# Threads and executors


class Pickling(Executor):
    """Sends each call through pickle, as processes do, and keeps what the calls were."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        sent = pickle.dumps((function, args, kwargs))
        self.sizes.append(len(sent))
        function, args, kwargs = pickle.loads(sent)
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        return future


@pytest.mark.parametrize("rules", [MSE, RULES["columns"]], ids=["groups", "columns"])
def test_threads_and_executors_give_the_same_bytes(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: Any
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1 << 12)
    monkeypatch.chdir(tmp_path)
    path = npz(Path("i.npz"), importances())
    bm.quantize_checkpoint(src, "one", rules, importance=path, num_threads=1)
    bm.quantize_checkpoint(src, "four", rules, importance=path, num_threads=4)
    executor = Pickling()
    bm.quantize_checkpoint(src, "sent", rules, importance=path, executor=executor)
    with ThreadPoolExecutor(3) as threads:
        bm.quantize_checkpoint(src, "threads", rules, importance=path, executor=threads)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=os.chdir, initargs=("/",)) as processes:
        bm.quantize_checkpoint(src, "process", rules, importance=path, executor=processes)
    for other in ("four", "sent", "threads", "process"):
        assert contents(tmp_path / "one") == contents(tmp_path / other)
    assert max(executor.sizes) < 4000  # names and places, no numbers


def test_change_of_the_file_while_it_is_used_is_an_error(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1 << 12)
    path = npz(tmp_path / "i.npz", importances())

    def change(_: Progress) -> None:
        os.utime(path)

    with pytest.raises(CheckpointError, match=r"i\.npz: has changed while it was used"):
        bm.quantize_checkpoint(src, tmp_path / "dst", MSE, importance=path, progress=change)
    assert os.listdir(tmp_path / "dst") == [WORK]


# Files that do not fit


def refused(src: Path, path: Path, rules: Any = MSE) -> str:
    """The error for an importance file; fails if anything is written."""
    dst = src.parent / "dst"
    with pytest.raises(CheckpointError) as error:
        bm.quantize_checkpoint(src, dst, rules, importance=path)
    assert str(error.value).startswith(f"{path}: ")
    assert not dst.exists()
    return str(error.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("write", [npz, compressed, safetensors])
def test_all_entries_that_do_not_fit_are_named_at_once(
    src: Path, tmp_path: Path, write: Writer
) -> None:
    vectors = importances()
    vectors[Q_PROJ] = vectors[Q_PROJ][:-1]
    vectors[K_PROJ][7] = -1
    vectors[DOWN][3] = np.nan
    said = refused(src, write(tmp_path / "i.npz", vectors))
    head, _, rest = said.partition(": ")
    assert head == "what it holds is no importance of 3 of 3 weights"
    found = [
        f"{DOWN!r}: importance.flat[3] is nan; wanted finite numbers from 0 on",
        f"{Q_PROJ!r}: has shape (255,); wanted (256,): one number per column",
        f"{K_PROJ!r}: importance.flat[7] is -1.0; wanted finite numbers from 0 on",
    ]
    assert all(text in rest for text in found)
    assert len(rest) == len("; ".join(found))


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ones((1, 256), np.float32), "has shape (1, 256); wanted (256,): one number per column"),
        (np.float32(1), "has shape (); wanted (256,): one number per column"),
        (np.ones(256, np.int32), "has dtype <i4; wanted one of: float32, float16"),
        (np.full(256, np.inf), "importance.flat[0] is inf; wanted finite numbers from 0 on"),
        (np.ones(256, ml_dtypes.bfloat16), "has dtype <V2; wanted one of"),
        (np.array([{}] * 256), "has dtype |O; wanted one of"),
        (np.ones(256, [("a", "f4")]), "has the header b\"{'descr': [('a', '<f4')]"),
    ],
    ids=["2-D", "0-D", "int", "inf", "bfloat16", "pickle", "record"],
)
def test_entry_that_does_not_fit_is_an_error(
    src: Path, tmp_path: Path, vector: Any, message: str
) -> None:
    path = tmp_path / "i.npz"
    np.savez(path, **(importances() | {Q_PROJ: vector}))
    said = refused(src, path)
    assert said.startswith(f"what it holds is no importance of 1 of 3 weights: {Q_PROJ!r}: ")
    assert message in said


def test_importance_that_no_scheme_takes_is_an_error_before_anything_is_written(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = npz(tmp_path / "i.npz", importances())
    said = refused(src, path, "W8A16")
    assert said.startswith(
        "importance goes with ranges of least squared error, and the weights have others: "
    )
    assert f"{DOWN!r} (int8 sym row)" in said
    assert said.endswith("; choose clip='mse'")
    assert run("quantize", src, tmp_path / "dst", "--bits", 8, "--importance", path) == 1
    assert capsys.readouterr().err.endswith("; choose --clip mse\n")
    assert not (tmp_path / "dst").exists()
    options = ["--bits", 8, "--clip", "mse", "--importance", path]
    assert run("quantize", src, tmp_path / "dst", *options) == 0


def test_weights_whose_scheme_takes_no_importance_are_noted(src: Path, tmp_path: Path) -> None:
    path = npz(tmp_path / "i.npz", importances())
    rules = {"re:.*down_proj": "W8A16", "Linear": MSE}
    report = bm.quantize_checkpoint(src, tmp_path / "a", rules, importance=path)
    assert (
        "importance is not used for 1 of 3 quantized weights, whose ranges are not of least "
        f"squared error: {DOWN!r}"
    ) in report.notes
    plain = bm.quantize_checkpoint(src, tmp_path / "b", {"re:.*down_proj": "W8A16"})
    found = {t.name: t.metrics for t in report.quantized}
    assert found[DOWN] == {t.name: t.metrics for t in plain.quantized}[DOWN]


def test_file_for_another_model_is_an_error(src: Path, tmp_path: Path) -> None:
    path = npz(tmp_path / "i.npz", {"other.weight": np.ones(256)})
    said = refused(src, path)
    assert said.startswith("holds no importance of any weight to quantize, such as 'model.layers.")
    assert said.endswith(", but 'other.weight'")


def zip_of(path: Path, content: bytes, **options: Any) -> None:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr(f"{Q_PROJ}.npy", content)


HEADER = b"\x93NUMPY\1\0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no importance of 1 of 3 weights"),
        (b"x" * 100, "is no array in version 1.0 of .npy"),
        (HEADER + b"\xff\xff", "no importance of 1 of 3 weights"),
        (HEADER + b"\4\0[[[[", "has the header b'[[[['; wanted one array of floats"),
        (b"\x93NUMPY\3\0" + b"\1\0\0\0{", "is no array in version 1.0 of .npy"),
        (
            HEADER
            + b"\x46\0{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }   ",
            "has shape (99999999999,); wanted (256,)",
        ),
        (
            HEADER
            + b"\x46\0{'descr': '<f4', 'fortran_order': False, 'shape': (256,), }           ",
            "ends after 0 bytes",
        ),
    ],
    ids=["empty", "no magic", "cut", "brackets", "version", "huge", "no data"],
)
def test_broken_members_are_clear_errors(
    src: Path, tmp_path: Path, content: bytes, message: str
) -> None:
    zip_of(tmp_path / "i.npz", content)
    assert message in refused(src, tmp_path / "i.npz")


@pytest.mark.filterwarnings("error")
def test_signalling_nan_is_a_clear_error(src: Path, tmp_path: Path) -> None:
    vectors = importances()
    vectors[Q_PROJ].view(np.uint32)[3] = 0x7F800001
    assert "importance.flat[3] is nan" in refused(src, npz(tmp_path / "i.npz", vectors))
    sums = {BLOCK[name]: (v, [1]) for name, v in vectors.items()}
    assert "importance.flat[3] is nan" in refused(src, imatrix(tmp_path / "i.gguf", sums))


def test_member_that_begins_before_the_file_is_a_clear_error(src: Path, tmp_path: Path) -> None:
    path = npz(tmp_path / "i.npz", importances())
    data = bytearray(path.read_bytes())
    data[-6:-2] = (int.from_bytes(data[-6:-2], "little") + 999).to_bytes(4, "little")
    path.write_bytes(data)  # the directory is said to begin later: zipfile moves all by as much
    refused(src, path)


def test_broken_files_are_clear_errors(src: Path, tmp_path: Path) -> None:
    path = tmp_path / "i.npz"
    whole = npz(path, importances()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "not the .npz file it should be" in refused(src, path)
    path.write_bytes(whole[:99] + bytes([whole[99] ^ 255]) + whole[100:])
    refused(src, path)
    path.write_bytes(b"")
    refused(src, path)
    path.write_bytes(b"GGUF")
    refused(src, path)
    zip_of(path, b"x" * 300, compression=zipfile.ZIP_BZIP2)
    assert "is compressed in a way that NumPy does not use" in refused(src, path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        bm.quantize_checkpoint(src, tmp_path / "dst", MSE, importance=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="importance is empty"):
        bm.quantize_checkpoint(src, tmp_path / "dst", MSE, importance="")
    with pytest.raises(CheckpointError, match="is a folder"):
        bm.quantize_checkpoint(src, tmp_path / "dst", MSE, importance=tmp_path)
    assert not (tmp_path / "dst").exists()


def test_target_may_not_replace_the_file(src: Path, tmp_path: Path) -> None:
    dst = tmp_path / "dst"
    dst.mkdir()
    path = safetensors(dst / "model.safetensors", importances())
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="under another name"):
        bm.quantize_checkpoint(src, dst, MSE, importance=path, overwrite=True)
    assert path.read_bytes() == before


# Continued and finished targets


class StopError(Exception):
    """Ends a run."""


def broken_off(src: Path, dst: Path, path: Path | None, count: int) -> None:
    """A run that ends after so many pieces."""
    left = count

    def stop(_: Progress) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise StopError

    with pytest.raises(StopError):
        bm.quantize_checkpoint(src, dst, MSE, importance=path, progress=stop)


@pytest.mark.parametrize("kind", [npz, safetensors])
def test_same_importance_continues(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: list[str], kind: Writer
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1 << 12)
    path = npz(tmp_path / "i.npz", importances())
    bm.quantize_checkpoint(src, tmp_path / "whole", MSE, importance=path)
    total = len(done)
    broken_off(src, tmp_path / "dst", path, 60)
    done.clear()
    same = kind(tmp_path / "same.npz", importances())  # the numbers count, not the file
    bm.quantize_checkpoint(src, tmp_path / "dst", MSE, importance=same)
    assert len(done) <= total - 60
    assert contents(tmp_path / "dst") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("first", "then"), [(None, "other.npz"), ("i.npz", None), ("i.npz", "other.npz")]
)
def test_another_importance_redoes_what_it_changes(
    src: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    done: list[str],
    first: str | None,
    then: str | None,
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1 << 12)
    vectors = importances()
    npz(tmp_path / "i.npz", vectors)
    vectors[K_PROJ] = importances(6)[K_PROJ]
    npz(tmp_path / "other.npz", vectors)
    paths = [name and tmp_path / name for name in (first, then)]
    broken_off(src, tmp_path / "dst", paths[0], 100)
    finished = set(done)
    done.clear()
    bm.quantize_checkpoint(src, tmp_path / "dst", MSE, importance=paths[1])
    if first and then:
        assert done.count(Q_PROJ) + done.count(DOWN) < 89  # of which these have not changed
    assert finished & {Q_PROJ, DOWN}
    bm.quantize_checkpoint(src, tmp_path / "new", MSE, importance=paths[1])
    assert contents(tmp_path / "dst") == contents(tmp_path / "new")


def test_finished_target_of_another_importance_is_refused(src: Path, tmp_path: Path) -> None:
    dst = tmp_path / "dst"
    path = npz(tmp_path / "i.npz", importances())
    bm.quantize_checkpoint(src, dst, MSE, importance=path)
    assert bm.quantize_checkpoint(src, dst, MSE, importance=path).unchanged
    before = contents(dst)
    vectors = importances() | {K_PROJ: importances(6)[K_PROJ]}
    other = npz(tmp_path / "other.npz", vectors)
    message = "k_proj.weight was quantized with another importance, or with none; name"
    with pytest.raises(FileExistsError, match=message):
        bm.quantize_checkpoint(src, dst, MSE, importance=other)
    with pytest.raises(FileExistsError, match="was quantized with another importance"):
        bm.quantize_checkpoint(src, dst, MSE)
    assert contents(dst) == before
    bm.quantize_checkpoint(src, dst, MSE, importance=other, overwrite=True)
    check(dst, MSE, vectors)
    bm.quantize_checkpoint(src, tmp_path / "without", MSE)
    with pytest.raises(FileExistsError, match="was quantized with another importance, or with no"):
        bm.quantize_checkpoint(src, tmp_path / "without", MSE, importance=path)


def test_manifest_tells_the_importance_of_what_has_one(src: Path, tmp_path: Path) -> None:
    vectors = importances()
    del vectors[DOWN]
    path = npz(tmp_path / "i.npz", vectors)
    bm.quantize_checkpoint(src, tmp_path / "dst", MSE, importance=path)
    manifest = json.loads((tmp_path / "dst" / "bitmill_manifest.json").read_text())
    told = {
        name: len(t["importance"]) for name, t in manifest["tensors"].items() if "importance" in t
    }
    assert told == {Q_PROJ: 32, K_PROJ: 32}


def test_weight_that_is_kept_for_its_nan_has_no_importance(tmp_path: Path) -> None:
    tensors = llama()
    tensors[DOWN][0, 0] = np.nan
    src = make(tmp_path / "src", tensors)
    path = npz(tmp_path / "i.npz", importances())
    keep = {"importance": path, "on_nonfinite": "keep"}
    report = bm.quantize_checkpoint(src, tmp_path / "dst", MSE, **keep)
    assert {tensor.name for tensor in report.quantized} == {Q_PROJ, K_PROJ}
    assert bm.quantize_checkpoint(src, tmp_path / "dst", MSE, **keep).unchanged


# Importance matrices of llama.cpp


def imatrix(path: Path, entries: Mapping[str, tuple[Any, Any]]) -> Path:
    """The file that llama-imatrix writes: sums of squares and counts, by llama.cpp's names."""
    gguf = needs("gguf")
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["calibration.txt"])
    writer.add_uint32("imatrix.chunk_count", 2)
    for name, (sums, counts) in entries.items():
        writer.add_tensor(f"{name}.in_sum2", np.asarray(sums, np.float32))
        writer.add_tensor(f"{name}.counts", np.asarray(counts, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


BLOCK = {Q_PROJ: "blk.0.attn_q.weight", K_PROJ: "blk.0.attn_k.weight"} | {
    DOWN: "blk.0.ffn_down.weight"
}


def test_imatrix_gives_mean_squares_by_the_names_of_llama_cpp(src: Path, tmp_path: Path) -> None:
    sums = importances()
    entries = {BLOCK[name]: (v[np.newaxis], [[7]]) for name, v in sums.items()}
    entries[BLOCK[DOWN]] = (sums[DOWN], [7])  # llama.cpp leaves out dimensions of 1
    entries["output.weight"] = (np.ones(256), [7])
    path = imatrix(tmp_path / "i.gguf", entries)
    report = bm.quantize_checkpoint(src, tmp_path / "dst", MSE, importance=path)
    check(tmp_path / "dst", MSE, {name: v.astype(np.float64) / 7 for name, v in sums.items()})
    assert report.notes == ()


def test_layers_have_their_own_numbers(tmp_path: Path) -> None:
    name = "model.layers.17.mlp.down_proj.weight"
    src = make(tmp_path / "src", {name: weight(8, 128)})
    sums = np.arange(1, 129, dtype=np.float64)
    path = imatrix(
        tmp_path / "i.gguf",
        {"blk.0.ffn_down.weight": (np.ones(3), [1]), "blk.17.ffn_down.weight": (sums, [1])},
    )
    bm.quantize_checkpoint(src, tmp_path / "dst", MSE, importance=path)
    found = bm.load_checkpoint(tmp_path / "dst")[name]
    wanted = bm.quantize(weight(8, 128), MSE, importance=sums)
    assert found.codes.tolist() == wanted.codes.tolist()


MOE = CONFIG | {"model_type": "qwen3_moe"}


def experts(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts of experts; number 1 was never chosen."""
    rng = np.random.default_rng(1)
    counts = np.arange(3.0, 3.0 + count)[:, np.newaxis]
    counts[1] = 0
    return np.exp(rng.uniform(-5, 5, (count, 128))) * (counts > 0), counts


@pytest.mark.parametrize(
    ("model", "module"),
    [
        ("qwen3_moe", "mlp.experts.{}.gate_proj"),
        ("mixtral", "block_sparse_moe.experts.{}.w1"),
    ],
)
def test_each_expert_has_its_own_importance(tmp_path: Path, model: str, module: str | None) -> None:
    names = [f"model.layers.2.{module.format(i)}.weight" for i in range(3)]
    tensors = {name: weight(8, 128, seed=i) for i, name in enumerate(names)}
    src = make(tmp_path / "src", tensors, config=CONFIG | {"model_type": model})
    sums, counts = experts(3)
    path = imatrix(tmp_path / "i.gguf", {"blk.2.ffn_gate_exps.weight": (sums, counts)})
    report = bm.quantize_checkpoint(src, tmp_path / "dst", MSE, importance=path)
    assert not any("importance" in note for note in report.notes)
    found = bm.load_checkpoint(tmp_path / "dst")
    sums = sums.astype(np.float32).astype(np.float64)
    for i, (name, x) in enumerate(tensors.items()):
        importance = sums[i] / counts[i] if counts[i] else None
        wanted = bm.quantize(x, MSE, importance=importance)
        assert found[name].codes.tolist() == wanted.codes.tolist()


def test_stack_of_experts_gets_the_importance_of_all_together(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.experts.down_proj"
    src = make(tmp_path / "src", {name: weight(3, 8, 128)}, config=MOE)
    sums, counts = experts(3)
    path = imatrix(tmp_path / "i.gguf", {"blk.0.ffn_down_exps.weight": (sums, counts)})
    rules = {"re:.*experts.*": MSE}
    report = bm.quantize_checkpoint(src, tmp_path / "dst", rules, importance=path)
    assert f"the importance of all experts together for: {name!r}" in report.notes
    importance = sums.astype(np.float32).astype(np.float64).sum(axis=0) / counts.sum()
    wanted = bm.quantize(weight(3, 8, 128), MSE, importance=importance)
    assert bm.load_checkpoint(tmp_path / "dst")[name].codes.tolist() == wanted.codes.tolist()


def test_columns_that_are_outputs_get_no_importance_of_inputs(tmp_path: Path) -> None:
    rules = {"re:.*": LayerScheme(MSE, format="native")}
    config = CONFIG | {"model_type": "gpt2"}
    make(tmp_path / "src", {"h.0.attn.c_proj.weight": weight(128, 128)}, config=config)
    path = imatrix(tmp_path / "i.gguf", {"blk.0.attn_output.weight": (np.ones(128), [1])})
    assert "holds no importance of any weight" in refused(tmp_path / "src", path, rules)


def test_stacks_of_outputs_get_no_importance_of_inputs(tmp_path: Path) -> None:
    rules = {"re:.*": LayerScheme(MSE, format="native")}
    stack, q_proj = "model.layers.0.mlp.experts.down_proj", "model.layers.0.self_attn.q_proj.weight"
    config = CONFIG | {"model_type": "gpt_oss"}
    tensors = {stack: weight(2, 128, 128), q_proj: weight(8, 128)}
    src = make(tmp_path / "src", tensors, config=config)
    entries = {"blk.0.ffn_down_exps.weight": (np.ones((2, 128)), np.ones((2, 1)))}
    entries["blk.0.attn_q.weight"] = (np.ones(128), [1])
    path = imatrix(tmp_path / "i.gguf", entries)
    report = bm.quantize_checkpoint(src, tmp_path / "dst", rules, importance=path)
    assert f"no importance for 1 of 2 quantized weights: {stack!r}" in report.notes


def test_imatrix_that_does_not_fit_is_an_error(src: Path, tmp_path: Path) -> None:
    ones = np.ones(256)
    bad = {BLOCK[Q_PROJ]: (ones[:255], [1]), BLOCK[K_PROJ]: (-ones, [1])}
    bad[BLOCK[DOWN]] = (np.ones(384), [np.nan])
    said = refused(src, imatrix(tmp_path / "i.gguf", bad))
    assert said.startswith("what it holds is no importance of 3 of 3 weights: ")
    for message in (
        f"{Q_PROJ!r} (as 'blk.0.attn_q.weight'): has shape (255,); wanted (256,)",
        f"{K_PROJ!r} (as 'blk.0.attn_k.weight'): importance.flat[0] is -1.0",
        f"{DOWN!r} (as 'blk.0.ffn_down.weight'): 'blk.0.ffn_down.weight.counts' holds [nan]",
    ):
        assert message in said
    two = {BLOCK[Q_PROJ]: (np.ones((2, 3)), [[1], [1]])}
    assert "has shape (2, 3); wanted (2, 256)" in refused(src, imatrix(tmp_path / "j.gguf", two))


def test_gguf_of_something_else_is_an_error(src: Path, tmp_path: Path) -> None:
    gguf = needs("gguf")
    for names, message in (
        (["blk.0.attn_q.weight"], "a GGUF file without tensors called *.in_sum2"),
        (["blk.0.attn_q.weight.in_sum2"], "is there without 'blk.0.attn_q.weight.counts'"),
    ):
        path = tmp_path / "i.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        for name in names:
            writer.add_tensor(name, np.ones(256, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        assert message in refused(src, path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "unheard_of"}, "config.json model_type is 'unheard_of'; name them as"),
        ({}, "config.json says no model_type; name them as the checkpoint does"),
    ],
)
def test_model_that_gguf_does_not_know_is_an_error(
    tmp_path: Path, config: Any, message: str
) -> None:
    src = make(tmp_path / "src", llama(), config=config)
    path = imatrix(tmp_path / "i.gguf", {BLOCK[Q_PROJ]: (np.ones(256), [1])})
    assert message in refused(src, path)


def test_missing_package_is_named(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = imatrix(tmp_path / "i.gguf", {BLOCK[Q_PROJ]: (np.ones(256), [1])})
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "gguf":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'bitmill[gguf]'" in refused(src, path)
