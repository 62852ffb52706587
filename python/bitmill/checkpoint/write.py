# SPDX-License-Identifier: MIT
"""Writing files: with their sizes first, on the disk when that is asked for, replaced at once."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bitmill._dtypes import Array
from bitmill.checkpoint.data import write_at
from bitmill.checkpoint.header import NAMES, Spec, build_header
from bitmill.checkpoint.paths import failing_at


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


def is_created(path: Path, head: bytes, nbytes: int) -> bool:
    """Whether `create` has made the file, which may hold more by now."""
    try:
        with failing_at(path), open(path, "rb") as file:
            return os.fstat(file.fileno()).st_size == nbytes and file.read(len(head)) == head
    except FileNotFoundError:
        return False


def write_tensors(
    path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write the arrays as one safetensors file; without `metadata` it says the usual format: pt."""
    specs = [Spec(name, NAMES[array.dtype.name], array.shape) for name, array in arrays.items()]
    head, places = build_header(specs, {"format": "pt"} if metadata is None else metadata)
    create(path, head, len(head) + sum(array.nbytes for array in arrays.values()))
    write_at(path, ((place.begin, arrays[name]) for name, place in places.items()))


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name at the end; nothing is left on failure."""
    temporary = _temporary(path)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync_names(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """Where a file is written first: in the same folder, so that renaming is one step.

    Each call gives another name: what two runs write at the same time does not mix.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def sync(path: Path, flags: int = os.O_RDWR, *, or_remove: bool = False) -> None:
    """Wait until the content of a file is on the disk.

    If the disk fails, nobody knows how much of it was written, and nobody can find out: it reads as
    it should for as long as it is in memory, and a second try reports success. With `or_remove` the
    file goes then, so that nobody goes on with it.
    """
    with failing_at(path):
        handle = os.open(path, flags)
        try:
            os.fsync(handle)
        except OSError:
            if or_remove:
                with suppress(OSError):
                    path.unlink()
            raise
        finally:
            os.close(handle)


def sync_names(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        sync(folder, os.O_RDONLY)
