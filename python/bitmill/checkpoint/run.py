# SPDX-License-Identifier: MIT
"""All pieces of all tensors: what is still to be done, in order, and what came of each tensor."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from bitmill import __version__, _check
from bitmill.checkpoint.data import read_blocks
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import Header, TensorInfo, read_header
from bitmill.checkpoint.importance import Importance
from bitmill.checkpoint.job import Done, Found, Input, Piece, run_piece, scan_piece
from bitmill.checkpoint.journal import Journal, Record
from bitmill.checkpoint.manifest import Digests
from bitmill.checkpoint.output import Output
from bitmill.checkpoint.pieces import PIECE, Slot, Span, cut, is_shared, slots, unit
from bitmill.checkpoint.plan import PlannedTensor
from bitmill.checkpoint.pool import Pool, Task
from bitmill.checkpoint.read import Checkpoint
from bitmill.checkpoint.report import Health, TensorReport
from bitmill.metrics import ErrorTotal

_JOURNAL_VERSION = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """Handed to the `progress` callable each time a piece is finished."""

    tensor: str
    bytes_done: int
    bytes_total: int


@dataclass(slots=True)
class Outcome:
    """What came of a run over all pieces."""

    reports: list[TensorReport] = field(default_factory=list)
    digests: dict[str, Digests] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    """Tensors that hold values that cannot be quantized; they and their reports are missing."""


@dataclass(slots=True)
class _Tensor:
    """A tensor on its way: its pieces, and what is known of those that are done."""

    planned: PlannedTensor
    info: TensorInfo
    source: Path
    header: Header
    key: str
    partial: Path
    spans: list[Span]
    slots: list[tuple[Slot, ...]]
    total: ErrorTotal = field(default_factory=ErrorTotal)
    counts: Counter[str] = field(default_factory=Counter)
    digests: Digests = field(default_factory=Digests)
    elsewhere: dict[Path, list[tuple[Slot, ...]] | None] = field(default_factory=dict)
    """Where the pieces would lie in other files; None if such a file is not there."""
    taken: int = 0
    """Pieces that are done."""

    def report(self) -> TensorReport:
        """What became of it, with its health."""
        planned = self.planned
        size = self.info.size
        return TensorReport(
            name=planned.name,
            shape=planned.shape,
            layer=planned.layer,
            reason=planned.reason,
            bytes_before=planned.bytes_before,
            bytes_after=planned.bytes_after,
            metrics=None if planned.layer is None else self.total.metrics(size),
            health=Health(**self.counts, fallbacks=int(planned.unsupported is not None)),
            unsupported=planned.unsupported,
        )


def key_of(planned: PlannedTensor, info: TensorInfo, header: Header, importance: Importance) -> str:
    """What a tensor and all that its pieces depend on is called in a journal.

    Its name, place, dtype and shape in a file of this name, header and stamp; its scheme, format
    and importance; how it is cut; and the version of bitmill.
    """
    said = [
        [_JOURNAL_VERSION, __version__, PIECE],
        [planned.file, header.sha256, *header.stamp],
        [info.name, info.dtype, list(info.shape), info.begin],
        planned.layer and planned.layer.to_dict(),
        importance.digest(planned),
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


class Run:
    """Does what an `Output` asks for, unless the journal says that it was done."""

    def __init__(
        self,
        source: Checkpoint,
        journal: Journal,
        pool: Pool,
        *,
        num_threads: int = 1,
        keep_nonfinite: bool = False,
        importance: Importance,
        progress: Callable[[Progress], object] | None,
    ) -> None:
        self.source = source
        self.seconds: Counter[str] = Counter()
        """Where the time of all threads went."""
        self._infos = {info.name: info for _, info in source.tensors()}
        self._journal = journal
        self._pool = pool
        self._name = secrets.token_hex(8)
        self._num_threads = num_threads
        self._keep_nonfinite = keep_nonfinite
        self._importance = importance
        self._progress = progress or (lambda _: None)
        self._verified: dict[tuple[str, str], set[int]] = {}
        """Partial and key of a tensor -> numbers of pieces that this run has written or seen."""
        self._places = cache(_places)
        self._outcome = Outcome()

    def do(self, output: Output, partials: dict[str, Path], bytes_total: int) -> Outcome:
        """Every piece of every tensor; `partials` are the files to write to, by final name."""
        self._outcome = Outcome()
        tensors = (  # made when it is their turn: there may be many
            self._tensor(planned, partials[name], file.places)
            for name, file in output.weights.items()
            for planned in file.tensors
        )
        done = 0
        with closing(self._pool.in_order(self._tasks(tensors))) as results:
            for (tensor, number), result in results:
                if tensor.planned.name in self._outcome.refused:
                    continue
                if not isinstance(result, Done | None):
                    raise CheckpointError(f"the executor returned {result!r} for a piece")
                if result is not None and result.refused:
                    self._refuse(tensor)
                    continue
                self._take(tensor, number, result)
                done += tensor.spans[number].size * unit(tensor.planned)
                self._progress(Progress(tensor.planned.name, done, bytes_total))
        return self._outcome

    def _tensor(
        self, planned: PlannedTensor, partial: Path, places: dict[str, TensorInfo]
    ) -> _Tensor:
        info, header = self._infos[planned.name], self.source.files[planned.file]
        spans = cut(planned)
        return _Tensor(
            planned,
            info,
            self.source.folder / planned.file,
            header,
            key_of(planned, info, header, self._importance),
            partial,
            spans,
            slots(planned, spans, places),
        )

    def _tasks(
        self, tensors: Iterable[_Tensor]
    ) -> Iterator[tuple[tuple[_Tensor, int], Task | None]]:
        for tensor in tensors:
            numbers = range(len(tensor.spans))
            missing = [n for n in numbers if not self._is_verified(tensor, n)]
            seen = None
            if missing and len(tensor.spans) > 1 and is_shared(tensor.planned):
                seen = self._scan(tensor)
                if seen is None:
                    self._refuse(tensor)
            for number in numbers:
                if tensor.planned.name in self._outcome.refused:
                    break
                verified = self._is_verified(tensor, number)
                task = None if verified else Task(run_piece, (self._piece(tensor, number), seen))
                yield (tensor, number), task

    def _scan(self, tensor: _Tensor) -> Any:
        """What the scheme must know of all pieces; None if one cannot be quantized."""
        assert tensor.planned.layer is not None
        pieces = (self._piece(tensor, number) for number in range(len(tensor.spans)))
        tasks = ((None, Task(scan_piece, (piece,))) for piece in pieces)
        seen = None
        with closing(self._pool.in_order(tasks)) as results:
            for _, found in results:
                if found is None:
                    return None
                seen = tensor.planned.layer.weights.merge(seen, found)
        return seen

    def _piece(self, tensor: _Tensor, number: int) -> Piece:
        span, each = tensor.spans[number], unit(tensor.planned)
        return Piece(
            tensor=tensor.planned.name,
            input=Input(
                tensor.source,
                tensor.header.stamp,
                tensor.info.begin + span.begin * each,
                span.size * each,
            ),
            dtype=tensor.info.numpy,
            origin=span.origin,
            shape=span.shape,
            whole=tensor.planned.shape,
            layer=tensor.planned.layer,
            importance=self._importance.of(tensor.planned),
            target=tensor.partial,
            slots=tensor.slots[number],
            found=self._found(tensor, number),
            num_threads=self._num_threads,
            run=self._name,
        )

    def _record(self, tensor: _Tensor, number: int) -> Record | None:
        return self._journal.pieces.get(tensor.key, {}).get(number)

    def _is_verified(self, tensor: _Tensor, number: int) -> bool:
        return number in self._verified.get((tensor.partial.name, tensor.key), ())

    def _found(self, tensor: _Tensor, number: int) -> Found | None:
        """Where an earlier run, or an earlier layout, has left the piece."""
        record = self._record(tensor, number)
        if record is None:
            return None
        path = tensor.partial.with_name(record.partial)
        if path == tensor.partial:
            return Found(path, tensor.slots[number], record.digest)
        if path not in tensor.elsewhere:
            places = self._places(path)
            is_there = all(spec.name in places for spec in tensor.planned.stored)
            there = slots(tensor.planned, tensor.spans, places) if is_there else None
            tensor.elsewhere[path] = there
        found = tensor.elsewhere[path]
        return None if found is None else Found(path, found[number], record.digest)

    def _take(self, tensor: _Tensor, number: int, done: Done | None) -> None:
        """Account for a piece: by its result, or by its record if it was done before."""
        record = self._record(tensor, number)
        if done is not None and not done.reused:
            if done.sums is not None:
                tensor.total = tensor.total.plus(done.sums)
            tensor.counts.update(done.counts)
            record = Record(
                tensor.partial.name,
                done.digest,
                done.source_digest,
                tensor.total,
                {name: count for name, count in tensor.counts.items() if count},
            )
            self._journal.add_piece(tensor.key, number, record)
        assert record is not None
        if record.partial != tensor.partial.name:
            record = replace(record, partial=tensor.partial.name)
            self._journal.add_piece(tensor.key, number, record)
        self._verified.setdefault((tensor.partial.name, tensor.key), set()).add(number)
        tensor.total, tensor.counts = record.total, Counter(record.counts)
        tensor.digests.add(record.source_digest, record.digest)
        tensor.taken += 1
        self.seconds.update(done.seconds if done else {})
        if tensor.taken == len(tensor.spans):
            self._outcome.reports.append(tensor.report())
            self._outcome.digests[tensor.planned.name] = tensor.digests

    def _refuse(self, tensor: _Tensor) -> None:
        """A tensor that cannot be quantized: an error, or one to keep."""
        if tensor.key not in self._journal.refused:
            self._journal.add_refused(tensor.key)
        if not self._keep_nonfinite:
            blocks = read_blocks(tensor.source, tensor.info, tensor.header.stamp, PIECE)
            error = _check.nonfinite_in(blocks)
            raise CheckpointError(
                f"{tensor.source}: tensor {tensor.planned.name!r}: {error}; or leave the tensor as "
                "it is: on_nonfinite='keep'"
            )
        self._outcome.refused.add(tensor.planned.name)


def _places(partial: Path) -> dict[str, TensorInfo]:
    """Where tensors lie in a temporary file; nothing if it is gone, or not even begun."""
    try:
        return read_header(partial).tensors
    except (CheckpointError, FileNotFoundError):
        return {}
