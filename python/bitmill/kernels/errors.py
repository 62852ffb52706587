# SPDX-License-Identifier: MIT
"""Error sums in a fixed order of additions."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments, _core
from bitmill._dtypes import Array, carrier, code, name_of
from bitmill._results import ErrorSums, each_param
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


def affine_error(
    x: Array,
    scale: Array,
    zero_point: Array | None = None,
    offset: Array | None = None,
    *,
    qmin: int,
    qmax: int,
    group_size: int | None = None,
    num_threads: int | None = None,
) -> Array:
    """`bitmill.reference.affine_error`, fast: no code is written."""
    x, params, size = _arguments.affine_error(
        x, (scale, zero_point, offset), qmin, qmax, group_size
    )
    rows, length = x.shape
    out = np.zeros(rows)
    if x.size:
        quantizer = (qmin, qmax, 0, code(name_of(params[0].dtype)), 0)
        _core.affine_error(
            quantizer, carrier(x), code(name_of(x.dtype)), rows, length,
            min(size or length, length), *each_param(carrier, params), out, resolve(num_threads),
        )  # fmt: skip
    return out


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
