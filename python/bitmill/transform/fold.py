# SPDX-License-Identifier: MIT
"""A division of channels, taken into the layer that makes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bitmill._dtypes import Array
from bitmill._floats import default_floats
from bitmill.transform.values import matrix, positive, still_finite, vector


class Folded(NamedTuple):
    """What takes the place of a layer's weight and bias, float32; no bias stays none."""

    weight: Array
    bias: Array | None


@default_floats()
def fold_into_norm(gamma: Any, beta: Any, scales: Any) -> Folded:
    """A LayerNorm or RMSNorm whose outputs are divided by `scales` [K]: γ / s and β / s.

    `gamma` is [K], `beta` [K] or None. Everything that reads the norm must expect it: see `smooth`.
    Raises ValueError for shapes that do not fit and for scales that are not above 0 and finite.

    >>> fold_into_norm(np.float32([1, 2]), None, np.float32([1, 8]))
    Folded(weight=array([1.  , 0.25], dtype=float32), bias=None)
    """
    length = np.size(gamma)
    return _divided(vector(gamma, "gamma", length), beta, "beta", scales)


@default_floats()
def fold_into_linear(weight: Any, bias: Any, scales: Any) -> Folded:
    """A linear layer whose outputs are divided by `scales` [N]: its rows / s, and its bias / s.

    `weight` is [N, K], `bias` [N] or None. Exact also across what multiplies channel by channel
    (a gate) and ReLU, but not across GELU and its kin. Raises ValueError for shapes that do not fit
    and for scales that are not above 0 and finite.

    >>> fold_into_linear(np.float32([[1, 2], [4, 8]]), np.float32([1, 1]), np.float32([1, 8]))
    Folded(weight=array([[1. , 2. ],
           [0.5, 1. ]], dtype=float32), bias=array([1.   , 0.125], dtype=float32))
    """
    return _divided(matrix(weight, "weight"), bias, "bias", scales)


def _divided(weight: Array, bias: Any, name: str, scales: Any) -> Folded:
    """Both, each index along the first axis by its scale."""
    divisors = positive(scales, "scales", len(weight))
    shifts = None if bias is None else vector(bias, name, len(weight))
    with np.errstate(over="ignore"):
        by_row = weight / divisors.reshape(-1, *(1,) * (weight.ndim - 1))
        moved = None if shifts is None else still_finite(shifts / divisors, f"{name} over scales")
    return Folded(still_finite(by_row, "a weight over its scale"), moved)
