# SPDX-License-Identifier: MIT
"""Which importance a weight gets: found in a file and checked before anything is written.

Pieces of work name the file and the key; whoever does them reads the numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from bitmill._dtypes import Array
from bitmill._importance import Scaled, scaled
from bitmill.checkpoint.digest import digest
from bitmill.checkpoint.errors import CheckpointError, shown
from bitmill.checkpoint.imatrix import Named, names_of
from bitmill.checkpoint.importance_files import Imatrix, ImportanceFile, open_importance
from bitmill.checkpoint.paths import Stamp, failing_at
from bitmill.checkpoint.patterns import is_conv1d
from bitmill.checkpoint.plan import Plan, PlannedTensor

_NAMED = 5
"""How many names a note has."""


class Vector(NamedTuple):
    """The importance of one weight: where its numbers lie."""

    path: Path
    stamp: Stamp
    key: str
    columns: int
    matrix: int | None
    """Which of several in one entry; None: all of them together."""
    digest: str = ""
    """Of what `read` gives."""

    def read(self) -> Array:
        """Float32 from 0 to 1, one per column. CheckpointError if the file has changed."""
        return self.read_scaled().values

    def read_scaled(self) -> Scaled:
        """The same, and what it is to be multiplied by."""
        found = _read(self)
        if digest([found.values]) != self.digest:
            raise CheckpointError(f"{self.path}: {shown(self.key)} has changed; start again")
        return found


def _refuse_changed(vector: Vector) -> None:
    with failing_at(vector.path):
        if vector.stamp.has_changed(os.stat(vector.path)):
            raise CheckpointError(f"{vector.path}: has changed while it was used; start again")


@lru_cache(maxsize=4)  # the pieces of a tensor come one after the other
def _read(vector: Vector) -> Scaled:
    _refuse_changed(vector)
    given = open_importance(vector.path, vector.stamp)
    numbers = given.read(vector.key, vector.columns, vector.matrix)
    found = scaled(numbers, (vector.columns,))
    found.values.flags.writeable = False
    return found


@dataclass(frozen=True, slots=True)
class Importance:
    """The importances of the weights of a plan, by the names of their tensors."""

    vectors: Mapping[str, Vector] = field(default_factory=dict)
    summed: frozenset[str] = frozenset()
    """Tensors of several matrices that get the mean importance of all."""

    @property
    def path(self) -> Path | None:
        """The file; None where there is none."""
        return next((vector.path for vector in self.vectors.values()), None)

    def of(self, tensor: PlannedTensor) -> Vector | None:
        """That of a tensor; None if it has none, is kept, or its scheme takes none."""
        return self.vectors.get(tensor.name) if _takes(tensor) else None

    def digest(self, tensor: PlannedTensor) -> str | None:
        """What the importance of a tensor is known by."""
        vector = self.of(tensor)
        return None if vector is None else vector.digest

    def refuse_changed(self) -> None:
        """Raise if the file is not what it was when it was opened."""
        for vector in list(self.vectors.values())[:1]:
            _refuse_changed(vector)

    def notes(self, plan: Plan) -> Iterator[str]:
        """What to know of weights that have no importance of their own."""
        if not self.vectors:
            return
        quantized = [tensor.name for tensor in plan.quantized]
        missing = [name for name in quantized if name not in self.vectors]
        if missing:
            yield (
                f"no importance for {len(missing)} of {len(quantized)} quantized weights: "
                f"{_some(missing)}"
            )
        idle = [t.name for t in plan.quantized if t.name in self.vectors and not _takes(t)]
        if idle:
            yield (
                f"importance is not used for {len(idle)} of {len(quantized)} quantized weights, "
                f"whose ranges are not of least squared error: {_some(idle)}"
            )
        summed = [name for name in quantized if name in self.summed]
        if summed:
            yield f"the importance of all experts together for: {_some(summed)}"


def _takes(tensor: PlannedTensor) -> bool:
    return tensor.scheme is not None and tensor.scheme.takes_importance


def read_importance(path: Path, config: Mapping[str, Any], plan: Plan) -> Importance:
    """The importances in a file for the weights that a plan quantizes, all read and checked.

    Raises one CheckpointError for all entries that are wrong; also if there is none for any weight.
    """
    with failing_at(path):
        stamp = Stamp.of(os.stat(path))
    given = open_importance(path, stamp)
    named = _naming(path, config, plan, given)
    vectors, summed, wrong = {}, set(), []
    for tensor in plan.quantized:
        found = named(tensor)
        if found is None or found.key not in given.keys:
            continue
        vector = Vector(path, stamp, found.key, tensor.shape[-1], found.matrix)
        try:
            vectors[tensor.name] = vector._replace(digest=digest([_read(vector).values]))
        except CheckpointError:  # which are ValueErrors too
            raise
        except (TypeError, ValueError) as error:
            as_key = "" if found.key == tensor.name else f" (as {shown(found.key)})"
            wrong.append(f"{shown(tensor.name)}{as_key}: {error}")
        if found.matrix is None and given.count(found.key) > 1:
            summed.add(tensor.name)
    if wrong:
        raise CheckpointError(
            f"{path}: what it holds is no importance of {len(wrong)} of {len(plan.quantized)} "
            f"weights: {'; '.join(wrong)}"
        )
    if not vectors:
        example = plan.quantized[0].name if plan.quantized else "*.weight"
        there = f", but {shown(min(given.keys))}" if given.keys else ""
        raise CheckpointError(
            f"{path}: holds no importance of any weight to quantize, such as {shown(example)}"
            f"{there}"
        )
    return Importance(vectors, frozenset(summed))


def _naming(
    path: Path, config: Mapping[str, Any], plan: Plan, given: ImportanceFile
) -> Callable[[PlannedTensor], Named | None]:
    """How the file calls tensors."""
    if isinstance(given, Imatrix):
        names = names_of(path, config)
        # The columns of a Conv1D are its outputs, and the numbers those of inputs.
        return lambda t: None if is_conv1d(t.module, plan.model) else names(t.module)
    keys = given.keys
    return lambda tensor: Named(tensor.name if tensor.name in keys else tensor.module, None)


def refuse_idle(importance: Importance, plan: Plan) -> None:
    """Raise if no scheme of the plan takes the importance that is there for its weight."""
    named = [tensor for tensor in plan.quantized if tensor.name in importance.vectors]
    if named and not any(map(_takes, named)):
        described = (f"{shown(t.name)} ({t.layer.describe()})" for t in named if t.layer)
        raise CheckpointError(
            f"{importance.path}: importance goes with ranges of least squared error, and the "
            f"weights have others: {', '.join(described)}; choose clip='mse'"
        )


def _some(names: list[str]) -> str:
    """The first of many names."""
    more = len(names) - _NAMED
    return ", ".join(map(shown, names[:_NAMED])) + (f", and {more} more" if more > 0 else "")
