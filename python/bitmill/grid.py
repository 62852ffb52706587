# SPDX-License-Identifier: MIT
"""The integer grid, and how the groups that share a scale lie over a tensor of any rank."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from bitmill._dtypes import Array
from bitmill._results import Grid
from bitmill._sizes import group_count

__all__ = ["Axis", "CodeRange", "Grid", "View", "channel_axis", "code_range", "rows_of", "view"]

Axis = int | str | None


class CodeRange(NamedTuple):
    """The codes of a grid: every integer from qmin to qmax."""

    qmin: int
    qmax: int


def code_range(bits: int, *, symmetric: bool, narrow: bool = False) -> CodeRange:
    """Signed codes around 0 if symmetric (without the least one if narrow), else 0 … 2^bits − 1.

    >>> code_range(4, symmetric=True), code_range(4, symmetric=False)
    (CodeRange(qmin=-8, qmax=7), CodeRange(qmin=0, qmax=15))
    """
    if not symmetric:
        return CodeRange(0, (1 << bits) - 1)
    qmax = (1 << bits - 1) - 1
    return CodeRange(-qmax if narrow else -qmax - 1, qmax)


def rows_of(x: Array) -> Array:
    """`x` as a matrix whose rows run along its last axis."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


class View(NamedTuple):
    """A tensor as the kernels see it, and its parameters as the user sees them.

    `matrix` is the 2-D shape that the tensor is reshaped to; if `whole_rows`, its rows are those of
    the tensor. Parameters are one per group of `group_size` along each row (None: one per row), or,
    if `columns`, one per column. The same ones come `repeats` times down the rows, which happens
    when a channel axis has other axes before it. `params` is their shape beside the tensor.
    """

    matrix: tuple[int, int]
    params: tuple[int, ...]
    group_size: int | None = None
    whole_rows: bool = False
    columns: bool = False
    repeats: int = 1

    def spread(self, values: Array) -> Array:
        """Parameters as the kernels take them: per row and group, or per column."""
        if self.columns:
            return values.reshape(-1)
        groups = group_count(self.matrix[1], self.group_size)
        flat = values.reshape(-1)
        if self.repeats != 1:
            flat = np.tile(flat, self.repeats)
        return flat.reshape(self.matrix[0], groups)

    def param_of(self, at: Array) -> Array:
        """Which of the parameters of `spread`, laid flat, belong to the values at these places."""
        row, column = np.divmod(at, self.matrix[1])
        if self.columns:
            return column
        groups = group_count(self.matrix[1], self.group_size)
        found: Array = row * groups + (column // self.group_size if self.group_size else 0)
        return found


@lru_cache(maxsize=1024)
def view(shape: tuple[int, ...], axis: Axis, group_size: int | None) -> View:
    """How a tensor of this shape is cut: per row or group ("row"), per tensor (None), per channel.

    >>> view((64, 3, 3, 3), 0, None).matrix
    (64, 27)
    >>> view((64, 300), "row", 128).params
    (64, 3)
    """
    if axis == "row":
        matrix = (math.prod(shape[:-1]), shape[-1])
        params = (*shape[:-1], group_count(shape[-1], group_size))
        return View(matrix, params, group_size, whole_rows=True)
    if axis is None:
        return View((1, math.prod(shape)), (1,) * len(shape))
    kept = channel_axis(axis, len(shape))
    outer, inner = math.prod(shape[:kept]), math.prod(shape[kept + 1 :])
    params = tuple(n if k == kept else 1 for k, n in enumerate(shape))
    if inner == 1:
        return View((outer, shape[kept]), params, columns=True)
    return View((outer * shape[kept], inner), params, repeats=outer)


def channel_axis(axis: Any, ndim: int) -> int:
    """`axis` counted from the front, for a tensor of `ndim` axes."""
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis={axis} is out of range for {ndim} dimensions")
    return int(axis) % ndim
