# SPDX-License-Identifier: MIT
"""`executor=`: whatever runs the pieces, and in whatever order, gives the same files and report."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, LayerScheme, Progress, Report, job, pieces
from bitmill.checkpoint.target import WORK
from checkpoints import contents, llama, make, weight
from fake_executors import Backwards, Empty, Failing, LostError, Numb

RULES = {
    "W4A16": "W4A16",
    "scanned": {"Linear": LayerScheme(bm.Affine(8, axis=None), format="int-quantized")},
    "columns": {
        "Linear": LayerScheme(bm.Affine(5, axis=1, symmetric=False, offset=True), format="native")
    },
}
Q_PROJ = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the small Llama into some hundred pieces."""
    monkeypatch.setattr(pieces, "PIECE", 1 << 12)


def cost_of(src: Path, rules: Any) -> int:
    """What the largest piece takes."""
    plan = bm.plan_checkpoint(src, rules)
    return max(pieces.cost(tensor, pieces.cut(tensor)[0]) for tensor in plan.tensors)


def check_same(src: Path, folder: Path, rules: Any, executor: Executor, **options: Any) -> None:
    """Fail unless the executor gives the bytes and the report of a run without one."""
    wanted = bm.quantize_checkpoint(src, folder / "wanted", rules)
    found = bm.quantize_checkpoint(src, folder / "found", rules, executor=executor, **options)
    assert contents(folder / "found") == contents(folder / "wanted")
    assert said(found) == said(wanted)


def said(report: Report) -> dict[str, Any]:
    """All that a report tells but times."""
    of_this_run = {"unchanged": report.unchanged, "replaced": report.replaced}
    return {**report.to_dict(), **of_this_run, "removed": report.removed}


# Executors of Python


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("workers", [1, 3])
def test_threads_give_the_same_files(src: Path, tmp_path: Path, rules: Any, workers: int) -> None:
    with ThreadPoolExecutor(workers) as executor:
        check_same(src, tmp_path, rules, executor, num_threads=2)


@pytest.fixture(scope="module", params=["spawn", "fork"])
def processes(request: pytest.FixtureRequest) -> Iterator[ProcessPoolExecutor]:
    """Two processes, whose current folder is another one."""
    context = multiprocessing.get_context(request.param)
    with ProcessPoolExecutor(2, context, initializer=os.chdir, initargs=("/",)) as executor:
        yield executor


forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@forks
@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_processes_give_the_same_files(
    src: Path, tmp_path: Path, rules: Any, processes: Executor
) -> None:
    check_same(src, tmp_path, rules, processes)


@forks
def test_relative_paths_are_those_of_the_caller(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: Executor
) -> None:
    monkeypatch.chdir(tmp_path)
    bm.quantize_checkpoint("src", "dst", "W4A16", executor=processes)
    bm.quantize_checkpoint("src/model.safetensors", "file", "W4A16", executor=processes)
    bm.quantize_checkpoint(src, tmp_path / "wanted", "W4A16")
    assert contents(tmp_path / "dst") == contents(tmp_path / "wanted")
    assert (tmp_path / "file" / "model.safetensors").is_file()


@forks
def test_finished_target_is_compared_by_the_executor(
    src: Path, tmp_path: Path, processes: Executor
) -> None:
    bm.quantize_checkpoint(src, tmp_path / "dst", "W4A16", executor=processes)
    again = bm.quantize_checkpoint(src, tmp_path / "dst", "W4A16", executor=processes)
    assert again.unchanged


# What goes wrong in a piece


def has_nan(tensors: dict[str, np.ndarray]) -> None:
    tensors[Q_PROJ][-1, -1] = np.nan


def overflows(tensors: dict[str, np.ndarray]) -> None:
    x = weight(256, 256, dtype="float32")
    x[200, 130] = 1e38
    tensors[Q_PROJ] = x


@forks
@pytest.mark.parametrize("rules", [bm.Affine(4, group_size=128, scales="float16")], ids=str)
@pytest.mark.parametrize("spoil", [has_nan, overflows])
def test_weights_that_cannot_be_quantized_are_the_same_error(
    tmp_path: Path, processes: Executor, rules: Any, spoil: Callable[[Any], None]
) -> None:
    tensors = llama()
    spoil(tensors)
    src = make(tmp_path / "src", tensors)
    with pytest.raises(CheckpointError) as wanted:
        bm.quantize_checkpoint(src, tmp_path / "wanted", rules)
    with pytest.raises(CheckpointError) as found:
        bm.quantize_checkpoint(src, tmp_path / "dst", rules, executor=processes)
    assert type(found.value) is CheckpointError
    assert str(found.value) == str(wanted.value)
    assert Q_PROJ in str(found.value)


@forks
@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_nonfinite_tensors_are_kept_if_asked(
    tmp_path: Path, processes: Executor, rules: Any
) -> None:
    tensors = llama()
    has_nan(tensors)
    src = make(tmp_path / "src", tensors)
    wanted = bm.quantize_checkpoint(src, tmp_path / "wanted", rules, on_nonfinite="keep")
    found = bm.quantize_checkpoint(
        src, tmp_path / "found", rules, on_nonfinite="keep", executor=processes
    )
    assert contents(tmp_path / "found") == contents(tmp_path / "wanted")
    assert said(found) == said(wanted)


@forks
def test_file_that_is_gone_is_an_error_of_the_system(tmp_path: Path, processes: Executor) -> None:
    src = make(tmp_path / "src", llama(), shards=2)
    last = src / "model-00002-of-00002.safetensors"

    def remove(_: Progress) -> None:
        last.unlink(missing_ok=True)

    with pytest.raises(FileNotFoundError, match="No such file or directory") as error:
        bm.quantize_checkpoint(src, tmp_path / "dst", "W4A16", executor=processes, progress=remove)
    assert error.value.filename == str(last)


@forks
def test_file_that_changes_is_an_error(src: Path, tmp_path: Path, processes: Executor) -> None:
    def change(_: Progress) -> None:
        os.utime(src / "model.safetensors")

    with pytest.raises(CheckpointError, match=r"model\.safetensors: has changed"):
        bm.quantize_checkpoint(src, tmp_path / "dst", "W4A16", executor=processes, progress=change)


@forks
@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
@pytest.mark.parametrize("rules", [RULES["W4A16"], RULES["scanned"]], ids=["W4A16", "scanned"])
def test_broken_pool_leaves_what_can_be_continued(src: Path, tmp_path: Path, rules: Any) -> None:
    dst = tmp_path / "dst"
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as executor:

        def kill(_: Progress) -> None:
            for pid in executor._processes:
                with suppress(ProcessLookupError):  # it has ended already
                    os.kill(pid, signal.SIGKILL)

        with pytest.raises(BrokenProcessPool):
            bm.quantize_checkpoint(src, dst, rules, executor=executor, progress=kill)
    assert os.listdir(dst) == [WORK]
    bm.quantize_checkpoint(src, dst, rules)
    bm.quantize_checkpoint(src, tmp_path / "wanted", rules)
    assert contents(dst) == contents(tmp_path / "wanted")


# Executors of others


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_order_of_the_pieces_does_not_matter(src: Path, tmp_path: Path, rules: Any) -> None:
    check_same(src, tmp_path, rules, Backwards())


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("room", [1, 2, 3, 5, 20])
def test_no_more_pieces_are_begun_than_memory_has_room_for(
    src: Path, tmp_path: Path, rules: Any, room: int
) -> None:
    executor = Backwards()
    memory = room * cost_of(src, rules) + 17
    bm.quantize_checkpoint(src, tmp_path / "dst", rules, executor=executor, max_memory=memory)
    assert (room + 1) // 2 <= executor.most <= room


def test_no_more_than_a_hundred_or_so_pieces_are_begun(src: Path, tmp_path: Path) -> None:
    executor = Backwards()
    bm.quantize_checkpoint(
        src, tmp_path / "dst", RULES["scanned"], executor=executor, max_memory="1TiB"
    )
    assert 64 <= executor.most < 128


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_pieces_can_be_sent_anywhere_and_are_small(src: Path, tmp_path: Path, rules: Any) -> None:
    executor = Backwards()
    bm.quantize_checkpoint(src, tmp_path / "dst", rules, executor=executor)
    bm.quantize_checkpoint(src, tmp_path / "dst", rules, executor=executor)  # reads and compares
    assert {call[0] for call in executor.calls} >= {job.run_piece, job.digest_input}
    for function, given, *seen in executor.calls:
        file = io.BytesIO()
        pickler = Numb(file)
        pickler.dump((function, given))
        assert len(file.getvalue()) < 4096
        assert pickler.arrays == []
        assert pickle.loads(file.getvalue()) == (function, given)
        pickler = Numb(io.BytesIO())
        pickler.dump(seen)
        assert sum(array.nbytes for array in pickler.arrays) <= 8 * 384  # two ranges per column


def test_calls_of_two_runs_are_never_equal(src: Path, tmp_path: Path) -> None:
    calls = []
    for _ in range(2):
        executor = Backwards()
        bm.quantize_checkpoint(src, tmp_path / "dst", "W4A16", executor=executor, overwrite=True)
        calls += executor.calls
    assert len({pickle.dumps(call) for call in calls}) == len(calls)


@pytest.mark.parametrize(("given", "wanted"), [(None, 1), (1, 1), (7, 7)])
def test_num_threads_is_that_of_each_piece(
    src: Path, tmp_path: Path, given: int | None, wanted: int
) -> None:
    executor = Backwards()
    bm.quantize_checkpoint(src, tmp_path / "dst", "W4A16", executor=executor, num_threads=given)
    assert {call[1].num_threads for call in executor.calls} == {wanted}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("number", [1, 2, 40])
def test_failure_of_the_executor_is_passed_on_and_leaves_what_can_be_continued(
    src: Path, tmp_path: Path, rules: Any, at_once: bool, number: int
) -> None:
    dst = tmp_path / "dst"
    executor = Failing(number, at_once=at_once)
    with pytest.raises(LostError, match="no workers"):
        bm.quantize_checkpoint(
            src, dst, rules, executor=executor, max_memory=7 * cost_of(src, rules)
        )
    assert not dst.exists() or os.listdir(dst) == [WORK]
    assert executor.most < 40
    assert all(future.cancelled() for future, _ in executor.waiting)
    bm.quantize_checkpoint(src, dst, rules)
    bm.quantize_checkpoint(src, tmp_path / "wanted", rules)
    assert contents(dst) == contents(tmp_path / "wanted")


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_executor_that_is_broken_ends_its_futures_itself(
    src: Path, tmp_path: Path, rules: Any
) -> None:
    """Those of processes, in Python 3.11, do not expect that one has been cancelled."""
    executor = Failing(1, at_once=False, kind=BrokenExecutor)
    with pytest.raises(BrokenExecutor, match="no workers"):
        bm.quantize_checkpoint(src, tmp_path / "dst", rules, executor=executor)
    assert executor.waiting
    assert not any(future.cancelled() for future, _ in executor.waiting)


def test_executor_that_was_shut_down_leaves_nothing(src: Path, tmp_path: Path) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        bm.quantize_checkpoint(src, tmp_path / "dst", "W4A16", executor=executor)
    assert not (tmp_path / "dst").exists()


def test_executor_is_left_as_it_was(src: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        bm.quantize_checkpoint(src, tmp_path / "dst", "W4A16", executor=executor)
        assert executor.submit(max, 1, 2).result() == 2


def test_executor_may_be_false(src: Path, tmp_path: Path) -> None:
    executor = Empty()
    check_same(src, tmp_path, "W4A16", executor)
    assert executor.calls


@pytest.mark.parametrize("given", [3, "threads", ThreadPoolExecutor], ids=str)
def test_what_is_no_executor_is_an_error(src: Path, tmp_path: Path, given: Any) -> None:
    with pytest.raises(TypeError, match=r"^executor=.*; wanted a concurrent\.futures\.Executor"):
        bm.quantize_checkpoint(src, tmp_path / "dst", "W4A16", executor=given)
    assert not (tmp_path / "dst").exists()
