# SPDX-License-Identifier: MIT
"""Single parameters as their dtype stores them, and the values next to these."""

from __future__ import annotations

import numpy as np

from bitmill._dtypes import dtype
from bitmill.reference.convert import from_float32, to_float32


def stored(value: float, scales: str) -> float:
    """`value` rounded to float32, then to the dtype `scales`; zero is +0.0."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = np.array([value]).astype(np.float32)
        return float(to_float32(from_float32(rounded, scales))[0]) + 0.0


def smallest(scales: str) -> float:
    """The least positive number of that dtype."""
    to = dtype(scales)
    return float(np.array(1, f"uint{8 * to.itemsize}").view(to).astype(np.float32))


def neighbours(value: float, scales: str) -> list[float]:
    """The numbers of that dtype next below and above a `value` of it; both zeros count as one."""
    to = dtype(scales)
    kind, positive = (np.int32, 0x7FFFFFFF) if to.itemsize == 4 else (np.int16, 0x7FFF)
    bits = int(np.array(value, to).view(kind))
    key = bits if bits >= 0 else bits ^ positive  # integers in the order of the values
    keys = [key - 1, key + 1]
    near = np.array([k if k >= 0 else k ^ positive for k in keys], kind).view(to)
    return [float(v) + 0.0 for v in near.astype(np.float32)]
