# SPDX-License-Identifier: MIT
"""Weights of squared errors, as users give them and as kernels take them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array


class Scaled(NamedTuple):
    """Numbers are `values` · 2^`exponent`; the values are float32 from 0 to 1."""

    values: Array
    exponent: int


def importance_for(importance: Any, shape: tuple[int, ...], name: str = "importance") -> Array:
    """The values of `scaled`, of which only ratios count.

    >>> importance_for(np.array([3.0, 0.0, 12.0]), (2, 3))
    array([0.1875, 0.    , 0.75  ], dtype=float32)
    """
    return scaled(importance, shape, name).values


def scaled(importance: Any, shape: tuple[int, ...], name: str = "importance") -> Scaled:
    """`importance`, of this shape or of its last axis, as kernels take it; errors call it `name`.

    What is below 2^-40 of the largest counts as 0: sums beside the others would not tell.

    >>> scaled(np.array([3.0, 0.0, 12.0]), (2, 3))
    Scaled(values=array([0.1875, 0.    , 0.75  ], dtype=float32), exponent=4)
    """
    with np.errstate(invalid="ignore"):  # signalling NaN, which is refused below
        values = _check.array(importance, name).astype(np.float64)
    if values.shape not in (shape, shape[-1:]):
        raise ValueError(
            f"{name} has shape {values.shape}; wanted {shape[-1:]} or {shape}: one number per "
            "column, or per element"
        )
    if not (np.isfinite(values).all() and (values >= 0).all()):
        at = int(np.flatnonzero(~(np.isfinite(values) & (values >= 0)))[0])
        raise ValueError(f"{name}.flat[{at}] is {values.flat[at]}; wanted finite numbers from 0 on")
    most = values.max(initial=0)
    exponent = int(np.frexp(most)[1])
    ratios = np.ldexp(values, -exponent)
    # By a kernel: NumPy would round as the caller may have told it to.
    return Scaled(kernels.to_float32(np.where(ratios < 2.0**-40, 0, ratios)), exponent)
