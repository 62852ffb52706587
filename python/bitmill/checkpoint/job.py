# SPDX-License-Identifier: MIT
"""One piece's way from file to file: read, quantize, measure, digest, write.

Functions of paths and places, no arrays but the ranges of a scan, so that they can be sent to
another process or machine that sees the same files.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bitmill import __version__, kernels
from bitmill._check import NonfiniteError
from bitmill._dtypes import FLOATS, Array, dtype
from bitmill._floats import default_floats
from bitmill._results import ErrorSums
from bitmill.checkpoint.data import Buffers, read_bytes, write_at
from bitmill.checkpoint.digest import digest
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.importance import Vector
from bitmill.checkpoint.paths import Stamp
from bitmill.checkpoint.pieces import Slot
from bitmill.formats import BY_NAME, LayerScheme
from bitmill.grid import rows_of
from bitmill.metrics import count_nonfinite
from bitmill.qtensor import QTensor
from bitmill.schemes import Scheme
from bitmill.schemes.overflow import ScaleOverflowError

_buffers = Buffers()


class Input(NamedTuple):
    """Bytes of a file of the source."""

    path: Path
    stamp: Stamp
    begin: int
    nbytes: int

    def read(self) -> Array:
        """The bytes, in a buffer of this thread. CheckpointError if the file has changed."""
        out = _buffers.take("input", self.nbytes)
        return read_bytes(self.path, self.begin, self.nbytes, out=out, stamp=self.stamp)


@dataclass(frozen=True, slots=True)
class Found:
    """An earlier run's work on a piece: where it lies, and the digest it had."""

    path: Path
    slots: tuple[Slot, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Piece:
    """What is to be done."""

    tensor: str
    input: Input
    dtype: str | None
    """As NumPy calls it; None where it has no name for it."""
    origin: tuple[int, ...]
    shape: tuple[int, ...]
    whole: tuple[int, ...]
    """The shape of the tensor."""
    layer: LayerScheme | None
    importance: Vector | None
    target: Path
    slots: tuple[Slot, ...]
    found: Found | None
    num_threads: int | None
    """Threads of the kernels."""
    run: str
    """Another one in each run: executors such as that of dask take equal calls for one."""
    version: str = __version__
    """Of the bitmill that asks: one of another version may give other bytes."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a piece. Of a piece that was reused, only what it took."""

    digest: str = ""
    """Of the arrays that were written."""
    source_digest: str = ""
    """Of what was read."""
    sums: ErrorSums | None = None
    counts: dict[str, int] = field(default_factory=dict)
    """Of `Health`."""
    reused: bool = False
    """It was as found."""
    refused: bool = False
    """It holds values that cannot be quantized; nothing was written."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Where the time went."""


def scan_piece(piece: Piece, gate: AbstractContextManager[Any] | None = None) -> Any:
    """What the scheme must know of a piece before it can encode any; None if it is refused."""
    _check_version(piece)
    assert piece.layer is not None
    x = _read(piece)
    with gate or nullcontext():
        try:
            return piece.layer.weights.scan(x, num_threads=piece.num_threads)
        except NonfiniteError:
            return None


def digest_input(given: Input, gate: AbstractContextManager[Any] | None = None) -> str:
    """The digest of the input of a piece."""
    return digest([given.read()])


def run_piece(
    piece: Piece, seen: Any = None, gate: AbstractContextManager[Any] | None = None
) -> Done:
    """Do one piece, or take what was found of it if that has its digest still.

    `seen` is what `scan_piece` told of all pieces; `gate` lets as many compute as there are cores
    to do it, while others read and write.
    """
    _check_version(piece)
    clock = _Clock()
    if piece.found is not None and _reuse(piece, piece.found, clock):
        return Done(reused=True, seconds=clock.seconds)
    x = _read(piece)
    importance = None if piece.importance is None else piece.importance.read()
    clock.lap("reading")
    source_digest = digest([x])  # now, while it is in the cache
    clock.lap("hashing")
    with gate or nullcontext():
        clock.lap("waiting")
        try:
            arrays, sums, counts = _work(piece, x, seen, importance, clock)
        except NonfiniteError:
            return Done(refused=True, seconds=clock.seconds)
    written = digest(arrays[slot.name] for slot in piece.slots)
    clock.lap("hashing")
    write_at(piece.target, [(slot.begin, arrays[slot.name]) for slot in piece.slots])
    clock.lap("writing")
    return Done(written, source_digest, sums, counts, seconds=clock.seconds)


def digest_slots(
    path: Path, slots: tuple[Slot, ...], gate: AbstractContextManager[Any] | None = None
) -> str:
    """The digest of a piece in a finished file."""
    return digest(_read_slots(path, slots))


def _check_version(piece: Piece) -> None:
    if piece.version != __version__:
        raise CheckpointError(
            f"a worker has bitmill {__version__}, and the run {piece.version}; they must be equal"
        )


class _Clock:
    """Wall time by what it was spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, what: str) -> None:
        """What went by since the last call belongs to `what`."""
        now = time.perf_counter()
        self.seconds[what] = self.seconds.get(what, 0.0) + now - self._last
        self._last = now


def _read(piece: Piece) -> Array:
    """The values of a piece, or its bytes if it is kept, in a buffer of this thread."""
    data = piece.input.read()
    if piece.layer is None or piece.dtype is None:
        return data
    return data.view(dtype(piece.dtype)).reshape(piece.shape)


def _reuse(piece: Piece, found: Found, clock: _Clock) -> bool:
    """Whether what was found is as it was; then it is where it belongs."""
    try:
        parts = _read_slots(found.path, found.slots)
    except (CheckpointError, FileNotFoundError):  # it is shorter, or gone
        return False
    clock.lap("reading")
    same = digest(parts) == found.digest
    clock.lap("hashing")
    if same and (found.path, found.slots) != (piece.target, piece.slots):
        begins = [slot.begin for slot in piece.slots]
        write_at(piece.target, zip(begins, parts, strict=True))
        clock.lap("writing")
    return same


def _read_slots(path: Path, slots: tuple[Slot, ...]) -> list[Array]:
    """The bytes of each, in a buffer of this thread."""
    sizes = [slot.nbytes for slot in slots]
    parts = np.split(_buffers.take("input", sum(sizes)), np.cumsum(sizes)[:-1])
    for slot, part in zip(slots, parts, strict=True):
        read_bytes(path, slot.begin, slot.nbytes, out=part)
    return parts


@default_floats()
def _work(
    piece: Piece, x: Array, seen: Any, importance: Array | None, clock: _Clock
) -> tuple[Mapping[str, Array], ErrorSums | None, dict[str, int]]:
    """The arrays to write, the sums of errors of each row, and counts."""
    if piece.layer is None:
        counts = {}
        if piece.dtype in FLOATS:
            counts = {"nonfinite": count_nonfinite(x.view(dtype(piece.dtype)))}
        clock.lap("measuring")
        return {piece.tensor: x}, None, counts
    scheme, threads = piece.layer.weights, piece.num_threads
    try:
        made = scheme.quantize(x, seen, importance=importance, num_threads=threads)
    except ScaleOverflowError as error:
        moved = error.moved(piece.origin) if seen is None else error
        raise CheckpointError(f"{piece.input.path}: tensor {piece.tensor!r}: {moved}") from None
    q = QTensor(scheme, x.shape, x.dtype.name, made.arrays)
    arrays = BY_NAME[piece.layer.format].encode(q, piece.whole)
    clock.lap("quantizing")
    sums = _error_sums(scheme, x, made.arrays, threads)
    is_first = seen is None or not any(piece.origin)
    counts = scheme.health(
        x, made.arrays, seen, is_first=is_first, fitted=True, num_threads=threads
    )
    for name, count in (("underflowed_scales", "underflowed"), ("unclipped", "unclipped")):
        counts.setdefault(name, made.health.get(count, 0) if is_first else 0)
    clock.lap("measuring")
    return arrays, sums, counts


def _error_sums(
    scheme: Scheme, x: Array, arrays: Mapping[str, Array], num_threads: int | None
) -> ErrorSums:
    """Of each row of `x`, against what will be read back."""
    out = _buffers.take("values", 4 * x.size).view(np.float32).reshape(x.shape)
    scheme.decode(arrays, x.shape, "float32", out=out, num_threads=num_threads)
    return kernels.error_sums(rows_of(x), rows_of(out), num_threads=num_threads)
