# SPDX-License-Identifier: MIT
"""The journal of an unfinished target: which pieces of which tensors lie in which file, done.

It is a file of lines, a checksum and JSON, that only grows. Nothing depends on when it reaches the
disk: a piece counts as done if it has the digest that its line names. From the first line on that
is torn or damaged, it is cut off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from sys import intern
from typing import Any
from zlib import crc32

from bitmill.checkpoint.paths import failing_at
from bitmill.metrics import ErrorTotal


@dataclass(frozen=True, slots=True)
class Record:
    """A piece that was finished, and what was known of its tensor then, it and all before it."""

    partial: str
    """The temporary file that it lies in."""
    digest: str
    source_digest: str
    total: ErrorTotal
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Commit:
    """A target that was about to get its names."""

    names: dict[str, str]
    """Temporary file -> name in the target folder."""
    obsolete: tuple[str, ...]
    """What is to be removed then."""
    replaced: tuple[str, ...]
    """What was there before."""


@dataclass(slots=True)
class Journal:
    """What was read, and where new lines go. Tensors are called by their keys (`run.key`)."""

    path: Path
    pieces: dict[str, dict[int, Record]] = field(default_factory=dict)
    """Key of a tensor -> number of a piece -> its last record."""
    refused: set[str] = field(default_factory=set)
    """Keys of tensors that hold values that cannot be quantized."""
    commit: Commit | None = None
    _end: int = 0
    _handle: int | None = None

    @classmethod
    def read(cls, path: Path) -> Journal:
        """The journal in a file, which is not changed; an empty one where there is none."""
        journal = cls(path)
        with failing_at(path), suppress(FileNotFoundError):
            journal._take(path.read_bytes())
        return journal

    def __enter__(self) -> Journal:
        """Open it for new lines, which go where what could be read ended."""
        with failing_at(self.path):
            self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            os.ftruncate(self._handle, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    @property
    def is_empty(self) -> bool:
        """Whether no work is lost if it goes."""
        return not (self.pieces or self.commit)

    def add_piece(self, key: str, number: int, record: Record) -> None:
        """A piece is finished."""
        self.pieces.setdefault(key, {})[number] = record
        said = {name: getattr(record, name) for name in Record.__slots__}
        self._write({"piece": [key, number], **said})

    def add_refused(self, key: str) -> None:
        """A tensor cannot be quantized."""
        self.refused.add(key)
        self._write({"refused": key})

    def add_commit(self, commit: Commit) -> None:
        """All is written; names are about to be given. On the disk when this returns."""
        self.commit = commit
        said = {"obsolete": list(commit.obsolete), "replaced": list(commit.replaced)}
        self._write({"commit": commit.names, **said})
        with failing_at(self.path):
            assert self._handle is not None
            os.fsync(self._handle)

    def _write(self, line: Mapping[str, Any]) -> None:
        said = json.dumps(line, separators=(",", ":")).encode()
        text = b"%08x %s\n" % (crc32(said), said)
        with failing_at(self.path):
            assert self._handle is not None
            while text:
                text = text[os.write(self._handle, text) :]

    def _take(self, content: bytes) -> None:
        """What the lines say, up to the first that is not whole."""
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n") or not self._take_line(line):
                break
            self._end += len(line)

    def _take_line(self, line: bytes) -> bool:
        """Whether the line is one of ours."""
        checksum, _, text = line.rstrip(b"\n").partition(b" ")
        try:
            if int(checksum, 16) != crc32(text):
                return False
            said = json.loads(text)
            if "piece" in said:
                key, number = said.pop("piece")
                total = ErrorTotal(*map(float, said.pop("total")))
                said["partial"] = intern(said["partial"])  # the same for thousands of pieces
                self.pieces.setdefault(key, {})[number] = Record(**said, total=total)
            elif "refused" in said:
                self.refused.add(said["refused"])
            else:
                names = said["commit"]
                pairs = zip(_names(names), _names(names.values()), strict=True)
                obsolete, replaced = _names(said["obsolete"]), _names(said["replaced"])
                self.commit = Commit(dict(pairs), obsolete, replaced)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return False
        return True


def _names(names: Iterable[str]) -> tuple[str, ...]:
    """Names of files in a folder, if they do not lead out of it."""
    found = tuple(map(PurePosixPath, names))
    if any(path.is_absolute() or ".." in path.parts for path in found):
        raise ValueError("a name leads out of the folder")
    return tuple(map(str, found))
