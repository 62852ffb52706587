# SPDX-License-Identifier: MIT
"""Where in a tensor the error is: by row, by group of columns, and by both in a coarse map."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array
from bitmill.grid import rows_of
from bitmill.measures import ErrorTotal

ROWS, COLUMNS = 32, 64
"""Cells of a map, at most."""
_WORST = 3
_BLOCK = 1 << 20  # values that are looked at together


@dataclass(frozen=True, slots=True)
class Worst:
    """A row, or the columns of a group, and by how much its error is above the tensor's."""

    begin: int
    end: int
    ratio: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"begin": self.begin, "end": self.end, "ratio": self.ratio}


@dataclass(frozen=True, slots=True)
class ErrorMap:
    """The root of the mean squared error of parts of a tensor, 1 being that of the whole."""

    rows_per_cell: int
    columns_per_cell: int
    """Whole groups, where a row has groups."""
    cells: tuple[tuple[float, ...], ...]
    """By row and column; the last of each may stand for fewer values."""
    worst_rows: tuple[Worst, ...]
    worst_groups: tuple[Worst, ...]
    """Of groups, or of columns as in the cells."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; ratios to 4 digits."""
        return {
            "rows_per_cell": self.rows_per_cell,
            "columns_per_cell": self.columns_per_cell,
            "cells": [[float(f"{ratio:.4g}") for ratio in row] for row in self.cells],
            "worst_rows": [worst.to_dict() for worst in self.worst_rows],
            "worst_groups": [worst.to_dict() for worst in self.worst_groups],
        }


def errors(
    x: Array, y: Array, group_size: int | None, *, num_threads: int | None = None
) -> tuple[ErrorTotal, ErrorMap | None]:
    """The sums of squares of `x` and its reconstruction `y`, float32, and where they differ.

    No map where nothing differs. Sums are those of `kernels.error_sums`, in order: the same on
    every machine.

    >>> x = np.zeros((2, 4), np.float32)
    >>> total, found = errors(x, np.float32([[0, 0, 3, 4], [0, 0, 0, 0]]), 2)
    >>> total.dd, found.cells, found.worst_groups[0]
    (25.0, ((0.0, 2.0), (0.0, 0.0)), Worst(begin=2, end=4, ratio=1.4142135623730951))
    """
    total, sums = ErrorTotal(), _Sums(x.shape, group_size)
    for start, a, b in _blocks(rows_of(x), rows_of(y)):
        of_rows = kernels.error_sums(a, b, num_threads=num_threads)
        total = total.plus(of_rows)
        sums.rows[start : start + len(a)] = of_rows.dd
        sums.add(start, _by_group(a, b, sums.group, num_threads))
    return total, sums.map(total.dd) if total.dd and math.isfinite(total.dd) else None


class _Sums:
    """Squared errors so far: of each row, each group of columns, each cell."""

    def __init__(self, shape: tuple[int, ...], group_size: int | None) -> None:
        self.count, self.length = math.prod(shape[:-1]), shape[-1]
        self.group = min(group_size or -(-self.length // COLUMNS), max(1, self.length))
        groups = -(-self.length // self.group)
        self.per_cell = -(-groups // COLUMNS)  # groups
        self.rows_per_cell = max(1, -(-self.count // ROWS))
        self.rows = np.zeros(self.count)
        self.groups = np.zeros(groups)
        self.cells = np.zeros((-(-self.count // self.rows_per_cell), -(-groups // self.per_cell)))

    def add(self, start: int, by_group: Array) -> None:
        """Those of the groups [rows, groups] of the rows from `start` on, in order."""
        padding = self.cells.shape[1] * self.per_cell - len(self.groups)
        for number, row in enumerate(by_group, start):
            self.groups += row
            own = self.cells[number // self.rows_per_cell]
            for part in np.pad(row, (0, padding)).reshape(-1, self.per_cell).T:
                own += part

    def map(self, dd: float) -> ErrorMap:
        """The map of a tensor whose squared errors have this sum."""
        mean = dd / (self.count * self.length)
        step = self.group * self.per_cell
        rows, columns = _sizes(self.count, self.rows_per_cell), _sizes(self.length, step)
        cells = np.sqrt(self.cells / np.outer(rows, columns) / mean)
        by_group = self.groups / _sizes(self.length, self.group) / self.count
        return ErrorMap(
            self.rows_per_cell,
            step,
            tuple(map(tuple, cells.tolist())),
            tuple(_worst(self.rows / self.length / mean, 1, self.count)),
            tuple(_worst(by_group / mean, self.group, self.length)),
        )


def _by_group(x: Array, y: Array, group: int, num_threads: int | None) -> Array:
    """The squared errors of each group of some rows, [rows, groups]; the last may be short."""
    rows, length = x.shape
    whole = length // group * group
    found = []
    for columns, size in ((slice(0, whole), group), (slice(whole, length), length - whole)):
        if size and columns.stop > columns.start:
            a, b = (np.ascontiguousarray(v[:, columns]).reshape(-1, size) for v in (x, y))
            found.append(kernels.error_sums(a, b, num_threads=num_threads).dd.reshape(rows, -1))
    return np.concatenate(found, axis=1)


def _blocks(x: Array, y: Array) -> Iterator[tuple[int, Array, Array]]:
    """Rows that are looked at together, and the number of the first."""
    step = max(1, _BLOCK // max(1, x.shape[1]))
    for start in range(0, len(x), step):
        yield start, x[start : start + step], y[start : start + step]


def _sizes(length: int, step: int) -> Array:
    """How long the pieces are that steps cut a length into."""
    found = np.full(-(-length // step), step)
    found[-1:] -= len(found) * step - length
    return found


def _worst(mean_squares: Array, step: int, length: int) -> Iterator[Worst]:
    """The largest of them, the first of equal ones first."""
    for at in np.argsort(-mean_squares, kind="stable")[:_WORST].tolist():
        ratio = math.sqrt(float(mean_squares[at]))
        yield Worst(at * step, min((at + 1) * step, length), ratio)
