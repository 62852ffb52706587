# SPDX-License-Identifier: MIT
"""Products that are added without being rounded first, as fused multiply-adds do it."""

from __future__ import annotations

import numpy as np

from bitmill._dtypes import Array


def add_product(total: Array, a: Array, b: Array) -> Array:
    """total + a·b, rounded to float32 once, of float32 arrays that are broadcast.

    A product of two float32 is exact in float64. Its sum with `total` is not; what rounding took is
    (TwoSum), and where it took anything, the last bit is made odd. That tells which side of a tie
    the exact sum is on, so that rounding again, to float32, gives what rounding once would: float64
    has more than two bits more (Boldo and Melquiond, "Emulation of a FMA and correctly rounded
    sums", 2008).

    >>> a, b = np.float32([1 - 2**-23]), np.float32([2**-24 * (1 + 2**-23)])
    >>> total = np.float32([1 + 2**-23])  # a·b is just below half of its last bit
    >>> add_product(total, a, b) == total
    array([ True])
    >>> np.float32(total + np.multiply(a, b, dtype=np.float64)) == total  # rounded twice
    array([False])
    """
    with np.errstate(invalid="ignore", over="ignore"):  # infinities, as sums of float32 have them
        product = np.multiply(a, b, dtype=np.float64)
        rounded = product + total
        part = rounded - product
        rest = (product - (rounded - part)) + (total - part)
        even = rounded.view(np.int64) % 2 == 0
        beside = np.nextafter(rounded, np.copysign(np.inf, rest))
        return np.where(even & (np.abs(rest) > 0), beside, rounded).astype(np.float32)
