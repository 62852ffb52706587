# SPDX-License-Identifier: MIT
"""`max_memory` and `max_shard_size`: kept, or refused before anything is written.

A longer run with larger checkpoints: `python tests/long/memory.py`.
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, LayerScheme, job, pieces
from bitmill.checkpoint.data import Buffers
from bitmill.checkpoint.header import read_header
from bitmill.checkpoint.read import INDEX
from bitmill.checkpoint.sizes import parse_size
from bounded import SLACK, Weights, convert, digests, write_checkpoint
from checkpoints import contents, made, make, weight
from commands import parsed, printed, run

MIB = 1 << 20
BUDGET = 28 * MIB


def native(bits: int, **options: Any) -> LayerScheme:
    """A layer in bitmill's own format."""
    return LayerScheme(bm.Affine(bits, **options), format="native")


# The peak of a process


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("tensors", "rules"),
    [
        pytest.param(
            [Weights(f"layers.{i}.m.weight", (4096, 4096), kind="holes") for i in range(18)],
            "W4A16",
            id="checkpoint of 20 times the budget",
        ),
        pytest.param(
            [Weights("m.weight", (28 * 1024, 4096), kind="ends")],
            {"Linear": bm.Affine(4, group_size=128, scale_rule="signed_max")},
            id="one tensor of 8 times the budget, all at the ends of its range",
        ),
    ],
)
def test_peak_of_memory_is_bounded(tmp_path: Path, tensors: list[Weights], rules: Any) -> None:
    src = write_checkpoint(tmp_path / "src", tensors, shards=min(2, len(tensors)))
    plan = bm.plan_checkpoint(src, rules)
    taken = convert(src, tmp_path / "dst", plan, max_memory=BUDGET, num_threads=8)
    assert sum(tensor.nbytes for tensor in tensors) >= (8 if len(tensors) == 1 else 20) * BUDGET
    assert taken.added <= BUDGET + SLACK
    convert(src, tmp_path / "unbounded", plan, max_memory="64GiB")
    assert digests(tmp_path / "dst") == digests(tmp_path / "unbounded")


class Measuring(Executor):
    """Does each piece at once, and keeps the most memory that Python held for one."""

    def __init__(self) -> None:
        self.most = 0

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        job._buffers = Buffers()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        self.most = max(self.most, tracemalloc.get_traced_memory()[1] - before)
        return future


@pytest.fixture
def measuring() -> Iterator[Measuring]:
    """An executor for tests of memory."""
    held = job._buffers
    tracemalloc.start()
    yield Measuring()
    tracemalloc.stop()
    job._buffers = held


ENDS = np.resize(np.float32([1, -1, -1]), (1024, 4096))
NAN = np.full((8192, 512), np.nan, np.float32)


@pytest.mark.parametrize(
    "layer",
    [
        None,
        "W4A16",
        "W4A16_ASYM",
        "W8A8",
        LayerScheme(bm.Affine(8, axis=None), format="int-quantized"),
        native(5, axis=1, symmetric=False, offset=True),
        native(4, group_size=16),
        native(8, group_size=1, symmetric=False, offset=True),
        native(4, group_size=128, scale_rule="signed_max"),
        native(2, symmetric=False, group_size=32),
        native(16),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "x",
    [ENDS.astype(ml_dtypes.bfloat16), ENDS.astype(np.float64).reshape(4, -1), ENDS.reshape(-1, 32)],
    ids=["bfloat16", "float64, wide", "float32, short rows"],
)
def test_pieces_take_no_more_than_their_cost(
    tmp_path: Path, measuring: Measuring, x: np.ndarray, layer: Any
) -> None:
    src = make(tmp_path / "src", {"m.weight": x, "small.weight": weight(8, 128)})
    rules = {"re:small": "W8A8"} if layer is None else {"Linear": layer}
    plan = bm.plan_checkpoint(src, rules, on_unsupported="fallback")
    costs = [pieces.cost(tensor, span) for tensor in plan.tensors for span in pieces.cut(tensor)]
    bm.quantize_checkpoint(src, tmp_path / "dst", plan, executor=measuring)
    assert measuring.most <= max(costs)
    assert max(costs) < 2.5 * measuring.most + 4 * MIB  # or memory is left unused


@pytest.mark.parametrize(
    "layer",
    [
        native(4, group_size=128, clip="mse"),
        native(3, symmetric=False, group_size=32, clip="mse"),
        native(2, group_size=16, clip="mse-exact"),
        native(4, clip="mse"),
        native(4, group_size=32, clip="mse", scales=bm.Scales("float16")),
        native(6, axis=1, clip="mse"),
    ],
    ids=str,
)
@pytest.mark.parametrize("weighed", [False, True])
def test_pieces_of_least_error_take_no_more_than_their_cost(
    tmp_path: Path, measuring: Measuring, layer: Any, weighed: bool
) -> None:
    src = make(tmp_path / "src", {"m.weight": ENDS.reshape(256, -1)})
    np.savez(tmp_path / "i.npz", **{"m.weight": np.arange(ENDS.size // 256, dtype=np.float64)})
    (tensor,) = bm.plan_checkpoint(src, layer).tensors
    most = max(pieces.cost(tensor, span, weighed=weighed) for span in pieces.cut(tensor))
    importance = tmp_path / "i.npz" if weighed else None
    bm.quantize_checkpoint(src, tmp_path / "dst", layer, importance=importance, executor=measuring)
    assert measuring.most <= most


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_kept_weights_that_are_not_finite_take_no_more(
    tmp_path: Path, measuring: Measuring, dtype: str
) -> None:
    src = make(tmp_path / "src", {"m.weight": NAN.astype(dtype), "small.weight": weight(8, 128)})
    plan = bm.plan_checkpoint(src, {"re:small": "W8A8"})
    report = bm.quantize_checkpoint(src, tmp_path / "dst", plan, executor=measuring)
    assert report.tensors[0].health.nonfinite == NAN.size
    assert measuring.most <= 2 * pieces.PIECE


# Too little, and what is no size


def test_too_little_memory_is_an_error_before_anything_is_written(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = bm.plan_checkpoint(src, "W4A16", scale_dtype="auto")
    costs = {tensor.name: pieces.cost(tensor, pieces.cut(tensor)[0]) for tensor in plan.tensors}
    name = max(costs, key=lambda name: costs[name])
    dst = tmp_path / "dst"
    message = (
        f"{src}: max_memory={costs[name] - 1} is too little: a piece of tensor {name!r} takes "
        f"{costs[name]} bytes"
    )
    with pytest.raises(CheckpointError) as error:
        bm.quantize_checkpoint(src, dst, plan, max_memory=costs[name] - 1)
    assert str(error.value) == message
    minmax = ("--clip", "minmax")
    assert run("quantize", src, dst, *minmax, "--max-memory", costs[name] - 1) == 1
    assert capsys.readouterr().err == (
        f"bitmill: {message.replace('max_memory=', '--max-memory ')}\n"
    )
    assert not dst.exists()
    bm.quantize_checkpoint(src, dst, plan, max_memory=costs[name])
    assert run("quantize", src, tmp_path / "cli", *minmax, "--max-memory", costs[name]) == 0
    assert made(dst) == made(tmp_path / "cli")


def test_row_that_memory_has_no_room_for_is_an_error(tmp_path: Path) -> None:
    src = write_checkpoint(tmp_path / "src", [Weights("m.weight", (2, 32 * MIB), kind="holes")])
    with pytest.raises(CheckpointError, match=r"a piece of tensor 'm.weight' takes"):
        bm.quantize_checkpoint(src, tmp_path / "dst", "W8A8", max_memory="64MiB")
    assert not (tmp_path / "dst").exists()


WRONG = [
    (True, TypeError, "is a bool; {} takes a size such as '1GiB'"),
    (1e9, TypeError, "is a float; {} takes a size such as '1GiB'"),
    (b"1GB", TypeError, "is a bytes; {} takes a size such as '1GiB'"),
    ([1], TypeError, "is a list; {} takes a size such as '1GiB'"),
    (0, ValueError, "must be at least 1 byte"),
    (-5, ValueError, "must be at least 1 byte"),
    ("0", ValueError, "must be at least 1 byte"),
    ("0.4 B", ValueError, "must be at least 1 byte"),
    (1 << 70, ValueError, "is more than 2^63 - 1 bytes, which no file or memory has"),
    ("9" * 5000, ValueError, "is more than 2^63 - 1 bytes, which no file or memory has"),
    *(
        (text, ValueError, "is no size; wanted bytes as a number, or such as '256MiB', '5GB'")
        for text in ("", " ", "GiB", "1 G iB", "1GiBB", "-1GiB", "+1", "1e9", "1,5GB", "nan", "1_0")
    ),
]


@pytest.mark.parametrize("argument", ["max_memory", "max_shard_size"])
@pytest.mark.parametrize(("value", "kind", "message"), WRONG)
def test_what_is_no_size_is_an_error(
    src: Path, tmp_path: Path, argument: str, value: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as error:
        bm.quantize_checkpoint(src, tmp_path / "dst", "W8A8", **{argument: value})
    assert type(error.value) is kind
    assert str(error.value).startswith(argument)
    assert str(error.value).endswith(message.format(argument))
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize(
    ("value", "nbytes"),
    [
        (1, 1),
        (np.int64(7), 7),
        ("1", 1),
        ("12B", 12),
        (" 1.5 kB ", 1500),
        ("2KB", 2000),
        ("2KiB", 2048),
        ("2kib", 2048),
        ("1mb", 10**6),
        ("1MiB", 1 << 20),
        ("5GB", 5 * 10**9),
        ("0.1GB", 10**8),
        ("1GiB", 1 << 30),
        ("3TB", 3 * 10**12),
        ("1TiB", 1 << 40),
        ("0.0009765625 KiB", 1),
    ],
)
def test_sizes_are_read_as_people_write_them(value: Any, nbytes: int) -> None:
    assert parse_size(value, "it") == nbytes


@pytest.mark.parametrize("option", ["--max-memory", "--max-shard-size"])
@pytest.mark.parametrize("text", ["", "0", "5 parsecs", "-1", "1e9", "9" * 5000])
def test_option_that_is_no_size_is_wrong_usage(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, text: str
) -> None:
    assert run("quantize", src, tmp_path / "dst", f"{option}={text}") == 2
    assert f"bitmill quantize: error: argument {option}: it" in capsys.readouterr().err
    assert not (tmp_path / "dst").exists()


# Files of weights


@pytest.mark.parametrize("limit", ["1", "40kB", "48.8KiB", "70000", "110kB", "5GB"])
def test_files_of_weights_are_no_larger_than_asked(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: str
) -> None:
    dst, option = tmp_path / "dst", ("--clip", "minmax", "--max-shard-size", limit)
    dry = parsed(printed(capsys, "quantize", src, "--dry-run", "--json", *option))
    lines = printed(capsys, "quantize", src, "--dry-run", *option)
    printed(capsys, "quantize", src, dst, *option)
    files = {path.name: path.stat().st_size for path in dst.glob("*.safetensors")}
    wanted = bm.plan_checkpoint(src, "W4A16", scale_dtype="auto", max_shard_size=limit).files
    assert dry["files"] == wanted
    assert {name: wanted[name] for name in wanted if name.endswith(".safetensors")} == files
    for name, nbytes in files.items():
        assert f"file: {name}, {nbytes:,} bytes\n" in lines
    held = {name: list(read_header(dst / name).tensors) for name in files}
    for name, nbytes in files.items():
        sources = {tensor.rpartition(".weight")[0] for tensor in held[name]}
        assert nbytes <= parse_size(limit, "limit") or len(sources) == 1
    names = [tensor for tensors in held.values() for tensor in tensors]
    assert len(names) == len(set(names))
    if len(files) > 1:
        index = json.loads((dst / INDEX).read_text())
        assert index["weight_map"] == {t: name for name, tensors in held.items() for t in tensors}
    else:
        assert not (dst / INDEX).exists()
    plan = bm.plan_checkpoint(src, "W4A16", scale_dtype="auto")
    bm.quantize_checkpoint(src, tmp_path / "api", plan, max_shard_size=limit)
    assert made(dst) == made(tmp_path / "api")


def test_dry_run_of_a_plan_shows_the_files_that_are_asked_for(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, option = tmp_path / "plan.json", ("--max-shard-size", "70kB")
    printed(capsys, "quantize", src, "--dry-run", "--plan", plan)
    dry = parsed(printed(capsys, "quantize", src, "--dry-run", "--json", "--plan", plan, *option))
    printed(capsys, "quantize", src, tmp_path / "dst", "--plan", plan, *option)
    files = {path.name: path.stat().st_size for path in (tmp_path / "dst").glob("*.safetensors")}
    assert len(files) > 1
    assert {name: n for name, n in dry["files"].items() if name in files} == files


def test_memory_changes_no_byte(src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1 << 12)
    for memory in ("5MiB", "20MiB", "1GiB"):
        bm.quantize_checkpoint(src, tmp_path / memory, "W4A16", max_memory=memory, num_threads=3)
    assert contents(tmp_path / "5MiB") == contents(tmp_path / "20MiB")
    assert contents(tmp_path / "5MiB") == contents(tmp_path / "1GiB")
