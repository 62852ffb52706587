# SPDX-License-Identifier: MIT
"""Tables of values as kernels search them: in order, with the thresholds between neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitmill._dtypes import Array


class Lookup(NamedTuple):
    """Tables [T, n] of float32 values, each with its thresholds [T, n − 1] and its order [T, n].

    The nearest value to q, and of two equally near ones the lower, is that of code order[r], where
    r is the number of thresholds below q. `order` sorts the values; of equal ones it keeps the
    order of their codes.
    """

    values: Array
    thresholds: Array
    order: Array


def lookup(values: Array) -> Lookup:
    """What belongs to tables of finite float32 values, [T, n].

    A threshold is the midpoint of two neighbours, rounded to float32: up or down, as bitsandbytes
    has them, whose FP4 has midpoints on which quotients of bfloat16 weights often lie.

    >>> made = lookup(np.array([[0.0, 1.0, -3.0]], np.float32))
    >>> made.order.tolist(), made.thresholds.tolist()
    ([[2, 0, 1]], [[-1.5, 0.5]])
    """
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1).astype(np.float64)
    midpoint = (ordered[:, :-1] + ordered[:, 1:]) / 2
    return Lookup(values, midpoint.astype(np.float32), order.astype(np.uint8))


def padded(given: Lookup) -> Lookup:
    """The same for 16 or 256 codes, as kernels take them; codes without a value get the last one.

    `order` becomes int32. There is one threshold more, infinity, than there is room between codes.
    """
    count = given.values.shape[1]
    more = ((0, 0), (0, (16 if count <= 16 else 256) - count))
    behind = (more[0], (0, more[1][1] + 1))
    return Lookup(
        np.pad(given.values, more, mode="edge"),
        np.pad(given.thresholds, behind, constant_values=np.float32(np.inf)),
        np.pad(given.order.astype(np.int32), more, mode="edge"),
    )


def largest(values: Array) -> np.float32:
    """The value of largest magnitude of a table; of two such, the positive one.

    >>> largest(np.array([-127, 0, 113], np.float32))
    np.float32(-127.0)
    """
    low, high = values.min(), values.max()
    return np.float32(high if high >= -low else low)
