# SPDX-License-Identifier: MIT
"""Counts of what happened to affine weights: groups of zeros, and values beyond the last code."""

from __future__ import annotations

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array
from bitmill._results import Params, each_param
from bitmill.clip import ranges
from bitmill.grid import CodeRange, View

_CHUNK = 1 << 22  # values whose codes are compared at a time


def zero_groups(x: Array, scale: Array, view: View, *, num_threads: int | None = None) -> int:
    """Groups of `x` whose values are all 0; those have the scale 1, and are told by it first."""
    ones = scale == 1
    if not ones.any():
        return 0
    largest = ranges(x, view, magnitude=True, num_threads=num_threads).max
    return int(np.count_nonzero(ones & (largest.view(np.int32) == 0)))


def clipped(x: Array, codes: Array, params: Params, view: View, limits: CodeRange) -> int:
    """Values of `x` whose code would lie beyond the least or greatest one, were it not clamped.

    rint((x − offset) / scale) + zero_point < qmin or > qmax. Only those at the ends can be.
    """
    values, found = x.reshape(-1), codes.reshape(-1)
    scale, zero_point, offset = each_param(lambda p: view.spread(p).reshape(-1), params)
    count = 0
    for start in range(0, found.size, _CHUNK):
        part = found[start : start + _CHUNK]
        at = start + np.flatnonzero((part == limits.qmin) | (part == limits.qmax))
        group = _param_of(at, view)
        shifted = kernels.to_float32(values[at])
        if offset is not None:
            shifted = shifted - offset[group].astype(np.float32)
        with np.errstate(over="ignore"):  # an infinite quotient is beyond every code
            code = np.rint(shifted / scale[group].astype(np.float32)).astype(np.float64)
        if zero_point is not None:
            code += zero_point[group]
        count += int(np.count_nonzero((code < limits.qmin) | (code > limits.qmax)))
    return count


def _param_of(at: Array, view: View) -> Array:
    """Which parameters belong to the values at these places of the tensor."""
    row, column = np.divmod(at, view.matrix[1])
    if view.columns:
        return column
    if view.group_size is None:
        return row
    per_row = -(-view.matrix[1] // view.group_size)
    found: Array = row * per_row + column // view.group_size
    return found
