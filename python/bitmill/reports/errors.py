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
        sums.groups[start : start + len(a)] = _by_group(a, b, sums.group, num_threads)
    return total, sums.map(total.dd) if total.dd and math.isfinite(total.dd) else None


class _Sums:
    """Squared errors: of each row, and of each group in it."""

    def __init__(self, shape: tuple[int, ...], group_size: int | None) -> None:
        self.count, self.length = math.prod(shape[:-1]), shape[-1]
        self.group = min(group_size or -(-self.length // COLUMNS), max(1, self.length))
        self.rows = np.zeros(self.count)
        self.groups = np.zeros((self.count, -(-self.length // self.group)))

    def map(self, dd: float) -> ErrorMap:
        """The map of a tensor whose squared errors have this sum."""
        mean = dd / (self.count * self.length)
        per_row, per_column = max(1, -(-self.count // ROWS)), -(-self.groups.shape[1] // COLUMNS)
        step = self.group * per_column
        by_column = _steps(self.groups.T, per_column)
        cells = _steps(by_column.T, per_row)
        rows, columns = _sizes(self.count, per_row), _sizes(self.length, step)
        cells = np.sqrt(cells / np.outer(rows, columns) / mean)
        by_group = _steps(_steps(self.groups, per_row), ROWS)[0]
        by_group = by_group / _sizes(self.length, self.group) / self.count
        return ErrorMap(
            per_row,
            step,
            tuple(map(tuple, cells.tolist())),
            tuple(_worst(self.rows / self.length / mean, 1, self.count)),
            tuple(_worst(by_group / mean, self.group, self.length)),
        )


def _steps(values: Array, step: int) -> Array:
    """The sums of every `step` rows, each in order; the last may be of fewer."""
    found = np.zeros((-(-len(values) // step), values.shape[1]))
    for start in range(step):
        part = values[start::step]
        found[: len(part)] += part
    return found


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
