# SPDX-License-Identifier: MIT
"""Runs of `bitmill quantize` that are killed, or whose system calls fail: nothing may be lost.

    python tests/long/kill_runs.py [--kills 300] [--seed 0] [--only PART...]     25 minutes; strace

- Chains of runs that are killed (SIGKILL) at random times, until one is done: several schemes,
  sharded sources and targets, an older checkpoint in the target, NaN, options that change midway.
- The same with the command as it is, on larger tensors.
- A kill before each system call of a run, and of runs that continue one which was killed while it
  worked, while it renamed, and while it tidied up.
- Each system call fails once, as on a full disk (ENOSPC) and on a broken one (EIO).
- Disks that are too small, and disks that others fill up (as root: a tmpfs is mounted).

After each, the source is as it was, every name in the target stands for a whole file, and the same
command gives what an unbroken run gives, to the byte, without doing again what was done. A run that
says it is done has left just that. The first failure ends this, and its files are kept.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import bitmill as bm
from bitmill.checkpoint import LayerScheme

sys.path.insert(0, str(Path(__file__).parent.parent))
from checkpoints import contents, llama, make, weight
from crashes import CALLS, Case, Runs

PARTS = ("random", "calls", "failures", "disks")
SHARDS = ("--max-shard-size", "100KB")
ONE_BY_ONE = (*SHARDS, "--max-memory", "9MB")  # the journal is written after each piece
FAILING = (
    "over an old one",
    "killed at the third name",
    "killed as it removes the old",
    "killed as it tidies up",
)
"""Of the `beginnings`, those in which calls fail: they have all kinds."""


class Cases:
    """The conversions, in folders of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.whole = self._source("whole", shards=1)
        self.sharded = self._source("sharded", shards=3)
        self.old = make(folder / "old", llama(), shards=5)
        (self.old / "mine.txt").write_text("mine")
        tensors = llama()
        tensors["model.layers.0.mlp.down_proj.weight"][-1, -1] = np.nan
        self.nan = self._source("nan", tensors=tensors)

    def _source(self, name: str, *, shards: int = 1, tensors: dict | None = None) -> Path:
        src = make(self.folder / name, tensors or llama(), shards=shards)
        (src / "sub").mkdir()
        (src / "sub" / "notes.txt").write_bytes(bytes(range(256)) * 50)
        (src / "tokenizer.json").write_text("{}")
        return src

    def case(self, src: Path, *options: object, old: bool = False) -> Case:
        """One of them."""
        if old:
            options = (*options, "--overwrite")
        return Case(src, self.folder / "new" / "dst", options, old=self.old if old else None)

    def native(self, axis: int | None) -> tuple[object, ...]:
        """The options for a scheme whose scales are shared by all pieces of a tensor."""
        path = self.folder / f"axis-{axis}.json"
        scheme = bm.Affine(5, axis=axis, symmetric=False, offset=True)
        rules = {"Linear": LayerScheme(scheme, format="native")}
        bm.plan_checkpoint(self.sharded, rules).save(path)
        return ("--plan", path, *SHARDS)

    def all(self) -> list[Case]:
        """For chains."""
        nan = (*SHARDS, "--on-nonfinite", "keep")
        return [
            self.case(self.sharded, *SHARDS),
            self.case(self.whole, "--scheme", "W4A16_ASYM"),
            self.case(self.sharded, "--scheme", "W8A8", *SHARDS, old=True),
            self.case(self.sharded, *self.native(axis=1)),
            self.case(self.sharded, *self.native(axis=None), old=True),
            self.case(self.nan, *nan),
            self.case(self.nan, *nan, "--scheme", "W8A16", old=True),
            *self.learned(),
        ]

    def learned(self) -> list[Case]:
        """Tables, floats and kept values; what is learned of, or measured on, whole weights."""
        measured = ("--budget", "6bpw", "--candidates", "W2,W4,W8,KMEANS4")
        return [
            self.case(self.sharded, "--scheme", "KMEANS4", *SHARDS),
            self.case(self.sharded, "--scheme", "NVFP4", *SHARDS, old=True),
            self.case(self.whole, "--scheme", "NF4"),
            self.case(self.sharded, "--outliers", "0.01", "--scheme", "LEARNED4", *SHARDS),
            self.case(self.sharded, "--scheme", "MXFP4", *SHARDS, old=True),
            self.case(self.sharded, *measured, *SHARDS),
        ]

    def changing(self, old: bool) -> list[Case]:
        """Conversions of the same source into the same target."""
        options = [
            SHARDS,
            ("--scheme", "W8A16", *SHARDS),
            ("--max-shard-size", "60KB", "--ignore", "re:.*q_proj", "--split-fused"),
            (),
        ]
        return [self.case(self.sharded, *given, old=old) for given in options]


@dataclass
class Counts:
    """What was done, for the last lines."""

    kills: int = 0
    chains: int = 0
    killed_at: int = 0
    failed: int = 0
    failed_but_done: int = 0
    disks: int = 0
    start: float = field(default_factory=time.perf_counter)

    def say(self, what: str) -> None:
        """A line with the time that it is."""
        print(f"{time.perf_counter() - self.start:6.0f} s  {what}", flush=True)


def random_kills(cases: Cases, runs: Runs, rng: random.Random, kills: int, counts: Counts) -> None:
    """Chains of each conversion, and of conversions that take turns."""
    alone = [case.prepare(runs) for case in cases.all()]
    changing = [[case.prepare(runs) for case in cases.changing(old)] for old in (False, True)]
    for group in changing:
        for case in group:
            case.others = tuple(other.wanted for other in group if other is not case)
    pieces = [case.pieces for case in alone]
    counts.say(f"{min(pieces)} to {max(pieces)} pieces in {alone[0].seconds:.2f} s")
    while counts.kills < kills:
        for case in alone:
            counts.kills += case.chain(runs, rng, most=20)
        for group in changing:
            counts.kills += changing_chain(group, runs, rng)
        counts.chains += len(alone) + len(changing)
    counts.say(f"{counts.kills} kills at random times in {counts.chains} chains")


def changing_chain(group: list[Case], runs: Runs, rng: random.Random) -> int:
    """Kills, with other options after each; how many."""
    group[0].reset()
    for kills in itertools.count():
        case = rng.choice(group)
        after = rng.uniform(0, case.seconds)
        ended = case.step(runs, checks_work=False, inline=False, kill_after=after)
        if ended.code == 0:
            case.check_end(ended)
        elif ended.code == 1:  # one was killed when all but its tidying up was done
            assert "is finished, but differs" in ended.errors, ended.errors
            assert contents(case.dst) in case.others
        if ended.code != -9:
            return kills
    raise AssertionError


def command_kills(folder: Path, rng: random.Random, kills: int, counts: Counts) -> None:
    """Kills of the command as it is, with pieces of the usual size."""
    tensors = {f"layers.{i}.weight": weight(2048, 4096, seed=i) for i in range(12)}
    src = make(folder / "large", tensors, shards=3)
    before = contents(src)

    def command(dst: Path) -> list[str]:
        options = ["--max-shard-size", "20MB"]
        return [sys.executable, "-m", "bitmill", "quantize", str(src), str(dst), *options]

    def call(dst: Path, timeout: float | None) -> bool:
        """Whether it was done in time."""
        try:
            subprocess.run(command(dst), capture_output=True, timeout=timeout, check=True)
        except subprocess.TimeoutExpired:  # it was sent SIGKILL
            return False
        return True

    start = time.perf_counter()
    call(folder / "wanted", None)
    seconds = time.perf_counter() - start
    wanted = contents(folder / "wanted")
    done = 0
    while done < kills:
        while not call(folder / "dst", rng.uniform(0.3 * seconds, seconds)):
            done += 1
            for name, data in contents(folder / "dst").items():
                assert name.startswith(".bitmill/") or data == wanted[name], name
        assert contents(folder / "dst") == wanted
        assert contents(src) == before
        shutil.rmtree(folder / "dst")
    counts.kills += done
    counts.say(f"{done} kills of the command on {len(tensors)} tensors of 16 MiB ({seconds:.1f} s)")


def beginnings(cases: Cases, runs: Runs) -> dict[str, Case]:
    """Conversions whose every call is killed, or fails: from the start, and from where others were
    killed."""
    fresh = cases.case(cases.sharded, *ONE_BY_ONE).prepare(runs)
    old = cases.case(cases.sharded, *ONE_BY_ONE, old=True).prepare(runs)
    keep = cases.case(cases.nan, *ONE_BY_ONE, "--on-nonfinite", "keep").prepare(runs)
    codebook = ("--scheme", "KMEANS4", "--outliers", "0.01", *SHARDS, "--max-memory", "70MB")
    learned = cases.case(cases.sharded, *codebook).prepare(runs)
    found = {"new": fresh, "over an old one": old, "with NaN": keep, "learned": learned}
    for name, case, call, n in (
        ("killed at work", fresh, "write", 60),
        ("killed at the third name", fresh, "rename", 3),
        ("killed at the last name", old, "rename", 8),
        ("killed as it removes the old", old, "unlink", 3),
        ("killed as it tidies up", fresh, "unlink", 1),
    ):
        kill = f"{call}:signal=SIGKILL:when={n}"
        found[name] = case.begun_by(runs, cases.folder / f"begun-{len(found)}", kill)
    return found


def kill_at_every_call(name: str, case: Case, runs: Runs, counts: Counts) -> None:
    """Before each call of a run in turn, until there is none left."""
    total = 0
    case.reset()
    for call in runs.run(case.argv, trace=CALLS).calls:
        for n in itertools.count(1):
            with told(f"kill at {call} {n}: {name}"):
                case.reset()
                ended = case.step(runs, inject=f"{call}:signal=SIGKILL:when={n}", trace=call)
                if ended.code != -9:
                    case.check_end(ended)
                    break
                case.finish(runs)
            total += 1
    counts.killed_at += total
    counts.say(f"{total:4} kills, one at each call: {name}")


def fail_at_every_call(name: str, case: Case, runs: Runs, counts: Counts) -> None:
    """Each call of a run in turn, with each error."""
    total = done = 0
    case.reset()
    calls = runs.run(case.argv, trace=CALLS).calls
    for call, error in itertools.product(calls, ("ENOSPC", "EIO")):
        for n in itertools.count(1):
            with told(f"{error} from {call} {n}: {name}"):
                case.reset()
                ended = case.step(
                    runs, inject=f"{call}:error={error}:when={n}", trace=call, checks_work=False
                )
                if not ended.was_hit:
                    case.check_end(ended)
                    break
                done += ended.code == 0
                case.finish(runs, checks_work=call != "fsync")
            total += 1
    counts.failed += total
    counts.failed_but_done += done
    counts.say(f"{total:4} calls that failed, {done} of them with all done and right: {name}")


def small_disks(cases: Cases, runs: Runs, counts: Counts) -> None:
    """Targets on disks without room, or that others fill up; then there is room."""
    disk = cases.folder / "disk"
    for old in (False, True):
        case = cases.case(cases.sharded, *ONE_BY_ONE, old=old)
        case.dst = disk / "dst"
        with mounted(disk, 1 << 26):
            case.prepare(runs)
        failed = 0
        for room in range(1 << 12, 1 << 20, 1 << 12):
            failed += on_disk(case, runs, disk, room=room)
        for piece in range(1, case.pieces + 1):
            failed += on_disk(case, runs, disk, piece=piece)
        counts.disks += failed
        counts.say(f"{failed:4} runs out of room{' beside an old checkpoint' * old}")


def on_disk(case: Case, runs: Runs, disk: Path, *, room: int = 1 << 25, piece: int = 0) -> bool:
    """One run on a disk with this room, or one that is filled before a piece; whether it failed."""
    with mounted(disk, 1 << 26), told(f"disk with {room} bytes free, filled at piece {piece}"):
        case.reset()
        resize(disk, shutil.disk_usage(disk).used + room)
        fill = (piece, disk / "filler") if piece else None
        ended = case.step(runs, fill=fill)
        if ended.code:
            assert "No space left on device" in ended.errors
        resize(disk, 1 << 26)
        (disk / "filler").unlink(missing_ok=True)
        case.finish(runs)
        return ended.code != 0


def resize(disk: Path, size: int) -> None:
    """Give a disk in memory another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[None]:
    """A disk in memory."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def told(what: str) -> Iterator[None]:
    """A failure says where it was."""
    try:
        yield
    except BaseException:
        print(f"FAILED: {what}", flush=True)
        raise


def main() -> None:
    """All of it, or some."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=300, help="kills at random times, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    args = parser.parse_args()
    rng, counts = random.Random(args.seed), Counts()
    folder = Path(tempfile.mkdtemp(prefix="kill-runs-"))
    print(f"in {folder}", flush=True)
    cases = Cases(folder)
    if "random" in args.only:
        with Runs(folder / "log") as runs:
            random_kills(cases, runs, rng, args.kills, counts)
        command_kills(folder, rng, max(10, args.kills // 10), counts)
    with Runs(folder / "log", piece=1 << 15) as runs:
        found = beginnings(cases, runs)
        for name in found if "calls" in args.only else ():
            kill_at_every_call(name, found[name], runs, counts)
        for name in FAILING if "failures" in args.only else ():
            fail_at_every_call(name, found[name], runs, counts)
        if "disks" in args.only and os.geteuid() == 0:
            small_disks(cases, runs, counts)
    shutil.rmtree(folder)
    print(
        f"{counts.kills} kills at random times, {counts.killed_at} before a call, {counts.failed} "
        f"calls that failed, {counts.disks} disks without room: no input lost, no wrong output"
    )


if __name__ == "__main__":
    main()
