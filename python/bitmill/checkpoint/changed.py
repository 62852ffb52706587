# SPDX-License-Identifier: MIT
"""Whether a finished target was made of the weights that are there now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from bitmill.checkpoint.digest import digest_of
from bitmill.checkpoint.job import Input, digest_input
from bitmill.checkpoint.pieces import cut, unit
from bitmill.checkpoint.plan import Plan
from bitmill.checkpoint.pool import Pool, Task
from bitmill.checkpoint.read import Checkpoint


def changed(
    source: Checkpoint, plan: Plan, pool: Pool, manifest: Mapping[str, Any]
) -> Iterator[str]:
    """What says so of each tensor whose digest is not that of the manifest; all are read."""
    digests: dict[str, list[str]] = {}
    with closing(pool.in_order(_tasks(source, plan))) as results:
        for name, found in results:
            digests.setdefault(name, []).append(found)
    for name, found in digests.items():
        if digest_of(found) != manifest["tensors"][name].get("source_digest"):
            yield f"{name} has other values now"


def _tasks(source: Checkpoint, plan: Plan) -> Iterator[tuple[str, Task]]:
    infos = {info.name: (path, info) for path, info in source.tensors()}
    for tensor in plan.tensors:
        path, info = infos[tensor.name]
        stamp, each = source.files[tensor.file].stamp, unit(tensor)
        for span in cut(tensor):
            begin = info.begin + span.begin * each
            yield tensor.name, Task(digest_input, (Input(path, stamp, begin, span.size * each),))
