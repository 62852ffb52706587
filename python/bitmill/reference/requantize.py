# SPDX-License-Identifier: MIT
"""Sums of integer products to codes, in integers alone (1712.05877, 2.2).

A real factor M = scale_x·scale_w / scale_y comes as multiplier·2^(shift − 31), a multiplier of 31
bits and a shift. The product of an int32 and the multiplier fits 64 bits; rounding takes it back.
"""

from __future__ import annotations

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array

INT32 = np.iinfo(np.int32)


def requantize(
    acc: Array,
    multiplier: Array,
    shift: Array,
    zero_point: int = 0,
    *,
    qmin: int,
    qmax: int,
    rounding: str = "single",
    dtype_name: str = "int8",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Codes of `acc` [M, N], a factor for each column: int8 or uint8 [M, N].

        y = clamp(round(acc · multiplier·2^(shift − 31)) + zero_point, qmin, qmax)

    `acc`, `multiplier` [N] and `shift` [N] are int32; a multiplier is 0 or 2^30 … 2^31 − 1, a shift
    −31 … 30: what `bitmill.integer.quantize_multiplier` gives. The zero-point, `qmin` and `qmax`
    are codes of `dtype_name`; a ReLU is qmin = zero_point. How `rounding` rounds:

    - "single": once, halves up.
    - "double": as TensorFlow Lite and gemmlowp do, which differs from shift −1 down. First to
      whole numbers of 2^(−shift), halves up (`high_multiply`), then these to the nearest code,
      halves away from zero (`divide_by_power`). So 0.25 becomes 1.

    >>> acc, m, shift = np.int32([[3, -3, 1]]), np.full(3, 1 << 30, np.int32), np.int32([0, 0, -1])
    >>> requantize(acc, m, shift, qmin=-128, qmax=127)  # 3/2, −3/2, 1/4
    array([[ 2, -1,  0]], dtype=int8)
    >>> requantize(acc, m, shift, qmin=-128, qmax=127, rounding="double")
    array([[ 2, -1,  1]], dtype=int8)
    """
    given = acc, multiplier, shift, zero_point, qmin, qmax, rounding, dtype_name
    out = _arguments.requantize(*given, out)
    out[...] = np.clip(rescale(acc, multiplier, shift, rounding) + zero_point, qmin, qmax)
    return out


def rescale(acc: Array, multiplier: Array, shift: Array, rounding: str) -> Array:
    """round(acc · multiplier·2^(shift − 31)) in int64, before zero-points and limits.

    >>> rescale(np.int32([1000]), np.int32([1 << 30]), np.int32([2]), "single")
    array([2000])
    """
    exponent = shift.astype(np.int64)
    product = acc.astype(np.int64) * multiplier  # at most 2^62, as is half of the divisor
    once: Array = (product + (1 << (30 - exponent))) >> (31 - exponent)
    if rounding == "single":
        return once
    twice = divide_by_power(high_multiply(acc, multiplier), np.maximum(-shift, 0))
    return np.where(shift < 0, twice, once)


def high_multiply(a: Array, b: Array) -> Array:
    """floor((a·b + 2^30) / 2^31) of int32, in int32; −2^31 times itself gives 2^31 − 1.

    gemmlowp's SaturatingRoundingDoublingHighMul, whose nudge and truncation come to the same.

    >>> high_multiply(np.int32([3, -3, INT32.min]), np.int32([1 << 30, 1 << 30, INT32.min]))
    array([         2,         -1, 2147483647], dtype=int32)
    """
    high = (a.astype(np.int64) * b + (1 << 30)) >> 31
    limited: Array = np.minimum(high, INT32.max).astype(np.int32)
    return limited


def divide_by_power(x: Array, exponent: Array) -> Array:
    """x / 2^exponent of int32, to nearest, halves away from zero; exponents 0 … 31.

    gemmlowp's RoundingDivideByPOT.

    >>> divide_by_power(np.int32([3, -3, 5, -5, 7]), np.int32([1, 1, 2, 2, 0]))
    array([ 2, -2,  1, -1,  7], dtype=int32)
    """
    mask = (np.int64(1) << exponent) - 1
    above = (x & mask) > (mask >> 1) + (x < 0)
    nearest: Array = ((x >> exponent) + above).astype(np.int32)
    return nearest
