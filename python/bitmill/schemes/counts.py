# SPDX-License-Identifier: MIT
"""Counts of what happened to affine weights: groups of zeros, and values beyond the last code."""

from __future__ import annotations

from operator import itemgetter

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array, name_of
from bitmill._results import Params, Range, each_param
from bitmill._sizes import zero_point_dtype
from bitmill.grid import CodeRange, Grid, View

_LEAST_NORMAL = {"float32": 2.0**-126, "bfloat16": 2.0**-126, "float16": 2.0**-14}
_CHUNK = 1 << 20  # values whose codes are compared at a time


def is_plain(scale: Array, grid: Grid) -> bool:
    """Whether the scales that `grid` gives to whole ranges tell that there is nothing to count.

    By the rule absmax / qmax, a scale of 1 may stand for a group of zeros, no other does. A scale
    that its dtype holds to 2^-9 of its value, as bfloat16 holds all but subnormal ones, divides no
    value of its group to more than qmax + 1/2, for a qmax of up to 127.
    """
    return grid.rule == "absmax" and grid.qmax <= 127 and are_usual(scale)


def are_usual(scale: Array) -> bool:
    """Whether no scale is 1, as those of zeros are, or has fewer digits than its dtype allows."""
    least, one = (scale.dtype.type(value) for value in (_LEAST_NORMAL[name_of(scale.dtype)], 1))
    return bool((scale >= least).all() and (scale != one).all())


def zero_groups(seen: Range) -> int:
    """Groups whose values are all 0, by their ranges."""
    return int(np.count_nonzero((seen.min.view(np.int32) | seen.max.view(np.int32)) == 0))


def may_clip(seen: Range, params: Params, limits: CodeRange) -> bool:
    """Whether a value of any group can be beyond the codes: whether an end of its range is."""
    return bool(_beyond(seen.min, params, limits).any() or _beyond(seen.max, params, limits).any())


def clipped(x: Array, params: Params, view: View, limits: CodeRange) -> int:
    """Values of `x` whose code would lie beyond the least or greatest one, were it not clamped.

    They are those that a code more at either end would be given to.
    """
    least, most = limits.qmin - 1, limits.qmax + 1
    matrix, spread = x.reshape(view.matrix), each_param(view.spread, params)
    if most - least > 65535:  # codes of 16 bits have no more room
        return _clipped_one_by_one(x, spread, view, limits)
    if spread[1] is not None:
        spread = (spread[0], spread[1].astype(zero_point_dtype(most)), None)
    step = max(1, _CHUNK // max(1, view.matrix[1]))
    count = 0
    for start in range(0, view.matrix[0], step):
        part = matrix[start : start + step]
        if view.columns:
            codes = kernels.column_encode(part, *spread, qmin=least, qmax=most)
        else:
            own = each_param(itemgetter(slice(start, start + step)), spread)
            codes = kernels.affine_encode(
                part, *own, qmin=least, qmax=most, group_size=view.group_size
            )
        count += int(np.count_nonzero(codes == least)) + int(np.count_nonzero(codes == most))
    return count


def _clipped_one_by_one(x: Array, spread: Params, view: View, limits: CodeRange) -> int:
    values, flat = x.reshape(-1), each_param(lambda p: p.reshape(-1), spread)
    count, step = 0, _CHUNK >> 4
    for start in range(0, values.size, step):
        at = np.arange(start, min(start + step, values.size))
        own = each_param(itemgetter(view.param_of(at)), flat)
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
