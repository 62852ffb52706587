# SPDX-License-Identifier: MIT
"""Codes and packed codes as layouts take them."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array


def integers(x: Any, name: str, allowed: tuple[str, ...], remedy: str) -> Array:
    """`x` as a C-contiguous native array, if it is an array of one of the `allowed` dtypes."""
    _check.unmasked(x, name)
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} is a {type(x).__name__}; wanted a NumPy array")
    if x.dtype.name not in allowed:
        raise TypeError(f"{name} has dtype {x.dtype}; wanted {' or '.join(allowed)}: {remedy}")
    if x.ndim == 0:
        raise ValueError(f"{name} has 0 dimensions; at least 1 is needed: np.atleast_1d({name})")
    return np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("="))
