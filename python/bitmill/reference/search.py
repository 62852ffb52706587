# SPDX-License-Identifier: MIT
"""Good scales found quickly: many candidates are tried in integer arithmetic of 16 bits.

The values of a group are rounded to 16 bits once, relative to the largest; then codes and their
sums are exact integers. What is lost by that is far less than what the next candidate differs by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bitmill._dtypes import Array
from bitmill._results import Range
from bitmill.reference.sums import CodeSums
from bitmill.reference.sweep import Span, SpanScale

FULL = np.float32(32767)
LADDER = 32
"""Places on the ladder of scales; of some spans only every second or fourth is tried."""
ZOOM = 16
"""Scales that are tried around the best of the ladder."""
MOST = 1.15
"""The largest scale that is tried, in units of the one that clips nothing."""
LEAST = {1: 0.5, 2: 0.3, 3: 0.35, 4: 0.2, 5: 0.113, 6: 0.0625, 7: 0.034, 8: 0.0185}
"""The smallest one, in standard deviations: 0.6 of what is best for a normal distribution (0.3 at 2
bits)."""
STEPS = (
    (1.4142135623730951, 0.9888824684134271),
    (1.681792830507429, 0.9833701386785019),
    (2.0, 0.9778885363354327),
    (2.8284271247461903, 0.967016829644576),
    (4.0, 0.956265989496255),
    (8.0, 0.935121548815847),
    (16.0, 0.9144446426672516),
    (64.0, 0.8744523110597485),
    (256.0, 0.8362090045028373),
    (4096.0, 0.7646668443177352),
)
"""Ratios of the largest and the smallest scale of a ladder, and the factor from place to place."""


class Fixed(NamedTuple):
    """A group in 16 bits: the values by which codes are chosen, and w·x and w for the sums.

    `unit` is one step of the values, `ratio` one of Σwxq over one of Σwq.
    """

    x: Array
    wx: Array
    w: Array | None
    unit: float
    ratio: float

    @classmethod
    def of(cls, x: Array, importance: Array | None) -> Fixed:
        """Of float32 values that are not all zero, nor their products with the weights."""
        values, unit = _in_16_bits(x)
        if importance is None:
            return cls(values, values, None, unit, unit)
        products, product_unit = _in_16_bits(importance * x)
        weights, weight_unit = _in_16_bits(importance)
        return cls(values, products, weights, unit, product_unit / weight_unit)


def _in_16_bits(values: Array) -> tuple[Array, float]:
    most = np.abs(values).max()
    with np.errstate(over="ignore"):
        factor = np.minimum(FULL / most, np.finfo(np.float32).max)
    return np.rint(values * factor).astype(np.int64), float(most) / float(FULL)


class Lanes(NamedTuple):
    """Candidates: codes are clamp((((x·times + 2^14) >> 15) + plus) >> shift, lo, hi).

    That is x·times·2^−(15 + shift), rounded, for `plus` a half; all numbers have 16 bits, and the
    inner sum is saturated.
    """

    times: Array
    plus: Array
    lo: Array
    hi: Array
    shift: int


def integer_sums(group: Fixed, lanes: Lanes, bits: int) -> CodeSums:
    """The sums of every candidate; with weights, w·q is rounded to 16 bits before the next q."""
    x = group.x[:, None]
    shifted = (x * lanes.times + (1 << 14) >> 15) + lanes.plus
    q = np.clip(np.clip(shifted, -(1 << 15), (1 << 15) - 1) >> lanes.shift, lanes.lo, lanes.hi)
    xq = (group.wx[:, None] * q).sum(axis=0)
    if group.w is None:
        return CodeSums(xq, (q * q).sum(axis=0), q.sum(axis=0))
    w = group.w[:, None]
    rounded = w * (q << 15 - bits) + (1 << 14) >> 15
    return CodeSums(xq, (rounded * q).sum(axis=0) << bits, (w * q).sum(axis=0))


class Ladder(NamedTuple):
    """1/scale from the least up for one span, in units of 1/`scale`: float32."""

    scale: float
    rungs: Array
    step: float


def search_scale(
    group: Fixed, limits: Range, spans: Sequence[Span], bits: int, *, about_mean: bool
) -> SpanScale:
    """The least-squares scale for the best codes of a ladder for each span, and of those around it.

    `limits` are the least and the greatest value of the group.
    """
    low = LEAST[bits] * deviation(group, about_mean=about_mean)
    stride = _stride(len(spans), bits)
    ladders = [_ladder(limits, span, low, stride) for span in spans]
    full = float(FULL) * group.unit
    shift = min(shift_for(full / a.scale * float(a.rungs[-1]) / a.step) for a in ladders)
    times = np.concatenate([_times(group.unit, a.scale, shift) * a.rungs for a in ladders])
    index = [i for i in range(len(spans)) for _ in range(LADDER // stride)]
    gain, best, first = _best(group, times, [spans[i] for i in index], shift, bits)
    span, step = index[best], ladders[index[best]].step
    factors = [step + (1 / step - step) * (j / (ZOOM + 1)) for j in range(1, ZOOM + 1)]
    zoom = np.array(factors, np.float32)
    better, _, second = _best(group, times[best] * zoom, [spans[span]] * ZOOM, shift, bits)
    return SpanScale(span, group.ratio * (second if better > gain else first))


def _stride(spans: int, bits: int) -> int:
    """Steps from one scale that is tried to the next: fine codes and single spans want more."""
    if spans == 3:
        return 2
    return (2 if bits <= 4 else 1) * spans


def deviation(group: Fixed, *, about_mean: bool) -> float:
    """The standard deviation, or the root of the mean square, to 12 bits."""
    x = group.x * (1 << 11) + (1 << 14) >> 15
    n = len(x)
    mean = float(x.sum()) / n if about_mean else 0.0
    return float(np.sqrt(max(float((x * x).sum()) / n - mean * mean, 0.0))) * (16 * group.unit)


def _ladder(limits: Range, span: Span, low: float, stride: int) -> Ladder:
    highest, lowest = float(limits.max), float(limits.min)
    unclipped = max(highest / span.hi if span.hi else 0.0, lowest / span.lo if span.lo else 0.0)
    if unclipped <= 0:  # no code but 0 is of use: any scale
        unclipped = max(highest, -lowest)
    scale = MOST * unclipped
    step = next((step for ratio, step in STEPS if low * ratio >= scale), STEPS[-1][1])
    rung, rungs = 1.0, []
    for _ in range(LADDER):
        rungs.append(rung)
        rung /= step
    factor = step
    for _ in range(stride.bit_length() - 1):
        factor *= factor
    return Ladder(scale, np.array(rungs[::stride], np.float32), factor)


def shift_for(quotient: float) -> int:
    """Bits behind the point that 16 bits have left for the largest quotient x/scale."""
    return int(np.clip(15 - np.frexp(quotient)[1], 0, 14))


def _times(unit: float, scale: float, shift: int) -> np.float32:
    """What 1/scale is in `Lanes.times`, before it is rounded."""
    return np.float32(2.0 ** (15 + shift) * unit / scale)


def _best(
    group: Fixed, times: Array, spans: list[Span], shift: int, bits: int
) -> tuple[float, int, float]:
    """The greatest Σwxq² / Σwq², the first candidate that has it, and its Σwxq / Σwq²."""
    lo, hi = np.array(spans).T
    half = 1 << shift - 1 if shift else 0
    limited = np.minimum(np.rint(times), FULL).astype(np.int64)
    sums = integer_sums(group, Lanes(limited, np.full(len(lo), half), lo, hi, shift), bits)
    xq, qq = sums.xq.astype(np.float64), sums.qq.astype(np.float64)
    gain = np.divide(xq * xq, qq, out=np.zeros_like(xq), where=qq > 0)
    top = int(gain.argmax())
    return float(gain[top]), top, float(xq[top] / qq[top]) if qq[top] > 0 else 0.0
