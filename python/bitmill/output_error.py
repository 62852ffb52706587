# SPDX-License-Identifier: MIT
"""The error of a layer's outputs, by the activations that it sees or their Hessian."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array

_BLOCK = 1 << 20  # values that are float64 at a time


class OutputSums(NamedTuple):
    """Of each output row w of a matrix W, in float64 [R]."""

    signal: Array
    """w·H·wᵀ."""
    noise: Array
    """Δw·H·Δwᵀ."""


def output_sums(x: Array, y: Array, *, activations: Any = None, hessian: Any = None) -> OutputSums:
    """Signal and noise in the outputs of the rows of `x`, approximated by those of `y` [R, C].

    H = Σaaᵀ over the `activations` [..., C], or the `hessian` [C, C], whatever its scale. Products
    go through the BLAS of NumPy in float64, whose order of additions is its own.

    Raises ValueError for another shape, and for values that are not finite.

    >>> x, y = np.array([[1.0, 2.0]], np.float32), np.array([[1.0, 1.0]], np.float32)
    >>> output_sums(x, y, activations=np.array([[1.0, 1.0], [0.0, 2.0]]))
    OutputSums(signal=array([25.]), noise=array([5.]))
    """
    factor, is_hessian = _factor(x.shape[1], activations, hessian)
    signal, noise = np.zeros(x.shape[0]), np.zeros(x.shape[0])
    step = max(1, _BLOCK // max(1, *factor.shape))
    for start in range(0, x.shape[0], step):
        part = slice(start, start + step)
        w = x[part].astype(np.float64)
        for out, rows in ((signal, w), (noise, w - y[part])):
            made = rows @ factor.T
            out[part] = (made * (rows if is_hessian else made)).sum(axis=1)
    return OutputSums(signal, noise)


def _factor(columns: int, activations: Any, hessian: Any) -> tuple[Array, bool]:
    """The smaller of activations [T, C] and Hessian [C, C], in float64, and whether it is that."""
    if hessian is not None:
        return _values(hessian, "hessian", (columns, columns)), True
    values = _values(activations, "activations", (..., columns)).reshape(-1, columns)
    return (values, False) if len(values) <= columns else (values.T @ values, True)


def _values(given: Any, name: str, wanted: tuple[Any, ...]) -> Array:
    """float64, of this shape, in which ... stands for any axes."""
    found = _check.array(given, name)
    fits = found.shape[-1:] == wanted[-1:] if wanted[0] is ... else found.shape == wanted
    if not fits:
        shown = str(wanted).replace("Ellipsis", "...")
        raise ValueError(f"{name} has shape {found.shape}; wanted {shown}, as x has columns")
    values = found.astype(np.float64)
    if not np.isfinite(values).all():
        raise _check.nonfinite_error(found, name)
    return values
