# SPDX-License-Identifier: MIT
"""Tensors cut into pieces, and where the pieces of one go among the tensors that stand for it.

How a tensor is cut depends on nothing but its shape, dtype and scheme: not on memory, threads or
executors. So a run can be continued under other conditions, and gives the same digests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.plan import PlannedTensor
from bitmill.formats import BY_NAME, LayerScheme, total

PIECE = 1 << 22
"""Bytes of input in a piece, unless the least piece that a scheme allows is larger."""
_ROW = 48
"""Bytes that the sums of errors of one row take: many short rows would take more than the data."""
_SCANNED = 3
"""Where pieces share groups, two scans may wait for the one that is worked on."""
_COUNTING = 1 << 22
"""Bytes that the counting of clipped values takes."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a tensor: `shape` values, from those at the index `origin` on."""

    origin: tuple[int, ...]
    shape: tuple[int, ...]
    begin: int
    """How many values of the tensor come before it."""

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return math.prod(self.shape[:-1])


class Slot(NamedTuple):
    """Bytes of a file that hold one of the arrays of a piece."""

    name: str
    begin: int
    nbytes: int


def cut(planned: PlannedTensor) -> list[Span]:
    """The pieces of a tensor, in order. Bytes are cut where it is kept, else what the scheme says.

    A piece is a range of indices along one axis: the first one if its slices are small enough, else
    one of those that follow.
    """
    layer = planned.layer
    if layer is None:
        return _along(0, (planned.bytes_before,), PIECE)
    innermost, _ = layer.weights.cut(planned.shape)
    if innermost is None or 0 in planned.shape:
        return [Span((0,) * len(planned.shape), planned.shape, 0)]
    row = planned.shape[-1] * unit(planned) + _ROW
    for axis in range(innermost + 1):
        slices = PIECE // (math.prod(planned.shape[axis + 1 : -1]) * row)
        if slices or axis == innermost:
            break
    if axis == len(planned.shape) - 2:
        step = BY_NAME[layer.format].row_step(layer.weights)
        slices = max(step, slices // step * step)
    return _along(axis, planned.shape, max(1, slices))


def unit(planned: PlannedTensor) -> int:
    """Bytes of what its pieces count: of a value, or 1 where it is kept and cut into bytes."""
    return 1 if planned.layer is None else planned.bytes_before // max(1, math.prod(planned.shape))


def is_shared(planned: PlannedTensor) -> bool:
    """Whether its pieces share parameters, so that all must be scanned before one is encoded."""
    return planned.layer is not None and planned.layer.weights.cut(planned.shape).shared


def slots(
    planned: PlannedTensor, spans: list[Span], places: Mapping[str, TensorInfo]
) -> list[tuple[Slot, ...]]:
    """For each piece, where its arrays go in a file that has the tensors at `places`."""
    if planned.layer is None:
        begin = places[planned.name].begin
        return [(Slot(planned.name, begin + span.begin, span.size),) for span in spans]
    whole = _sizes(planned.layer, planned.shape)
    first = _sizes(planned.layer, spans[0].shape)
    # What is no larger for more rows is the same for all pieces: it comes with the first one.
    repeated = {name for name in whole if len(spans) > 1 and first[name] == whole[name]}
    found = []
    for i, span in enumerate(spans):
        before = _sizes_before(planned, span)
        found.append(
            tuple(
                Slot(name, places[f"{planned.module}.{name}"].begin + before[name], nbytes)
                for name, nbytes in _sizes(planned.layer, span.shape).items()
                if name not in repeated
            )
            + tuple(
                Slot(name, places[f"{planned.module}.{name}"].begin, whole[name])
                for name in whole
                if i == 0 and name in repeated
            )
        )
    return found


def cost(planned: PlannedTensor, span: Span, *, weighed: bool = False) -> int:
    """Bytes of memory, about, that a piece takes while it is worked on, `weighed` by importance."""
    if planned.layer is None:
        return 2 * span.size
    stored = sum(_sizes(planned.layer, span.shape).values())
    # The input, its reconstruction in float32, and the codes: integers, packed, and as stored.
    values = span.size * (unit(planned) + 4 + 1) + 2 * stored
    scratch = planned.layer.weights.scratch(span.shape, weighed=weighed)
    if is_shared(planned):
        scratch *= _SCANNED
    return values + 2 * _ROW * span.rows + scratch + _COUNTING


def _along(axis: int, shape: tuple[int, ...], count: int) -> list[Span]:
    """Pieces of `count` indices along an axis, for all indices of the axes before it."""
    inner = math.prod(shape[axis + 1 :])
    found = []
    for number, outer in enumerate(np.ndindex(shape[:axis])):
        for start in range(0, max(1, shape[axis]), count):
            stop = min(start + count, shape[axis])
            origin = (*outer, start, *(0 for _ in shape[axis + 1 :]))
            piece = ((1,) * axis + (stop - start,)) + shape[axis + 1 :]
            found.append(Span(origin, piece, (number * shape[axis] + start) * inner))
    return found


def _sizes_before(planned: PlannedTensor, span: Span) -> dict[str, int]:
    """Bytes of each array that come before those of the piece."""
    layer, shape = planned.layer, planned.shape
    assert layer is not None
    before = dict.fromkeys(_sizes(layer, shape), 0)
    for axis, start in enumerate(span.origin):
        if start:
            ahead = (1,) * axis + (start,) + shape[axis + 1 :]
            for name, nbytes in _sizes(layer, ahead).items():
                before[name] += nbytes
    return before


def _sizes(layer: LayerScheme, shape: tuple[int, ...]) -> dict[str, int]:
    """Bytes of each array that stands for a weight of this shape."""
    fields = BY_NAME[layer.format].tensors(layer.weights, shape)
    return {field.name: total([field]) for field in fields}
