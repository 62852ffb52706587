# SPDX-License-Identifier: MIT
"""k-means in one dimension."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from bitmill import _check
from bitmill._arguments.shared import (
    codes_for,
    row_importance,
)
from bitmill._dtypes import Array
from bitmill._sizes import (
    group_count,
)

MAX_CLUSTERS = 4096
"""Of `kmeans_edges`."""


def pinned_values(k: int) -> int:
    """How many values may have k clusters of which one is that of 0: they take memory for each.

    >>> pinned_values(16), pinned_values(4096)
    (65535, 16384)
    """
    return min(65535, (1 << 26) // k)


def kmeans_edges(
    values: Any, weights: Any, k: Any, pin_zero: Any
) -> tuple[Array, Array | None, int, bool]:
    """values, weights, k, pin_zero."""
    values = _check.matrix(values, "values", ("float64",))
    if values.shape[1] == 0:
        raise ValueError(f"values has shape {values.shape}: rows without values have no clusters")
    if not (np.abs(values) <= 2.0**128).all() or (values[:, 1:] < values[:, :-1]).any():
        raise ValueError(
            "values are not finite float32 in ascending order: np.sort(values, axis=1)"
        )
    if weights is not None:
        _check.shaped(weights, "weights", values.shape, ("float64",))
        if not ((weights >= 0) & (weights <= 2.0**64)).all():
            raise ValueError("weights are not all from 0 to 2^64: divide them by their maximum")
    k = _check.integer(k, "k", low=1, high=MAX_CLUSTERS)
    pin_zero, length = _check.flag(pin_zero, "pin_zero"), values.shape[1]
    if pin_zero and length > pinned_values(k):
        raise ValueError(f"pin_zero with k={k} takes at most {pinned_values(k)} values")
    return values, weights, k, pin_zero


def value_counts(x: Any, weights: Any) -> tuple[Array, Array | None]:
    """x, weights [R or 1, C]."""
    x = _check.matrix(x, "x", ("float16", "bfloat16"))
    return x, row_importance(weights, x, "weights")


def distinct_values(x: Any, weights: Any) -> tuple[Array, Array | None]:
    """x, weights [R or 1, C]."""
    x = _check.matrix(x, "x", ("float32",))
    return x, row_importance(weights, x, "weights")


def bucket_sums(
    x: Any, slots: Any, shift: Any, weights: Any
) -> tuple[Array, int, int, Array | None]:
    """x, shift, how many buckets there are, weights [R or 1, C]."""
    x = _check.matrix(x, "x", ("float32",))
    shift = _check.integer(shift, "shift", low=0, high=16)
    _check.shaped(slots, "slots", (65536,), ("int32",))
    buckets = max(0, int(slots.max()) + (65536 >> shift))
    return x, shift, buckets, row_importance(weights, x, "weights")


def assign_codes(
    x: Any, thresholds: Any, rows_per_table: Any, bits: Any, out: Any
) -> tuple[Array, Array, int, Array]:
    """x, thresholds, rows per table, out."""
    x = _check.matrix(x, "x")
    thresholds = _check.matrix(thresholds, "thresholds", ("float32",))
    per_table = max(1, x.shape[0])
    if rows_per_table is not None:
        per_table = _check.integer(rows_per_table, "rows_per_table", low=1, high=sys.maxsize)
    tables = group_count(x.shape[0], per_table)
    if thresholds.shape[0] != tables or thresholds.shape[1] > 65535:
        raise ValueError(
            f"thresholds has shape {thresholds.shape}; wanted {tables} rows of at most 65535"
        )
    if np.isnan(thresholds).any() or (thresholds[:, 1:] < thresholds[:, :-1]).any():
        raise ValueError("thresholds are not in ascending order: np.sort(thresholds, axis=1)")
    return x, thresholds, per_table, codes_for(x, 0, thresholds.shape[1], bits, out, (thresholds,))
