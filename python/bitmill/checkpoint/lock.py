# SPDX-License-Identifier: MIT
"""One writer at a time: a lock that ends with its process, however that ends."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.paths import failing_at

_held: set[Path] = set()
_guard = threading.Lock()  # over `_held`


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, in a folder that is there; it is removed at the end.

    Raises CheckpointError that says which process holds it, on which machine. Other machines are
    kept out too, as far as the file system of both tells them of locks.
    """
    path = Path(os.path.realpath(path))
    with _guard:
        if path in _held:
            raise _in_use(path, f"process {os.getpid()} (this one)")
        _held.add(path)
    handle = None
    try:
        handle = _acquire(path)
        yield
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)  # while it is held: nobody else can have it
            os.close(handle)
        with _guard:
            _held.discard(path)


def _acquire(path: Path) -> int:
    """The open file, locked. A record lock: children that are forked meanwhile do not share it."""
    while True:
        try:
            with failing_at(path):
                handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # whoever held it has just removed the folder too
            path.parent.mkdir(exist_ok=True)
            continue
        try:
            if not _lock(handle):
                raise _in_use(path, os.pread(handle, 1000, 0).decode(errors="replace").strip())
            if _is_at(handle, path):
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its holder has removed it since we opened it


def _lock(handle: int) -> bool:
    """Whether the file is ours now."""
    if os.name != "posix":  # there is no such lock: the user must see to it
        return True
    import fcntl

    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _in_use(path: Path, holder: str) -> CheckpointError:
    target = path.parent.parent
    return CheckpointError(
        f"{target}: {holder or 'another process'} is writing to it; wait until it has finished, or "
        "name another folder"
    )
