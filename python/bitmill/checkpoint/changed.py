# SPDX-License-Identifier: MIT
"""Whether a finished target was made of the weights that are there now, and is what it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from bitmill.checkpoint.digest import Joined
from bitmill.checkpoint.job import Input, digest_input, digest_slots
from bitmill.checkpoint.output import Output
from bitmill.checkpoint.pieces import cut, slots, unit
from bitmill.checkpoint.plan import Plan
from bitmill.checkpoint.pool import Pool, Task
from bitmill.checkpoint.read import Checkpoint


def changed(
    source: Checkpoint, plan: Plan, pool: Pool, manifest: Mapping[str, Any]
) -> Iterator[str]:
    """What says so of each tensor whose values are not those of the manifest; all are read."""
    for name, found in _joined(pool, _inputs(source, plan)):
        if found != manifest["tensors"][name].get("source_digest"):
            yield f"{name} has other values now"


def damaged(folder: Path, output: Output, pool: Pool, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What says so of each tensor that is not stored as the manifest says; all are read."""
    for name, found in _joined(pool, _stored(folder, output)):
        if found != manifest["tensors"][name].get("stored_digest"):
            yield f"{name} is damaged"


def _joined(pool: Pool, tasks: Iterable[tuple[str, Task]]) -> Iterator[tuple[str, str]]:
    """The digests of tensors, by the tasks that make those of their pieces."""
    digests: dict[str, Joined] = {}
    with closing(pool.in_order(tasks)) as results:
        for name, found in results:
            digests.setdefault(name, Joined()).add(found)
    return ((name, str(found)) for name, found in digests.items())


def _inputs(source: Checkpoint, plan: Plan) -> Iterator[tuple[str, Task]]:
    infos = {info.name: (path, info) for path, info in source.tensors()}
    for tensor in plan.tensors:
        path, info = infos[tensor.name]
        stamp, each = source.files[tensor.file].stamp, unit(tensor)
        for span in cut(tensor):
            begin = info.begin + span.begin * each
            yield tensor.name, Task(digest_input, (Input(path, stamp, begin, span.size * each),))


def _stored(folder: Path, output: Output) -> Iterator[tuple[str, Task]]:
    for file, weights in output.weights.items():
        for tensor in weights.tensors:
            for piece in slots(tensor, cut(tensor), weights.places):
                yield tensor.name, Task(digest_slots, (folder / file, piece))
