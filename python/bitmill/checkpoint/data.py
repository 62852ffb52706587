# SPDX-License-Identifier: MIT
"""Bytes of files at given places: read into memory of our own, and written."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from bitmill._dtypes import Array, dtype
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.paths import Stamp, failing_at, regular_file


class Buffers(threading.local):
    """Memory that a thread uses for one piece after the other: new pages would cost a third."""

    def __init__(self) -> None:
        self._held: dict[str, Array] = {}

    def take(self, name: str, nbytes: int) -> Array:
        """`nbytes` bytes, whose content is whatever they held."""
        held = self._held.get(name)
        if held is None or held.nbytes < nbytes:
            self._held.pop(name, None)  # before the larger one is there
            self._held[name] = held = np.empty(nbytes, np.uint8)
        return held[:nbytes]


def read_bytes(
    path: Path, begin: int, nbytes: int, *, out: Array | None = None, stamp: Stamp | None = None
) -> Array:
    """`nbytes` bytes of the file, from byte `begin`, as uint8: in `out`, or in new memory.

    Not a memory map: a file that shrinks under one kills the process. With `stamp`, it is an error
    if the file is not the one that has it.
    """
    with failing_at(path), open(regular_file(path), "rb", buffering=0) as file:
        if stamp is not None and stamp.has_changed(os.fstat(file.fileno())):
            raise CheckpointError(f"{path}: has changed since its header was read; start again")
        out = np.empty(nbytes, np.uint8) if out is None else out
        file.seek(begin)  # of this opening alone: os.pread would do, but not on Windows
        view = out.data
        done = 0
        while done < nbytes:  # one read returns 2 GiB at most
            count = file.readinto(view[done:])
            if not count:
                raise CheckpointError(f"{path}: ends at byte {begin + done} while being read")
            done += count
    return out


def read_tensor(path: Path, info: TensorInfo) -> Array:
    """The tensor at `info` in the file `path`; uint8 bytes where NumPy lacks its dtype."""
    data = read_bytes(path, info.begin, info.nbytes)
    return data if info.numpy is None else data.view(dtype(info.numpy)).reshape(info.shape)


def read_blocks(path: Path, info: TensorInfo, stamp: Stamp, block: int) -> Iterator[Array]:
    """The values of a tensor in 1-D blocks of `block` bytes; each is overwritten by the next."""
    assert info.numpy is not None
    out = np.empty(min(block, info.nbytes), np.uint8)
    for done in range(0, info.nbytes, block):
        count = min(block, info.nbytes - done)
        part = read_bytes(path, info.begin + done, count, out=out[:count], stamp=stamp)
        yield part.view(dtype(info.numpy))


def write_at(path: Path, arrays: Iterable[tuple[int, Array]]) -> None:
    """Write the bytes of arrays into the existing file at `path`, each from its own byte on."""
    with failing_at(path), open(path, "r+b", buffering=0) as file:
        for begin, array in arrays:
            file.seek(begin)
            view = as_bytes(array).data
            while view:  # one write takes 2 GiB at most, and may take less than it is given
                view = view[file.write(view) :]


def as_bytes(array: Array) -> Array:
    """The bytes of an array in C order, 1-D."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
