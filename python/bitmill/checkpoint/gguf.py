# SPDX-License-Identifier: MIT
"""The header of a GGUF file: its metadata and tensors, every length checked against the file.

A file is `GGUF`, a uint32 version, the numbers of tensors and of metadata entries as uint64, the
entries (key, type, value), the tensors (name, sizes with the fastest first, type, offset), and the
data, aligned. Strings have their length before them as uint64. All is little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.paths import failing_at, regular_file

MAGIC = b"GGUF"


class Type(NamedTuple):
    """How a tensor's elements are stored: blocks of so many, in so many bytes."""

    name: str
    elements: int
    nbytes: int


TYPES = {
    number: Type(name, elements, nbytes)
    for number, name, elements, nbytes in (
        (0, "F32", 1, 4),
        (1, "F16", 1, 2),
        (2, "Q4_0", 32, 18),
        (3, "Q4_1", 32, 20),
        (6, "Q5_0", 32, 22),
        (7, "Q5_1", 32, 24),
        (8, "Q8_0", 32, 34),
        (10, "Q2_K", 256, 84),
        (11, "Q3_K", 256, 110),
        (12, "Q4_K", 256, 144),
        (13, "Q5_K", 256, 176),
        (14, "Q6_K", 256, 210),
        (20, "IQ4_NL", 32, 18),
        (23, "IQ4_XS", 256, 136),
        (24, "I8", 1, 1),
        (25, "I16", 1, 2),
        (26, "I32", 1, 4),
        (27, "I64", 1, 8),
        (28, "F64", 1, 8),
        (30, "BF16", 1, 2),
        (39, "MXFP4", 32, 17),
        (40, "NVFP4", 64, 36),
    )
}
"""Types by their number in the file. A file may have others, whose size is not known here."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"} | {
    12: "d"
}
_STRING, _ARRAY = 8, 9
_MAX_RANK, _MAX_DEPTH = 4, 4
_ALIGNMENT = "general.alignment"


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """One tensor; `shape` is as NumPy has it, the slowest axis first."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    """From the start of the data."""
    nbytes: int | None
    """None for a type that is not known here."""


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """What stands before the data. Arrays of the metadata are given as `type[length]`."""

    version: int
    metadata: dict[str, Any]
    tensors: tuple[GGUFTensor, ...]
    nbytes: int
    """Size of the file."""
    start: int
    """Where the data start, from which tensors count their offsets."""


def read_gguf(path: Path) -> GGUFHeader:
    """The header of the GGUF file at `path`.

    Raises CheckpointError naming file and field if it is none, or not whole.
    """
    with failing_at(path), open(regular_file(path), "rb") as file:
        reader = _Reader(path, file)
        if reader.take(4) != MAGIC:
            raise CheckpointError(f"{path}: starts with other bytes than GGUF")
        version = reader.number("I")
        if version not in (2, 3):
            raise CheckpointError(f"{path}: GGUF version {version}; bitmill reads 2 and 3")
        count, entries = reader.number("Q"), reader.number("Q")
        metadata: dict[str, Any] = {}
        for _ in range(entries):  # each takes some bytes, as tensors do, so the file limits them
            key = reader.new_name("metadata key", metadata)
            metadata[key] = reader.value(reader.number("I"), depth=0)
        tensors: dict[str, GGUFTensor] = {}
        for _ in range(count):
            name = reader.new_name("tensor", tensors)
            tensors[name] = reader.tensor(name)
        start = reader.check_ends(tensors.values(), metadata.get(_ALIGNMENT, 32))
        return GGUFHeader(version, metadata, tuple(tensors.values()), reader.size, start)


class _Reader:
    """Reads forward, and never more than the file has."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.size = file.seek(0, 2)
        file.seek(0)

    def need(self, count: int) -> int:
        """`count`, if there are so many bytes left."""
        at = self.file.tell()
        if count > self.size - at:
            raise CheckpointError(
                f"{self.path}: {count} bytes wanted at byte {at} of {self.size}: no GGUF file, or "
                "not all of one"
            )
        return count

    def take(self, count: int) -> bytes:
        return self.file.read(self.need(count))

    def number(self, kind: str) -> Any:
        layout = struct.Struct("<" + kind)
        return layout.unpack(self.take(layout.size))[0]

    def string(self) -> str:
        return self.take(self.number("Q")).decode(errors="backslashreplace")

    def new_name(self, what: str, known: Mapping[str, object]) -> str:
        """A string that is none of those that are known."""
        name = self.string()
        if name in known:
            raise CheckpointError(f"{self.path}: {what} {name!r} occurs twice")
        return name

    def value(self, kind: int, depth: int) -> Any:
        """A metadata value; an array is skipped, and given by its type and length."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise CheckpointError(f"{self.path}: metadata value of unknown type {kind}")
        if depth == _MAX_DEPTH:
            raise CheckpointError(f"{self.path}: metadata arrays in more than {depth} others")
        of, count = self.number("I"), self.number("Q")
        if of in _SCALARS:
            self.file.seek(self.need(count * struct.calcsize("<" + _SCALARS[of])), 1)
            return f"{_SCALARS[of]}[{count}]"
        for _ in range(count):  # each takes 8 bytes at least, so the file limits them
            self.value(of, depth + 1)
        return f"{'str' if of == _STRING else 'array'}[{count}]"

    def tensor(self, name: str) -> GGUFTensor:
        rank = self.number("I")
        if rank > _MAX_RANK:
            raise CheckpointError(f"{self.path}: tensor {name!r} has {rank} dimensions")
        shape = tuple(self.number("Q") for _ in range(rank))[::-1]
        number, offset = self.number("I"), self.number("Q")
        if number not in TYPES:
            return GGUFTensor(name, shape, f"type {number}", offset, None)
        kind, row = TYPES[number], shape[-1] if shape else 1
        if row % kind.elements:
            raise CheckpointError(
                f"{self.path}: tensor {name!r}: rows of {row} are no whole blocks of {kind.name}"
            )
        nbytes = math.prod(shape) // kind.elements * kind.nbytes
        return GGUFTensor(name, shape, kind.name, offset, nbytes)

    def check_ends(self, tensors: Iterable[GGUFTensor], alignment: object) -> int:
        """Where the data start: the next aligned byte. Raises unless they hold every tensor."""
        if type(alignment) is not int or alignment < 1:
            raise CheckpointError(f"{self.path}: {_ALIGNMENT} is {alignment!r}; wanted 1 or more")
        start = -(-self.file.tell() // alignment) * alignment
        for tensor in tensors:
            if start + tensor.offset + (tensor.nbytes or 0) > self.size:
                raise CheckpointError(
                    f"{self.path}: tensor {tensor.name!r} goes beyond the end of the file"
                )
        return start
