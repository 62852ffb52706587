# SPDX-License-Identifier: MIT
"""Counts of what happened to affine weights: groups of zeros, and values beyond the last code."""

from __future__ import annotations

from functools import partial

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array
from bitmill._results import Params, Range, each_param
from bitmill.grid import CodeRange, Grid, View

_LEAST_NORMAL = {"float32": 2.0**-126, "bfloat16": 2.0**-126, "float16": 2.0**-14}
_CHUNK = 1 << 16  # values whose codes are compared at a time: each may take 60 bytes meanwhile


def is_plain(scale: Array, grid: Grid) -> bool:
    """Whether the scales that `grid` gives to whole ranges tell that there is nothing to count.

    By the rule absmax / qmax, a scale of 1 may stand for a group of zeros, no other does. A scale
    that its dtype holds to 2^-9 of its value, as bfloat16 holds all but subnormal ones, divides no
    value of its group to more than qmax + 1/2, for a qmax of up to 127.
    """
    if grid.rule != "absmax" or grid.qmax > 127:
        return False
    least, one = (scale.dtype.type(value) for value in (_LEAST_NORMAL[grid.scales], 1))
    return bool((scale >= least).all() and (scale != one).all())


def zero_groups(seen: Range) -> int:
    """Groups whose values are all 0, by their ranges."""
    return int(np.count_nonzero((seen.min.view(np.int32) | seen.max.view(np.int32)) == 0))


def may_clip(seen: Range, params: Params, limits: CodeRange) -> bool:
    """Whether a value of any group can be beyond the codes: whether an end of its range is."""
    return bool(_beyond(seen.min, params, limits).any() or _beyond(seen.max, params, limits).any())


def clipped(x: Array, codes: Array, params: Params, view: View, limits: CodeRange) -> int:
    """Values of `x` whose code would lie beyond the least or greatest one, were it not clamped.

    Only those at the ends can be.
    """
    values, found = x.reshape(-1), codes.reshape(-1)
    flat = each_param(lambda p: view.spread(p).reshape(-1), params)
    count = 0
    for start in range(0, found.size, _CHUNK):
        part = found[start : start + _CHUNK]
        at = start + np.flatnonzero((part == limits.qmin) | (part == limits.qmax))
        own = each_param(partial(np.take, indices=view.param_of(at)), flat)
        count += int(np.count_nonzero(_beyond(kernels.to_float32(values[at]), own, limits)))
    return count


def _beyond(x: Array, params: Params, limits: CodeRange) -> Array:
    """Where rint((x − offset) / scale) + zero_point < qmin or > qmax, each with its parameters."""
    scale, zero_point, offset = params
    if offset is not None:
        x = x - offset.astype(np.float32)
    with np.errstate(over="ignore"):  # an infinite quotient is beyond every code
        code = np.rint(x / scale.astype(np.float32)).astype(np.float64)
    if zero_point is not None:
        code += zero_point
    return (code < limits.qmin) | (code > limits.qmax)
