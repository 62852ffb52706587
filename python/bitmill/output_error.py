# SPDX-License-Identifier: MIT
"""The error of a layer's outputs, by the activations that it sees or their Hessian."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array

_BLOCK = 1 << 20  # values that are float64 at a time
_ROUNDING = 2.0**-51  # of one product and one addition, and as much again


class OutputSums(NamedTuple):
    """Of each output row w of a matrix W, in float64 [R]."""

    signal: Array
    """w·H·wᵀ."""
    noise: Array
    """Δw·H·Δwᵀ."""


def output_sums(x: Array, y: Array, *, activations: Any = None, hessian: Any = None) -> OutputSums:
    """Signal and noise in the outputs of the rows of `x`, approximated by those of `y` [R, C].

    H = Σaaᵀ over the `activations` [..., C], or the `hessian` [C, C], whatever its scale: if it is
    not symmetric, only its symmetric part matters. Products go through the BLAS of NumPy in
    float64, whose order of additions is its own; a sum below 0 by no more than that is 0.

    Raises ValueError for another shape, for values that are not finite, for outputs whose squares
    overflow float64, and for a Hessian that is not positive semidefinite, where a row shows it.

    >>> x, y = np.array([[1.0, 2.0]], np.float32), np.array([[1.0, 1.0]], np.float32)
    >>> output_sums(x, y, activations=np.array([[1.0, 1.0], [0.0, 2.0]]))
    OutputSums(signal=array([25.]), noise=array([5.]))
    """
    name = "activations" if hessian is None else "hessian"
    signal, noise = np.zeros(x.shape[0]), np.zeros(x.shape[0])
    with np.errstate(over="ignore", invalid="ignore"):  # told of below
        factor, is_hessian = _factor(x.shape[1], activations, hessian)
        measure = _hessian_sums if is_hessian else _activation_sums
        step = max(1, _BLOCK // max(1, *factor.shape))
        for start in range(0, x.shape[0], step):
            part = slice(start, start + step)
            w = x[part].astype(np.float64)
            signal[part], noise[part] = measure(w, factor), measure(w - y[part], factor)
    for what, sums in (("x", signal), ("the error", noise)):
        with np.errstate(over="ignore"):
            total = sums.sum()
        if not np.isfinite(total):
            raise ValueError(f"{name}: the squares of outputs overflow float64: scale it down")
        if (sums < 0).any():
            row = int(np.argmax(sums < 0))
            raise ValueError(
                "hessian is not positive semidefinite: w·H·wᵀ is "
                f"{sums[row]:.6g} for row {row} of {what}"
            )
    return OutputSums(signal, noise)


def _activation_sums(w: Array, activations: Array) -> Array:
    """Σ(w·a)² of each row w."""
    sums: Array = np.square(w @ activations.T).sum(axis=1)
    return sums


def _hessian_sums(w: Array, hessian: Array) -> Array:
    """w·H·wᵀ of each row w; 0 where it is negative by no more than additions may make it."""
    sums = ((w @ hessian.T) * w).sum(axis=1)
    slack = _ROUNDING * w.shape[1] * np.linalg.norm(hessian) * np.square(w).sum(axis=1)
    return np.where((sums < 0) & (sums >= -slack), 0.0, sums)


def _factor(columns: int, activations: Any, hessian: Any) -> tuple[Array, bool]:
    """The smaller of activations [T, C] and Hessian [C, C], in float64, and whether it is that."""
    if hessian is not None:
        return _values(hessian, "hessian", (columns, columns)), True
    given = _values(activations, "activations", (..., columns))
    values = given.reshape(math.prod(given.shape[:-1]), columns)
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
