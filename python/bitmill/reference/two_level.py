# SPDX-License-Identifier: MIT
"""Scales and offsets of groups as few bits each, with a step that a super-block of them shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array, dtype
from bitmill._results import TwoLevelParams
from bitmill.reference.convert import to_float32
from bitmill.reference.stored import smallest, stored
from bitmill.reference.sums import Values, error, telling
from bitmill.reference.sums import codes as nearest

NEAR = (0, -1, 1)
"""What is added to the nearest code of a scale and of an offset, in this order."""


class Step(NamedTuple):
    """The value of one code, and the largest code."""

    value: float
    top: int

    def code(self, value: float) -> int:
        """The nearest code from 0 to the largest."""
        return int(np.clip(np.rint(value / self.value), 0, self.top))

    def value_of(self, code: int) -> float:
        """The product in float32."""
        return float(np.float32(self.value * code))


def two_level_params(
    x: Array,
    scale: Array,
    zero_point: Array | None = None,
    offset: Array | None = None,
    importance: Array | None = None,
    *,
    qmin: int,
    qmax: int,
    bits: int,
    signed: bool,
    super_groups: int,
    scales: str = "float16",
    group_size: int | None = None,
    num_threads: int | None = None,
) -> TwoLevelParams:
    """Codes of `bits` bits for scale and offset (float32) of each group of `x` [R, C], finite.

    scale ≈ super_scale·code and offset ≈ super_offset·code, each with one step, stored as `scales`,
    for `super_groups` groups of a row. Codes of scales are 1 … 2^bits − 1, or if `signed`
    ±1 … ±(2^(bits−1) − 1); 0 stands for a scale of 0, of a group whose values all have code 0.
    Codes of offsets are 0 … 2^bits − 1: the step has the sign of the offset that lies furthest
    from 0 (of two, the negative one), and offsets of the other sign become 0.

    A step is the largest magnitude over the largest code, rounded to `scales`; where all are 0 it
    is 1. Of the nearest code and its neighbours, for scale and offset together, those are taken
    whose error Σw·(x − x̂)² is least, with the nearest codes for what is stored; w is `importance`,
    as for `mse_params`. `overflowed` counts super-blocks with a step that is not finite,
    `underflowed` those whose step of the scales was raised to the smallest positive number.
    """
    x, (scale, zero_point, offset), importance, size = _arguments.two_level_params(
        x, (scale, zero_point, offset), importance, (qmin, qmax), (bits, signed, super_groups),
        scales, group_size,
    )  # fmt: skip
    made = _empty(scale.shape, super_groups, scales, signed=signed, offset=offset is not None)
    overflowed = underflowed = 0
    values = to_float32(x)
    for row, part, block in _super_blocks(scale.shape, super_groups):
        step, raised = _step(np.abs(scale[row, part]), (1 << bits - signed) - 1, scales)
        underflowed += raised
        offset_step = Step(1.0, 0)
        if offset is not None and made.super_offset is not None:
            offset_step, _ = _step(offset[row, part], (1 << bits) - 1, scales)
            made.super_offset[row, block] = offset_step.value
        made.super_scale[row, block] = step.value
        if not np.isfinite(step.value + offset_step.value):
            overflowed += 1
            continue
        for g in range(part.start, part.stop):
            span = slice(None) if size is None else slice(g * size, (g + 1) * size)
            weights = None if importance is None else importance[row % len(importance), span]
            z = 0 if zero_point is None else int(zero_point[row, g])
            m = 0.0 if offset is None else float(offset[row, g])
            weights = telling(weights, values[row, span], offset=offset is not None)
            group, range_ = Values.of(values[row, span], weights), (qmin - z, qmax - z)
            code, offset_code = _best(group, float(scale[row, g]), m, step, offset_step, range_)
            made.scale[row, g] = code
            if made.offset is not None:
                made.offset[row, g] = offset_code
    return made._replace(overflowed=overflowed, underflowed=underflowed)


def _super_blocks(shape: tuple[int, ...], groups: int) -> Iterator[tuple[int, slice, int]]:
    """Row, groups and index of every super-block; the last of a row may be short."""
    for row in range(shape[0]):
        for block in range(-(-shape[1] // groups)):
            yield row, slice(block * groups, min((block + 1) * groups, shape[1])), block


def _empty(
    shape: tuple[int, ...], groups: int, scales: str, *, signed: bool, offset: bool
) -> TwoLevelParams:
    codes = np.zeros(shape, np.int8 if signed else np.uint8)
    steps = np.zeros((shape[0], -(-shape[1] // groups)), dtype(scales))
    if not offset:
        return TwoLevelParams(codes, steps, None, None, 0, 0)
    return TwoLevelParams(codes, steps, np.zeros(shape, np.uint8), steps.copy(), 0, 0)


def _step(values: Array, top: int, scales: str) -> tuple[Step, bool]:
    """The step for the value that lies furthest from 0, and whether it was raised."""
    lo, hi = float(values.min()), float(values.max())
    most = hi if hi > -lo else lo
    if most == 0:
        return Step(1.0, top), False
    value = stored(most / top, scales)
    if value == 0:
        return Step(float(np.copysign(smallest(scales), most)), top), True
    return Step(value, top), False


def _best(
    group: Values, scale: float, offset: float, step: Step, offset_step: Step, span: tuple[int, int]
) -> tuple[int, int]:
    """The codes of least error for the scale and the offset of a group."""
    sign = -1 if scale < 0 else 1
    code, offset_code = max(step.code(sign * scale), 1), offset_step.code(offset)
    if scale == 0:
        return 0, offset_code
    best, least = (sign * code, offset_code), np.inf
    for a in (code + near for near in NEAR):
        for b in (offset_code + near for near in NEAR):
            if not (1 <= a <= step.top and 0 <= b <= offset_step.top):
                continue
            s, m = np.array([sign * step.value_of(a)]), np.array([offset_step.value_of(b)])
            q = nearest(group.x - m, 1 / s, *span)
            found = float(error(group, q, s, m)[0])
            if found < least:
                best, least = (sign * a, b), found
    return best
