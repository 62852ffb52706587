# SPDX-License-Identifier: MIT
"""How many groups, words and values there are, and which integers hold codes and zero-points."""

from __future__ import annotations

from typing import Any

import numpy as np

MOST_DISTINCT = 1 << 16
"""So many different float32 values are told apart, counted and clustered one by one."""


def group_count(length: int, size: int | None) -> int:
    """Number of groups in a row of `length`; the last may be short. None is one group per row.

    >>> group_count(300, 128), group_count(300, None), group_count(0, 128)
    (3, 1, 0)
    """
    return 1 if size is None else -(-length // size)


def word_count(length: int, bits: int) -> int:
    """Number of uint32 words that a row of `length` codes takes.

    >>> word_count(100, 4)
    13
    """
    return -(-length * bits // 32)


def code_dtype(qmin: int, qmax: int) -> np.dtype[Any]:
    """Smallest integer dtype for unpacked codes: signed where qmin < 0, one byte up to 256 codes.

    >>> code_dtype(-8, 7), code_dtype(0, 65535)
    (dtype('int8'), dtype('uint16'))
    """
    kind = "i" if qmin < 0 else "u"
    return np.dtype(f"{kind}{1 if qmax - qmin <= 255 else 2}")


def zero_point_dtype(qmax: int) -> np.dtype[Any]:
    """Dtype of zero-points, which lie in 0..qmax: one byte, two above 8 bits."""
    return np.dtype(np.uint8 if qmax <= 255 else np.uint16)


def divides_clusters(points: int, k: int) -> bool:
    """Whether k clusters of so many points are found by divide and conquer, not by a penalty.

    Each cluster costs it time, and 16 bits of memory per point (measured by bench/bench_kmeans.py).

    >>> divides_clusters(4096, 4), divides_clusters(4096, 16)
    (True, False)
    """
    return k <= 4 and points <= 65535


def nibble_tiles_shape(rows: int, length: int) -> tuple[int, int, int, int]:
    """Shape of 4-bit codes laid out for products: panels of 16 rows, eights of columns.

    >>> nibble_tiles_shape(40, 9)
    (3, 2, 16, 4)
    """
    return -(-rows // 16), -(-length // 8), 16, 4


def dot_tiles_shape(rows: int, length: int) -> tuple[int, int, int, int]:
    """Shape of codes laid out for integer dot products: panels of 16 rows, fours of columns.

    >>> dot_tiles_shape(40, 9)
    (3, 3, 16, 4)
    """
    return -(-rows // 16), -(-length // 4), 16, 4
