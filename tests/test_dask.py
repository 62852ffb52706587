# SPDX-License-Identifier: MIT
"""The workers of a dask scheduler do the pieces: the same files, also if one of them is lost."""

from __future__ import annotations

import argparse
import json
import logging
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, LayerScheme, Progress, pieces
from bitmill.checkpoint.target import WORK
from bitmill.cli import dask
from bitmill.cli.progress import ProgressDisplay
from checkpoints import contents, llama, make
from commands import run
from conftest import needs

distributed = needs("distributed")

RULES = {
    "W4A16": "W4A16",
    "scanned": {"Linear": LayerScheme(bm.Affine(8, axis=None), format="int-quantized")},
}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the small Llama into some dozens of pieces."""
    monkeypatch.setattr(pieces, "PIECE", 1 << 14)


@pytest.fixture(autouse=True, scope="module")
def short_patience() -> Iterator[None]:
    """The scheduler may look for what a lost worker had: for 2 seconds, and not for 30."""
    with needs("dask").config.set({"distributed.comm.timeouts.connect": "2s"}):
        yield


def new_cluster(**options: Any) -> Any:
    """A scheduler in this process, with workers of one thread in others."""
    return distributed.LocalCluster(
        threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL, **options
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler and two worker processes, with nannies that start them again."""
    with new_cluster(n_workers=2) as made:
        yield made


@pytest.fixture
def client(cluster: Any) -> Iterator[Any]:
    """A client of that."""
    with distributed.Client(cluster, set_as_default=False) as made:
        yield made


@pytest.fixture
def doomed() -> Iterator[Any]:
    """The same for one test, that kills a worker: not every nanny starts it again."""
    with new_cluster(n_workers=2, scheduler_kwargs={"allowed_failures": 1}) as made:
        yield made


class Killer:
    """For `progress`: kills the process of a worker, once, when so many pieces are done."""

    def __init__(self, cluster: Any, count: int) -> None:
        self.cluster, self.left = cluster, count

    def __call__(self, _: Progress) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(self.cluster.workers[0].pid, signal.SIGKILL)


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_workers_give_the_same_files(src: Path, tmp_path: Path, client: Any, rules: Any) -> None:
    wanted = bm.quantize_checkpoint(src, tmp_path / "wanted", rules)
    found = bm.quantize_checkpoint(src, tmp_path / "dst", rules, executor=client.get_executor())
    assert contents(tmp_path / "dst") == contents(tmp_path / "wanted")
    assert found.to_dict() == wanted.to_dict()


@pytest.mark.parametrize(
    ("rules", "count", "restart"),
    [("W4A16", 1, True), ("W4A16", 15, False), ("scanned", 15, True)],
)
def test_loss_of_a_worker_changes_nothing(
    src: Path, tmp_path: Path, doomed: Any, rules: str, count: int, restart: bool
) -> None:
    for nanny in doomed.workers.values():
        nanny.auto_restart = restart
    wanted = bm.quantize_checkpoint(src, tmp_path / "wanted", RULES[rules])
    killer = Killer(doomed, count)
    with distributed.Client(doomed, set_as_default=False) as client:
        executor = client.get_executor()
        found = bm.quantize_checkpoint(
            src, tmp_path / "dst", RULES[rules], executor=executor, progress=killer
        )
    assert killer.left <= 0
    assert contents(tmp_path / "dst") == contents(tmp_path / "wanted")
    assert found.to_dict() == wanted.to_dict()


def test_results_of_an_earlier_run_are_not_taken_for_work(
    src: Path, tmp_path: Path, client: Any
) -> None:
    def stop(_: Progress) -> None:
        raise InterruptedError

    executor = client.get_executor()  # which takes equal calls for one
    with pytest.raises(InterruptedError) as error:  # it holds the frames, and they hold results
        bm.quantize_checkpoint(src, tmp_path / "dst", "W4A16", executor=executor, progress=stop)
    shutil.rmtree(tmp_path / "dst")
    bm.quantize_checkpoint(src, tmp_path / "dst", "W4A16", executor=executor)
    bm.quantize_checkpoint(src, tmp_path / "wanted", "W4A16")
    assert contents(tmp_path / "dst") == contents(tmp_path / "wanted")
    assert error.tb is not None


# --dask


def test_command_line_gives_the_same_files(
    src: Path, tmp_path: Path, cluster: Any, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger("distributed.client").level
    address = cluster.scheduler_address
    assert run("quantize", src, tmp_path / "dst", "--dask", address, "--threads", 1) == 0
    out, err = capsys.readouterr()
    assert out.endswith(f"written to {tmp_path / 'dst'}\n")
    assert re.fullmatch(r"( *\d+%  \S+ GB/s  \d+ s left  \S+\n)+", err)
    assert run("quantize", src, tmp_path / "wanted") == 0
    assert contents(tmp_path / "dst") == contents(tmp_path / "wanted")
    assert run("quantize", src, tmp_path / "dst", "--dask", address.removeprefix("tcp://")) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert logging.getLogger("distributed.client").level == before


def test_workers_read_importances(src: Path, tmp_path: Path, cluster: Any, client: Any) -> None:
    path = tmp_path / "i.npz"
    np.savez(path, **{"model.layers.0.mlp.down_proj": np.arange(384.0)})
    options = ("--importance", path)
    address = cluster.scheduler_address
    assert run("quantize", src, tmp_path / "dst", "--dask", address, *options) == 0
    assert run("quantize", src, tmp_path / "wanted", *options) == 0
    assert contents(tmp_path / "dst") == contents(tmp_path / "wanted")


def test_loss_of_a_worker_is_not_seen_in_the_command_line(
    src: Path,
    tmp_path: Path,
    doomed: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    killer = Killer(doomed, 15)
    monkeypatch.setattr(ProgressDisplay, "__call__", lambda self, now: killer(now))
    assert run("quantize", src, tmp_path / "dst", "--dask", doomed.scheduler_address) == 0
    assert capsys.readouterr().err == ""
    assert killer.left <= 0
    assert run("quantize", src, tmp_path / "wanted") == 0
    assert contents(tmp_path / "dst") == contents(tmp_path / "wanted")


def test_errors_of_pieces_are_one_line(
    tmp_path: Path, cluster: Any, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = llama()
    tensors["model.layers.0.mlp.down_proj.weight"][-1, -1] = np.nan
    src = make(tmp_path / "src", tensors)
    assert run("quantize", src, tmp_path / "wanted") == 1
    wanted = capsys.readouterr().err.splitlines()[-1]
    assert run("quantize", src, tmp_path / "dst", "--dask", cluster.scheduler_address) == 1
    assert capsys.readouterr().err.splitlines()[-1] == wanted
    assert wanted.endswith("--on-nonfinite keep; run the same again to continue")


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (OSError, 1)])
def test_run_that_is_broken_off_closes_its_client(
    src: Path,
    tmp_path: Path,
    cluster: Any,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: type[BaseException],
    code: int,
) -> None:
    def stop(*_: Any) -> None:
        raise error("stop")

    monkeypatch.setattr(ProgressDisplay, "__call__", stop)
    start = time.perf_counter()
    assert run("quantize", src, tmp_path / "dst", "--dask", cluster.scheduler_address) == code
    assert time.perf_counter() - start < 10
    said = "interrupted" if code == 130 else "stop"
    assert capsys.readouterr().err == f"bitmill: {said}; run the same again to continue\n"
    assert os.listdir(tmp_path / "dst") == [WORK]
    _wait_until(lambda: len(_clients(client)) == 1)


def _clients(client: Any) -> list[str]:
    """Those that the scheduler knows, but its own."""
    found = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.clients))
    return [name for name in found if name.startswith("Client-")]


def _wait_until(true: Any) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def _end_workers(address: str) -> None:
    with dask.dask_executor(argparse.Namespace(dask=address)) as executor:
        assert executor is not None
        executor.submit(os._exit, 1).result()


def test_pieces_that_kill_every_worker_are_an_error(doomed: Any) -> None:
    address = doomed.scheduler_address
    with pytest.raises(CheckpointError) as error:
        _end_workers(address)
    assert str(error.value).startswith(f"{address}: Attempted to run task")


@contextmanager
def scheduler_of_its_own() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that is scheduler and worker, and its address."""
    code = """
import time, distributed
with distributed.LocalCluster(1, processes=False, protocol="tcp", dashboard_address=":0") as made:
    print(made.scheduler_address, flush=True)
    time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as made:
        assert made.stdout is not None
        yield made, made.stdout.readline().strip()
        made.kill()


def test_scheduler_that_is_lost_is_one_line(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with scheduler_of_its_own() as (process, address):
        monkeypatch.setattr(ProgressDisplay, "__call__", lambda *_: process.kill())
        assert run("quantize", src, tmp_path / "dst", "--dask", address) == 1
    assert capsys.readouterr().err == (
        f"bitmill: {address}: the scheduler is gone, or gave up; run the same again to continue\n"
    )
    assert run("quantize", src, tmp_path / "dst") == 0


def test_workers_of_another_version_are_refused(
    src: Path,
    tmp_path: Path,
    cluster: Any,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(dask, "__version__", "99.9")
    address = cluster.scheduler_address
    assert run("quantize", src, tmp_path / "dst", "--dask", address) == 1
    assert capsys.readouterr().err == (
        f"bitmill: {address}: its workers have bitmill {bm.__version__}; this is 99.9\n"
    )
    assert not (tmp_path / "dst").exists()


def test_scheduler_without_workers_is_one_line(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dask, "_PATIENCE", 1)
    with new_cluster(n_workers=0) as cluster:
        address = cluster.scheduler_address
        assert run("quantize", src, tmp_path / "dst", "--dask", address) == 1
    assert capsys.readouterr().err == f"bitmill: {address}: the scheduler has no workers\n"


def test_address_where_nobody_answers_is_one_line(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dask._PATIENCE == 10
    monkeypatch.setattr(dask, "_PATIENCE", 1)
    with socket.socket() as bound:  # nobody listens
        bound.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{bound.getsockname()[1]}"
        start = time.perf_counter()
        assert run("quantize", src, tmp_path / "dst", "--dask", address) == 1
    assert time.perf_counter() - start < 5
    assert capsys.readouterr().err == (
        f"bitmill: Timed out trying to connect to {address} after 1 s\n"
    )
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize(
    "address", ["", "foo", "tcp://", "tcp://host", "host:", "ftp://a:1", "tcp://a:1/b", "a.json"]
)
def test_what_is_no_address_is_wrong_usage(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    assert run("quantize", src, tmp_path / "dst", "--dask", address) == 2
    assert (
        f"argument --dask: {address!r} is not an address such as tcp://host:8786"
    ) in capsys.readouterr().err


def test_without_distributed_the_extra_is_named(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run("quantize", src, tmp_path / "dst", "--dask", "tcp://host:8786") == 1
    assert capsys.readouterr().err == (
        "bitmill: --dask needs distributed: pip install 'bitmill[dask]'\n"
    )
    assert run("quantize", src, tmp_path / "dst") == 0


# Observers


def _observed(kind: str, batches: list[Any]) -> Any:
    observer = getattr(bm.observers, kind)()
    for batch in batches:
        observer.update(batch)
    return observer


@pytest.mark.parametrize("kind", ["MinMax", "Histogram", "Moments", "BatchPercentile"])
def test_observers_of_workers_merge_to_the_same_bytes(
    client: Any, rng: np.random.Generator, kind: str
) -> None:
    batches = [rng.standard_normal((50, 64), np.float32) * 2.0**i for i in range(-6, 6)]
    wanted = _observed(kind, batches)
    parts = [batches[start::5] for start in range(5)]
    futures = client.map(_observed, [kind] * 5, parts, pure=False)
    merged = wanted.fresh()
    for one in reversed(client.gather(futures)):
        merged.merge(one)
    assert pickle.dumps(merged) == pickle.dumps(wanted)
    assert json.dumps(merged.to_dict()) == json.dumps(wanted.to_dict())
