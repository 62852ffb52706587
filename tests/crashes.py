# SPDX-License-Identifier: MIT
"""Runs that are killed, or whose system calls fail, and what must be true of their targets.

`Runs` starts them, `Case` is one conversion with what it has to give, `strace_or_skip` says whether
system calls can be counted here. strace counts the calls of each thread, so runs that it follows
do their pieces in one thread, as they come.
"""

from __future__ import annotations

import functools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from bitmill.checkpoint.journal import Journal
from bitmill.checkpoint.read import CONFIG, INDEX
from bitmill.checkpoint.target import WORK
from checkpoints import contents

CALLS = "%file,%desc"
"""What strace follows: all that takes a path or a descriptor."""
_HARMLESS = frozenset(("mmap", "munmap", "ioctl", "newfstatat", "fstat", "stat", "statfs", "statx"))
"""Among them, calls that ask or take memory: between two of them, nothing is different."""
LAST = frozenset((CONFIG, INDEX))
_DRIVER = Path(__file__).with_name("crash_driver.py")

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int
    """Its exit code; -9 if it was killed."""
    worked: int
    """Pieces that it read, quantized and wrote; those that it found done do not count."""
    errors: str
    """What it said on stderr."""
    log: tuple[str, ...]
    """What strace wrote, a line for each call."""

    @property
    def calls(self) -> Counter[str]:
        """How often it made each call."""
        names = (re.match(r"(\w+)\(", line) for line in self.log)
        return Counter(name[1] for name in names if name and name[1] not in _HARMLESS)

    @property
    def was_hit(self) -> bool:
        """Whether a call failed as it was told to."""
        return any("(INJECTED)" in line for line in self.log)


class Runs:
    """Runs of the command line with small pieces, forked by a process that has all loaded."""

    def __init__(self, folder: Path, *, piece: int = 1 << 12, env: Mapping[str, str] = {}) -> None:
        """`folder` is for the logs."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, str(_DRIVER), str(piece)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # a pipe, so that nothing asks where in a file it is
            bufsize=0,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", **env},
        )
        assert self._line() == "ready"

    def __enter__(self) -> Runs:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def run(
        self,
        argv: Iterable[object],
        *,
        kill_after: float | None = None,
        inject: str | None = None,
        trace: str | None = None,
        inline: bool = True,
        fill: tuple[int, Path] | None = None,
        umask: int | None = None,
        user: int | None = None,
    ) -> Ended:
        """`bitmill ARGV`: killed after so many seconds; or with an `inject` of strace, and a log.

        `trace` is what strace follows, `inline` whether the pieces are done in one thread, `fill`
        the number of a piece before which the disk is filled up, and by which file.
        """
        asked = {
            "argv": [str(arg) for arg in argv],
            "errors": str(self.folder / "errors"),
            "kill_after": kill_after,
            "inline": inline,
            "fill": fill and (fill[0], str(fill[1])),
            "umask": umask,
            "user": user,
        }
        traced = inject is not None or trace is not None
        self._send(json.dumps(asked).encode() + b"\n")
        pid = int(self._line())
        strace = self._attach(pid, inject, trace or CALLS) if traced else None
        self._send(b"\n")
        code, worked = map(int, self._line().split())
        log = ""
        if strace is not None:
            strace.communicate(timeout=60)
            log = (self.folder / "log").read_text(errors="replace")
        errors = (self.folder / "errors").read_text(errors="replace")
        return Ended(code, worked, errors, tuple(log.splitlines()))

    def _attach(self, pid: int, inject: str | None, trace: str) -> subprocess.Popen[str]:
        """strace, when it has the run in its hands."""
        options = ["-y", "-s", "40", "-o", str(self.folder / "log"), "-e", f"trace={trace}"]
        if inject is not None:
            options += ["-e", f"inject={inject}"]
        strace = subprocess.Popen(
            ["strace", "-p", str(pid), *options], stderr=subprocess.PIPE, text=True
        )
        assert strace.stderr is not None
        said = strace.stderr.readline()
        if "attached" not in said:
            os.kill(pid, 9)
            raise RuntimeError(said)
        return strace

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()


@functools.cache
def _strace_fails() -> str:
    """Why strace may not be attached to a process here; nothing if it may."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        command = ["strace", "-e", "trace=none", "-p", str(sleeper.pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            said = strace.stderr.readline()
            strace.terminate()
        sleeper.kill()
    return "" if "attached" in said else said or "strace does not run"


def strace_or_skip() -> None:
    """Skip the test if system calls cannot be counted, or fail if nothing may be skipped.

    Where the machine forbids that processes are traced, as containers may, they are skipped always.
    """
    if shutil.which("strace") is None:
        _skip("strace is not installed")
    elif why := _strace_fails():
        pytest.skip(why)


def compiler_or_skip() -> str:
    """The C compiler; without one the test is skipped, or fails if nothing may be."""
    found = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    _skip("" if found else "there is no C compiler")
    return found or ""


def _skip(why: str) -> None:
    if why and os.environ.get("BITMILL_REQUIRE_ALL") == "1":
        pytest.fail(why)
    if why:
        pytest.skip(why)


@dataclass
class Case:
    """A conversion, and what must be true of its target whenever it is broken off."""

    src: Path
    dst: Path
    options: tuple[object, ...]
    old: Path | None = None
    """What is in the target before."""
    begun: Path | None = None
    """What is in it, if a run was begun."""
    wanted: Files = field(default_factory=dict)
    """What an unbroken run leaves."""
    pieces: int = 0
    """How many an unbroken run works on."""
    seconds: float = 0.0
    """How long it takes."""
    others: tuple[Files, ...] = ()
    """What runs with other options would leave: they may have been begun in the same target."""
    before: dict[str, bytes] = field(default_factory=dict)
    made_anew: bool = False
    """A run was to overwrite what one before it had finished: now that is the older one."""
    _source: Any = None

    @property
    def argv(self) -> tuple[object, ...]:
        """The command."""
        return ("quantize", self.src, self.dst, *self.options)

    def prepare(self, runs: Runs) -> Case:
        """Find out what an unbroken run gives."""
        self._source = _snapshot(self.src)
        self.reset()
        self.before = contents(self.dst) if self.old else {}
        ended = runs.run(self.argv)
        assert ended.code == 0, ended.errors
        self.wanted, self.pieces = contents(self.dst), ended.worked
        self.reset()
        start = time.perf_counter()
        assert runs.run(self.argv, inline=False).code == 0
        self.seconds = time.perf_counter() - start
        assert contents(self.dst) == self.wanted
        self.reset()
        return self

    def reset(self) -> None:
        """The target as it was before any run."""
        self.made_anew = False
        shutil.rmtree(self.dst, ignore_errors=True)
        with suppress(OSError):  # the folder that it was made in goes too, if nothing else is there
            self.dst.parent.rmdir()
        if (start := self.begun or self.old) is not None:
            shutil.copytree(start, self.dst)

    def begun_by(self, runs: Runs, folder: Path, inject: str) -> Case:
        """The same, but with a target in which a run was broken off; a copy of it is `folder`."""
        self.reset()
        self.check(runs.run(self.argv, inject=inject, trace=inject.partition(":")[0]))
        shutil.copytree(self.dst, folder)
        return replace(self, begun=folder)

    def journaled(self) -> int:
        """How many pieces an unfinished target says are done."""
        found = Journal.read(self.dst / WORK / "journal.jsonl").pieces
        return sum(map(len, found.values()))

    def check(self, ended: Ended) -> None:
        """Whatever has happened: the source is as it was, and every name stands for whole data.

        A run that says it is done has left what an unbroken one leaves.
        """
        assert _snapshot(self.src) == self._source, "the source was touched"
        found = contents(self.dst)
        named = {name: data for name, data in found.items() if not name.startswith(f"{WORK}/")}
        ends = (self.wanted, *self.others)
        for name, data in named.items():
            known = [files.get(name) for files in (*ends, self.before)]
            assert data in known, f"{name} is neither old nor new"
        kept = [name for name, data in self.before.items() if self.wanted.get(name) == data]
        assert named.keys() >= set(kept), "a file that is nobody's business is gone"
        journal = self.dst / WORK / "journal.jsonl"
        if journal.exists() and Journal.read(journal).commit is None:
            assert named in (self.before, *ends), "names were given or taken before the commit"
        new = named.get(CONFIG)
        replaces_new = self.made_anew or (self.old is not None and self.others)
        if not replaces_new and new not in (None, self.before.get(CONFIG)):
            assert any(_has_all_before(named, files) for files in ends), "the config came too early"
        if ended.code == 0:
            assert named in ends, "it says that it is done"
        assert ended.code in (0, 1, -9), ended
        assert "Traceback" not in ended.errors, ended.errors
        if ended.code == 1:
            assert re.fullmatch(r"bitmill: [^\n]*", ended.errors.splitlines()[-1]), ended.errors

    def step(self, runs: Runs, *, checks_work: bool = True, **how: Any) -> Ended:
        """One more run, with what must be true after it, and of what it did."""
        # With --overwrite, a target that was finished is made anew.
        again = "--overwrite" in self.options and self.is_named()
        self.made_anew |= again
        done = 0 if again else self.journaled()
        ended = runs.run(self.argv, **how)
        self.check(ended)
        if checks_work:
            assert ended.worked <= self.pieces - done, "pieces were done twice"
            assert self.is_named() or self.journaled() >= done, "what was done is forgotten"
        return ended

    def finish(self, runs: Runs, *, checks_work: bool = True) -> None:
        """One more run, to the end: all is there, and nothing else."""
        self.check_end(self.step(runs, checks_work=checks_work))

    def check_end(self, ended: Ended) -> None:
        """After a run that nothing broke off."""
        self.check(ended)
        assert ended.code == 0, ended.errors
        assert contents(self.dst) == self.wanted
        assert not (self.dst / WORK).exists()

    def chain(self, runs: Runs, rng: random.Random, most: int) -> int:
        """Runs that are killed at random times, until one is done before; how many were killed.

        After `most` kills, one is left alone.
        """
        self.reset()
        kills = 0
        while True:
            after = rng.uniform(0, self.seconds) if kills < most else None
            ended = self.step(runs, inline=False, kill_after=after)
            if ended.code != -9:
                break
            kills += 1
        self.check_end(ended)
        return kills

    def is_named(self) -> bool:
        """Whether all files have their names."""
        found = contents(self.dst)
        return all(found.get(name) == data for name, data in self.wanted.items())


def _has_all_before(named: Files, files: Files) -> bool:
    return all(named.get(name) == data for name, data in files.items() if name not in LAST)


def _snapshot(folder: Path) -> dict[str, Any]:
    """Content and times of every file."""
    times = {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}
    return {**times, **contents(folder)}


def sample(count: int, calls: Sequence[Any]) -> list[Any]:
    """At most so many of the calls, evenly spread, the first and the last among them."""
    if len(calls) <= count:
        return list(calls)
    return [calls[i * (len(calls) - 1) // (count - 1)] for i in range(count)]
