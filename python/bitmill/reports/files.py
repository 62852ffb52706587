# SPDX-License-Identifier: MIT
"""Where the files of a report go: side by side, and over nothing that it is made of."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from bitmill.checkpoint import CheckpointError
from bitmill.checkpoint.paths import given_path

_BEGINNINGS = (b"<!doctype html>", b"name,shape,scheme,", b'{"version":1,"bitmill":')
"""Of files that a report may replace wherever they lie: those of an earlier one."""


def destinations(
    html: str | os.PathLike[str] | None,
    *,
    csv: str | os.PathLike[str] | None = None,
    json: str | os.PathLike[str] | None = None,
) -> dict[str, Path]:
    """Where each kind of file goes: with a page, CSV and JSON beside it. ValueError if two are one.

    >>> {kind: str(path) for kind, path in destinations("a.html", csv="b.csv").items()}
    {'html': 'a.html', 'csv': 'b.csv', 'json': 'a.json'}
    """
    given = {"html": html, "csv": csv, "json": json}
    paths = {kind: given_path(path, kind) for kind, path in given.items() if path is not None}
    for kind, path in paths.items():
        if not path.name:
            raise ValueError(f"{kind} is {path}; wanted the name of a file")
    if "html" in paths:
        beside = {kind: paths["html"].with_suffix(f".{kind}") for kind in ("csv", "json")}
        paths = {"html": paths["html"], **beside, **paths}
    kinds: dict[str, str] = {}
    for kind, path in paths.items():
        other = kinds.setdefault(os.path.abspath(path), kind)
        if other != kind:
            raise ValueError(f"{other} and {kind} are one file: {path}")
    return paths


def check_writable(paths: Mapping[str, Path], inputs: Iterable[Path]) -> None:
    """Raise for what cannot be written, before the work, and for what must not be.

    OSError where there is no folder to write to; CheckpointError for a file of a checkpoint, or for
    another that is read, unless it is an earlier report.
    """
    given = list(inputs)
    for path in paths.values():
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
        for each in given:
            if _is_in(path, each) and not _is_report(path):
                raise CheckpointError(f"{path}: is a file of {each}, which no report replaces")


def _is_in(path: Path, given: Path) -> bool:
    """Whether a file is there, and is the given one or in the given folder."""
    if not path.exists():
        return False
    if given.is_dir():
        return path.parent.resolve().is_relative_to(given.resolve())
    return given.exists() and path.samefile(given)


def _is_report(path: Path) -> bool:
    """Whether a file begins as those of a report do."""
    with path.open("rb") as file:
        return file.read(max(map(len, _BEGINNINGS))).startswith(_BEGINNINGS)
