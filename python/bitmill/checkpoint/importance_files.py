# SPDX-License-Identifier: MIT
"""Files of importances: NumPy's .npz, safetensors, and the importance matrices of llama.cpp.

Whatever they are, `read` gives one number for each column of a weight. Nothing is unpickled, and
nothing is allocated for a length that was not asked for.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
import zlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from bitmill._dtypes import FLOATS, Array
from bitmill.checkpoint.data import read_bytes, read_tensor
from bitmill.checkpoint.errors import CheckpointError, shown
from bitmill.checkpoint.gguf import MAGIC, GGUFTensor, read_gguf
from bitmill.checkpoint.header import read_header
from bitmill.checkpoint.paths import Stamp, failing_at, regular_file

_ZIP = b"PK"
_MEMBER = ".npy"
_NPY = b"\x93NUMPY\1\0"
_NPY_HEADER = re.compile(
    r"\{'descr': '(?P<kind>[^']+)', 'fortran_order': (True|False), "
    r"'shape': \((?P<shape>[\d, ]*)\),? ?\}\s*"
)
_NPY_FLOATS = {f"{order}f{size}": f"float{8 * size}" for order in "<>" for size in (2, 4, 8)}
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SUMS, _COUNTS = ".in_sum2", ".counts"
_BROKEN = (
    *(ValueError, EOFError, KeyError, RuntimeError, OverflowError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What `zipfile` raises for what is not as it should be, or encrypted."""


class ImportanceFile(Protocol):
    """A file that holds importances under keys."""

    @property
    def keys(self) -> Collection[str]:
        """What there is."""

    def count(self, key: str) -> int:
        """How many matrices the entry tells of: those of experts."""

    def read(self, key: str, columns: int, matrix: int | None) -> Array:
        """One number per column: of one matrix, or of all together. ValueError says what is wrong
        with the entry, OSError what the system could not do."""


@lru_cache(maxsize=2)
def open_importance(path: Path, stamp: Stamp) -> ImportanceFile:
    """The file at `path`, by its first bytes. CheckpointError if it is none, or not the one that
    has the stamp."""
    with failing_at(path), open(regular_file(path), "rb") as file:
        if stamp.has_changed(os.fstat(file.fileno())):
            raise CheckpointError(f"{path}: has changed while it was used; start again")
        first = file.read(len(MAGIC))
    if first.startswith(_ZIP):
        return _Npz(path)
    return Imatrix(path) if first == MAGIC else _Safetensors(path)


class _Npz:
    """Arrays as `np.savez` writes them, compressed or not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with failing_at(path), zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except _BROKEN as error:
            raise CheckpointError(f"{path}: not the .npz file it should be: {error}") from None
        self.keys = frozenset(n.removesuffix(_MEMBER) for n in names if n.endswith(_MEMBER))

    def count(self, key: str) -> int:
        return 1

    def read(self, key: str, columns: int, matrix: int | None) -> Array:
        try:
            with (
                failing_at(self.path),
                zipfile.ZipFile(self.path) as archive,
                archive.open(_usable(archive.getinfo(key + _MEMBER))) as member,
            ):
                shape, kind = _npy_header(member)
                _check(shape, _NPY_FLOATS.get(kind, kind), columns)
                data = member.read(columns * int(kind[-1]))
                if len(data) < columns * int(kind[-1]):
                    raise ValueError(f"ends after {len(data)} bytes")
                return np.frombuffer(data, kind)
        except _BROKEN as error:
            raise ValueError(str(error)) from None


class _Safetensors:
    """Tensors of safetensors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tensors = read_header(path).tensors
        self.keys = self._tensors.keys()

    def count(self, key: str) -> int:
        return 1

    def read(self, key: str, columns: int, matrix: int | None) -> Array:
        info = self._tensors[key]
        _check(info.shape, info.numpy or info.dtype, columns)
        return read_tensor(self.path, info)


class Imatrix:
    """The GGUF file of llama.cpp's imatrix: Σx² of each input, and how many there were.

    Of layers with experts it holds a row for each: `<name>.in_sum2` [experts, columns] and
    `<name>.counts` [experts, 1].
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        header = read_gguf(path)
        tensors = {tensor.name: tensor for tensor in header.tensors}
        self._start = header.start
        self._tensors: Mapping[str, tuple[GGUFTensor, GGUFTensor]] = {
            name.removesuffix(_SUMS): (sums, self._counts_of(name.removesuffix(_SUMS), tensors))
            for name, sums in tensors.items()
            if name.endswith(_SUMS)
        }
        self.keys = self._tensors.keys()
        if not self.keys:
            raise CheckpointError(
                f"{path}: a GGUF file without tensors called *{_SUMS}: no importance matrix "
                "(llama-imatrix -o imatrix.gguf)"
            )

    def count(self, key: str) -> int:
        return math.prod(self._tensors[key][1].shape)

    def read(self, key: str, columns: int, matrix: int | None) -> Array:
        """Σx² over the number of inputs; 1 everywhere if there were none, as in llama.cpp."""
        sums, counts = self._tensors[key]
        number = self.count(key)
        for tensor in (sums, counts):
            if tensor.type != "F32":
                raise ValueError(f"{tensor.name!r} has type {tensor.type}; wanted F32")
        wanted = (number, columns) if number != 1 else (columns,)
        if sums.shape != wanted and (number != 1 or sums.shape != (1, columns)):
            raise ValueError(f"has shape {sums.shape}; wanted {wanted}: one number per column")
        if matrix is not None and matrix >= number:
            raise ValueError(f"is of {number} experts; this is number {matrix}, counted from 0")
        first, rows = (0, number) if matrix is None else (matrix, 1)
        x2 = self._floats(sums, first * columns, rows * columns).reshape(rows, columns)
        seen = self._floats(counts, first, rows)
        if not (np.isfinite(seen).all() and (seen >= 0).all()):
            raise ValueError(f"{counts.name!r} holds {shown(seen.tolist())}; wanted counts")
        total = seen.sum()
        if total == 0:
            return np.ones(columns)
        with np.errstate(invalid="ignore"):  # infinities, which are refused later
            mean: Array = x2.sum(axis=0) / total
        return mean

    def _floats(self, tensor: GGUFTensor, begin: int, count: int) -> Array:
        """Elements of a tensor, in its order."""
        data = read_bytes(self.path, self._start + tensor.offset + 4 * begin, 4 * count)
        with np.errstate(invalid="ignore"):  # signalling NaN, which is refused later
            return data.view("<f4").astype(np.float64)

    def _counts_of(self, name: str, tensors: Mapping[str, GGUFTensor]) -> GGUFTensor:
        if name + _COUNTS not in tensors:
            raise CheckpointError(
                f"{self.path}: tensor {shown(name + _SUMS)} is there without {name + _COUNTS!r}"
            )
        return tensors[name + _COUNTS]


def _usable(member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """`member`, if `zipfile` can read it with no other error than `_BROKEN`."""
    if member.compress_type not in _COMPRESSIONS:
        raise ValueError("is compressed in a way that NumPy does not use")
    if member.header_offset < 0:
        raise ValueError("begins before the file")
    return member


def _npy_header(member: IO[bytes]) -> tuple[tuple[int, ...], str]:
    """Shape and type of an array, as NumPy writes them; its own reader evaluates expressions, and
    allocates what a header says of its length."""
    start = member.read(len(_NPY) + 2)
    if not start.startswith(_NPY):
        raise ValueError("is no array in version 1.0 of .npy")
    text = member.read(int.from_bytes(start[len(_NPY) :], "little"))
    found = _NPY_HEADER.fullmatch(text.decode("latin-1"))
    if found is None:
        raise ValueError(f"has the header {shown(text)}; wanted one array of floats")
    sizes = (size.strip() for size in found["shape"].split(","))
    return tuple(int(size) for size in sizes if size), found["kind"]


def _check(shape: tuple[int, ...], dtype: str, columns: int) -> None:
    if shape != (columns,):
        raise ValueError(f"has shape {shape}; wanted {(columns,)}: one number per column")
    if dtype not in FLOATS:
        raise ValueError(f"has dtype {dtype}; wanted one of: {', '.join(FLOATS)}")
