# SPDX-License-Identifier: MIT
"""A process that has bitmill loaded and forks one run of its command line after the other.

Started as a script by `crashes.py`, which kills the runs and lets their system calls fail. A run
waits for a byte on stdin, so that strace can be attached before it does anything. Forked, it
imports nothing: what it does from there on is its work, and the same calls each time.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from bitmill import cli
from bitmill.checkpoint import job, pieces, run
from bitmill.cli import quantize
from checkpoints import make, weight

_ANY_TRACER = 0x59616D61  # PR_SET_PTRACER


class Inline(Executor):
    """Does what it is given at once, in the thread that gives it."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """A future that is done already."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **named))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def inline(_: Any) -> Iterator[Executor]:
    """In place of the executor of the command line."""
    yield Inline()


class Counted:
    """The number of pieces that were worked on; it outlives the process."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 8)
        self._guard = threading.Lock()
        self._work = job._work
        job._work = self

    def __call__(self, *args: Any) -> Any:
        with self._guard:
            self.memory[:] = struct.pack("q", self.value + 1)
        return self._work(*args)

    @property
    def value(self) -> int:
        """How many since the last `clear`."""
        return int(struct.unpack("q", self.memory[:])[0])

    def clear(self) -> None:
        """Start from 0."""
        self.memory[:] = bytes(8)


def child(asked: dict[str, Any], ready: int) -> None:
    """One run; it ends the process. A byte into `ready` says that it waits for its start."""
    code = 99
    try:
        ctypes.CDLL(None).prctl(_ANY_TRACER, ctypes.c_ulong(-1 & (1 << 64) - 1), 0, 0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for path, handle in ((os.devnull, 1), (asked["errors"], 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), handle)
        if asked["umask"] is not None:
            os.umask(asked["umask"])
        if asked["user"] is not None:  # root may write anywhere
            os.setgroups([])
            os.setgid(asked["user"])
            os.setuid(asked["user"])
        if asked["inline"]:
            quantize.dask_executor = inline
        if asked["fill"] is not None:
            _fill_at(*asked["fill"])
        os.write(ready, b".")
        os.close(ready)
        _wait()
        code = cli.main(asked["argv"])
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _wait() -> None:
    """For the byte on stdin; also if it is this call that is to fail."""
    while True:
        with suppress(OSError):
            os.read(0, 1)
            return


def _fill_at(number: int, path: str) -> None:
    """Fill the disk that `path` is on, before the piece of this number is worked on."""
    done, work = 0, job._work

    def counting(*args: Any) -> Any:
        nonlocal done
        done += 1
        if done == number:
            _fill(path)
        return work(*args)

    job._work = counting


def _fill(path: str) -> None:
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:  # no room for this much
                continue


def main() -> None:
    """Fork for each line of JSON on stdin, and say what became of it."""
    piece = int(sys.argv[1])
    pieces.PIECE = run.PIECE = piece
    counted = Counted()
    _warm_up()
    requests = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115
    print("ready", flush=True)
    for line in iter(requests.readline, b""):
        if not line.strip():  # meant for a run that was killed before it had read it
            continue
        asked = json.loads(line)
        counted.clear()
        waits, ready = os.pipe()
        pid = os.fork()
        if pid == 0:
            child(asked, ready)
        os.close(ready)
        os.read(waits, 1)
        os.close(waits)
        print(pid, flush=True)
        if asked["kill_after"] is not None:
            time.sleep(asked["kill_after"])
            os.kill(pid, signal.SIGKILL)  # it was not waited for: the number is still its own
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), counted.value, flush=True)


def _warm_up() -> None:
    """Import what a run imports while it goes."""
    real = quantize.dask_executor
    quantize.dask_executor = inline
    with tempfile.TemporaryDirectory() as folder:
        src = make(Path(folder, "src"), {"a.weight": weight(2, 128)})
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            code = cli.main(["quantize", str(src), str(Path(folder, "dst"))])
        assert code == 0
    quantize.dask_executor = real


if __name__ == "__main__":
    main()
