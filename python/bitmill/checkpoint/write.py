# SPDX-License-Identifier: MIT
"""The target folder: files appear in it finished, under their names, or not at all."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bitmill._dtypes import Array
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import NAMES, Spec, build_header
from bitmill.checkpoint.paths import failing_at
from bitmill.checkpoint.read import weight_files

_TEMPORARY = ".*.partial"
"""The names of temporary files."""


class TargetFolder:
    """A folder that is filled under temporary names and committed at once, in order of staging.

    As a context manager: leaving it without `commit` removes what was staged, and every folder that
    was made for it.
    """

    def __init__(self, path: Path, sources: Iterable[Path], *, overwrite: bool) -> None:
        """Check that writing to `path` is safe for the files `sources`; nothing is changed yet.

        Raises CheckpointError if a source lies in `path` or the other way round, and
        FileExistsError if it holds something and `overwrite` is false. Temporary files that a
        killed run has left are nothing.
        """
        self.path = path
        self.replaced: list[str] = []
        self.removed: list[str] = []
        self._staged: dict[Path, Path] = {}
        self._made: list[Path] = []
        _refuse_overlap(path, sources)
        if path.exists() and not path.is_dir():
            raise FileExistsError(errno.EEXIST, "is a file; the target is a folder", str(path))
        if not overwrite and any(_is_content(found) for found in path.rglob("*")):
            raise FileExistsError(
                errno.EEXIST, "is not empty; name another folder, or pass overwrite=True", str(path)
            )
        self._obsolete = weight_files(path)

    def __enter__(self) -> TargetFolder:
        for left in list(self.path.rglob(_TEMPORARY)):
            self._remove(left)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for temporary in self._staged:
            temporary.unlink(missing_ok=True)
        for folder in reversed(self._made):
            with suppress(OSError):  # not empty: somebody else's files are in it
                folder.rmdir()

    def stage(self, name: str) -> Path:
        """The temporary path at which to write the file that will be called `name`."""
        final = self.path / name
        if final.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder; a file must go there", str(final))
        self._make(final.parent)
        temporary = _temporary(final)
        self._staged[temporary] = final
        return temporary

    def stage_bytes(self, name: str, content: bytes) -> None:
        """Write `content` as the file that will be called `name`."""
        write_file(self.stage(name), content)

    def commit(self) -> None:
        """Give every staged file its name; all of them are on the disk before the first gets it.

        Then weights and index of an earlier checkpoint go, which would be loaded beside the new.
        `replaced` and `removed` tell which files were there before.
        """
        finals = {final: final.relative_to(self.path).as_posix() for final in self._staged.values()}
        for temporary in self._staged:
            _sync(temporary)
        self.replaced += [name for final, name in finals.items() if os.path.lexists(final)]
        for temporary, final in self._staged.items():
            os.replace(temporary, final)
        for name in sorted(self._obsolete - set(finals.values())):
            self._remove(self.path / name)
        folders = {path.parent for path in (*finals, *self._made)}
        self._staged.clear()
        self._made.clear()
        for folder in folders:
            _sync_names(folder)

    def _make(self, folder: Path) -> None:
        """Create a folder, and those it lies in."""
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir()
            self._made.append(path)

    def _remove(self, path: Path) -> None:
        path.unlink()
        self.removed.append(path.relative_to(self.path).as_posix())


def write_file(path: Path, content: bytes) -> None:
    """Write a small file at once."""
    with failing_at(path):
        path.write_bytes(content)


def json_text(value: Mapping[str, Any]) -> bytes:
    """An object as the bytes of a JSON file."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def create(path: Path, head: bytes, nbytes: int) -> None:
    """Create a file of `nbytes` bytes that starts with `head`; the rest is zero, and not stored."""
    with failing_at(path), open(path, "wb") as file:
        file.write(head)
        file.truncate(nbytes)


def write_at(path: Path, begin: int, array: Array) -> None:
    """Write the bytes of an array into the existing file at `path`, from byte `begin`."""
    view = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    with failing_at(path), open(path, "r+b", buffering=0) as file:
        file.seek(begin)
        while view:  # one write takes 2 GiB at most
            view = view[file.write(view) :]


def write_tensors(
    path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write the arrays as one safetensors file; without `metadata` it says the usual format: pt."""
    specs = [Spec(name, NAMES[array.dtype.name], array.shape) for name, array in arrays.items()]
    head, places = build_header(specs, {"format": "pt"} if metadata is None else metadata)
    create(path, head, len(head) + sum(array.nbytes for array in arrays.values()))
    for name, place in places.items():
        write_at(path, place.begin, arrays[name])


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name at the end; nothing is left on failure."""
    temporary = _temporary(path)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync_names(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """Where a file is written first: in the same folder, so that renaming is one step.

    Each call gives another name: what two runs write at the same time does not mix.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def _is_content(path: Path) -> bool:
    """Whether something in a folder is more than a temporary file, or a folder."""
    return path.is_symlink() or not (path.is_dir() or path.match(_TEMPORARY))


def _sync(path: Path, flags: int = os.O_RDWR) -> None:
    """Wait until the content of a file is on the disk."""
    with failing_at(path):
        handle = os.open(path, flags)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync_names(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _sync(folder, os.O_RDONLY)


def _refuse_overlap(path: Path, sources: Iterable[Path]) -> None:
    """Raise if the target holds a source, or lies in one; links are followed."""
    target = path.resolve()
    for source in sources:
        real = source.resolve()
        if target == real or target in real.parents or real in target.parents:
            raise CheckpointError(
                f"{path}: overlaps the source {source}; name a target folder outside of it"
            )
