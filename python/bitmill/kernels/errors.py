# SPDX-License-Identifier: MIT
"""Error sums in a fixed order of additions."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments, _core
from bitmill._dtypes import Array, carrier, code, name_of
from bitmill._results import ErrorSums
from bitmill._threads import resolve


def error_sums(x: Array, y: Array, *, num_threads: int | None = None) -> ErrorSums:
    """`bitmill.reference.error_sums`, fast."""
    x, y = _arguments.error_sums(x, y)
    out = np.zeros((5, x.shape[0]))
    if x.size:
        rows, length = x.shape
        _core.error_sums(
            carrier(x), code(name_of(x.dtype)), y, rows, length, out, resolve(num_threads)
        )
    return ErrorSums._make(out)
