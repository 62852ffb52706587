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
    rows, length = x.shape
    out, max_at = np.zeros((5, rows)), np.zeros(rows, np.int64)
    if x.size:
        given = (carrier(x), code(name_of(x.dtype)), y)
        _core.error_sums(*given, rows, length, out, max_at, resolve(num_threads))
    return ErrorSums._make([*out, max_at])


def weighed_error(
    x: Array, y: Array, importance: Array, *, num_threads: int | None = None
) -> Array:
    """`bitmill.reference.weighed_error`, fast."""
    x, y, importance = _arguments.weighed_error(x, y, importance)
    rows, length = x.shape
    out = np.zeros(rows)
    if x.size:
        by_row = importance.shape[0] == rows
        given = (carrier(x), code(name_of(x.dtype)), y, importance, by_row)
        _core.weighed_error(*given, rows, length, out, resolve(num_threads))
    return out
