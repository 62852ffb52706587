# SPDX-License-Identifier: MIT
"""Scale and offset of a group by alternating fits from many starts, in 16 bits (`search`).

For given codes, scale and offset are a linear regression; for given scale and offset, the best
codes are the nearest ones. Each step lowers the error, and where it ends depends on the start.
"""

from __future__ import annotations

import numpy as np

from bitmill._dtypes import Array
from bitmill.reference.search import (
    FULL,
    LEAST,
    Fixed,
    Lanes,
    deviation,
    integer_sums,
    shift_for,
)
from bitmill.reference.sums import LEAST_SPREAD

ROUNDS, LONG_ROUNDS, LONG = 6, 24, 1024
"""Rounds at most, and those of groups of more than so many values, which take longer to settle."""
MID = (12, 0.5, 1.0775)
ENDS = (10, 0.55, 1.045)
"""How many scales at the start, from where to where, in units of (max − min) / qmax, have a range
with the middle of the data, or with the least or the greatest value. Long tails need smaller ones:
the least is at most that of `search.LEAST`."""


def search_offset(group: Fixed, qmax: int) -> tuple[float, float]:
    """Scale and offset for codes 0 … qmax of values whose largest magnitude is 32767 units.

    The offset is the value of code 2^(bits−1), in the middle for qmax = 2^bits − 1.
    """
    bits = qmax.bit_length()
    middle = 1 << bits - 1
    scale, offset = _starts(group, qmax, middle)
    lo = np.full(len(scale), -middle)
    shift = min(15 - bits, shift_for(float(FULL) * group.unit / float(scale.min())))
    n = float(len(group.x) if group.w is None else group.w.sum())
    x = float(group.wx.sum())
    best = np.zeros(len(scale))
    for _ in range(LONG_ROUNDS if len(group.x) > LONG else ROUNDS):
        times, plus = _multipliers(group.unit, scale, offset, shift)
        sums = integer_sums(group, Lanes(times, plus, lo, lo + qmax, shift), bits)
        xq, qq, q = (s.astype(np.float64) for s in sums)
        slope, spread = n * xq - q * x, n * qq - q * q
        valid = (spread > LEAST_SPREAD * (n * qq)) & (slope > 0)
        gain = np.divide(slope * slope, spread, out=np.zeros_like(spread), where=valid)
        better = gain > best
        if not better.any():
            break
        best = np.where(better, gain, best)
        fitted = group.ratio * np.divide(slope, spread, out=np.ones_like(spread), where=valid)
        scale = np.where(better, fitted, scale)
        offset = np.where(better, (group.ratio * x - scale * q) / n, offset)
    top = int(best.argmax())
    return float(scale[top]), float(offset[top])


def _starts(group: Fixed, qmax: int, middle: int) -> tuple[Array, Array]:
    """Scales and offsets, the latter as those of the middle code."""
    half = 32767 * group.unit
    widest = 2 * half / qmax
    low = LEAST[qmax.bit_length()] * deviation(group, about_mean=True) / widest
    low = max(low, 1 / 64)  # however long the tails are, and where all 12 bits are the same

    def scales(count: int, least: float, most: float) -> Array:
        least = min(least, low)
        made: Array = widest * (least + (most - least) / (count - 1) * np.arange(count))
        return made

    mid, end = scales(*MID), scales(*ENDS)
    offset = [(middle - 0.5 * qmax) * mid, middle * end - half, half - (qmax - middle) * end]
    return np.concatenate([mid, end, end]), np.concatenate(offset)


def _multipliers(unit: float, scale: Array, offset: Array, shift: int) -> tuple[Array, Array]:
    """`times` and `plus` of `Lanes` for codes (x − offset) / scale, rounded by way of float32."""
    u = 1 / scale
    times = np.rint(np.float32(2.0 ** (15 + shift) * unit * u))
    moved = np.float32((1 << shift - 1 if shift else 0) - 2.0**shift * offset * u)
    plus = np.clip(np.rint(moved), -FULL, FULL)
    return np.minimum(times, FULL).astype(np.int64), plus.astype(np.int64)
