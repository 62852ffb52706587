# SPDX-License-Identifier: MIT
"""Inputs where a kernel is not slowed by where they happen to lie."""

from __future__ import annotations

import numpy as np


def at_a_line(x: np.ndarray) -> np.ndarray:
    """A copy that starts at a cache line, as bitmill's own arrays do.

    NumPy's large arrays start 16 bytes after one, which costs all readers, the ceilings too, up to
    a quarter of their speed.
    """
    raw = np.empty(x.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    copy = raw[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy
