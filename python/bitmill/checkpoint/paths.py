# SPDX-License-Identifier: MIT
"""Paths: what may be given as one, what may be opened, and whose failure an OSError tells of."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bitmill.checkpoint.errors import CheckpointError


def given_path(path: str | os.PathLike[str], name: str) -> Path:
    """The argument called `name` as a path. An empty one is an error: it would mean `.`."""
    if not os.fspath(path):
        raise ValueError(f"{name} is empty; wanted a path ('.' for the current folder)")
    return Path(path)


class Stamp(NamedTuple):
    """What tells a file from others, and from what it was."""

    nbytes: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        """The stamp of the file that was looked at."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)

    def has_changed(self, found: os.stat_result) -> bool:
        """Whether the file was written to since. Inodes may change at any time on some systems."""
        return (found.st_size, found.st_mtime_ns) != (self.nbytes, self.mtime_ns)


def regular_file(path: Path) -> Path:
    """`path`, if a regular file is there, perhaps behind links: opening a pipe would wait."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise CheckpointError(f"{path}: is {kind}; wanted a regular file")
    return path


@contextmanager
def failing_at(path: Path) -> Iterator[None]:
    """An OSError from inside names `path`, also where the system call knows no name."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise
