# SPDX-License-Identifier: MIT
"""How many of their codes quantized values use, and how evenly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitmill._dtypes import Array

_BLOCK = 1 << 16  # codes counted at a time: as int64, which bincount makes of them, they fit in L2


class CodeUsage(NamedTuple):
    """Of each row of codes."""

    levels: Array
    """int64: distinct codes."""
    entropy: Array
    """float64: −Σ p·log2(p) over the shares p of the codes, in bits."""


def code_usage(codes: Array) -> CodeUsage:
    """How the rows of a matrix of codes, integers of one or two bytes, use them.

    The entropy passes through log2.

    >>> code_usage(np.array([[-1, 0, 0, 1], [5, 5, 5, 5]], np.int8))
    CodeUsage(levels=array([3, 1]), entropy=array([1.5, 0. ]))
    """
    counts = [_counts(row) for row in codes.view(f"u{codes.itemsize}")]
    levels = np.array([np.count_nonzero(count) for count in counts], np.int64)
    return CodeUsage(levels, np.array([_entropy(count) for count in counts], np.float64))


def _counts(codes: Array) -> Array:
    """How often each code comes, of all that there may be."""
    bins = 1 << 8 * codes.itemsize
    total = np.zeros(bins, np.int64)
    for start in range(0, codes.size, _BLOCK):
        total += np.bincount(codes[start : start + _BLOCK], minlength=bins)
    return total


def _entropy(counts: Array) -> float:
    used = counts[counts > 0]
    shares = used / used.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # not −0.0 where all are equal
