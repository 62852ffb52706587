# SPDX-License-Identifier: MIT
"""Arguments of transformations: float32 values, finite, of a shape that fits."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array


def finite(given: Any, name: str) -> Array:
    """`given` as a float32 array; raises for NaN, infinity and what overflows float32."""
    x = _check.array(given, name)
    values = kernels.to_float32(x)
    if not np.isfinite(values).all():
        raise _check.nonfinite_error(x, name)
    return values


def matrix(given: Any, name: str) -> Array:
    """The same, with two dimensions."""
    values = finite(given, name)
    if values.ndim != 2:
        raise ValueError(f"{name} has shape {values.shape}; wanted 2-D: [outputs, inputs]")
    return values


def vector(given: Any, name: str, length: int) -> Array:
    """The same, with so many entries."""
    values = finite(given, name)
    if values.shape != (length,):
        raise ValueError(f"{name} has shape {values.shape}; wanted {(length,)}")
    return values


def positive(given: Any, name: str, length: int) -> Array:
    """The same, all above 0."""
    values = vector(given, name, length)
    if not (values > 0).all():
        raise ValueError(f"{name} has values that are not above 0")
    return values


def still_finite(values: Array, what: str) -> Array:
    """`values`, unless some overflowed float32."""
    if not np.isfinite(values).all():
        raise ValueError(f"{what} overflows float32: use scales nearer to 1")
    return values
