# SPDX-License-Identifier: MIT
"""Order statistics of rows.

Values are sorted by their bits, where NaN lies beyond infinity. float64 is rounded to float32
first.
"""

from __future__ import annotations

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array
from bitmill._results import OrderStatistics
from bitmill.reference.ranges import as_bits, ordered


def order_statistics(
    x: Array, rank: int, *, magnitude: bool = False, num_threads: int | None = None
) -> OrderStatistics:
    """The values of rank `rank` and of the next one in each row of `x` [R, C]: float32 [R].

    Ranks count from 0 in ascending order; beside the last one, `high` is `low`. With `magnitude`
    the values are those of |x|. −0.0 counts as +0.0. Rows that hold NaN or an infinity are counted.

    Raises ValueError for a rank that is not below C.
    """
    x, rank, magnitude = _arguments.order_statistics(x, rank, magnitude)
    bits = as_bits(x)
    nonfinite = int(((bits & 0x7FFFFFFF) > 0x7F7FFFFF).any(axis=1).sum())
    keys = ordered(bits & 0x7FFFFFFF if magnitude else bits)
    keys[keys == -1] = 0  # the key of -0.0
    keys.sort(axis=1)
    low, high = (keys[:, min(k, x.shape[1] - 1)] for k in (rank, rank + 1))
    return OrderStatistics(ordered(low).view(np.float32), ordered(high).view(np.float32), nonfinite)
