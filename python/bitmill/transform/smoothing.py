# SPDX-License-Identifier: MIT
"""SmoothQuant (arXiv:2211.10438): outliers of activations moved into the weights they meet."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill._floats import default_floats
from bitmill.transform.values import finite, matrix, positive, still_finite

_LEAST = 1e-5
"""Of maxima and scales, as in the authors' code: a channel may be 0 throughout."""


@default_floats()
def smooth_scales(
    activation_absmax: Any, weight: Any, alpha: float = 0.5, *, powers_of_two: bool = False
) -> Array:
    """What to divide each input channel of a layer by, float32 [K]: s = max|X|^α / max|W|^(1 − α).

    `activation_absmax` [K] is the largest magnitude of each channel over calibration data, and
    `weight` [N, K]: of several layers with the same input, all their rows
    (`np.concatenate([q, k, v])`). α = 0 flattens the weights, α = 1 the activations. Maxima, and s,
    are at least 1e-5. With `powers_of_two` s is the nearest power of two by its logarithm: then
    divisions and multiplications round nothing, short of overflow and underflow. Powers are those
    of the C library: the last bit of s may depend on it.

    Raises TypeError for other dtypes; ValueError for shapes that do not fit, for NaN, infinity, and
    maxima below 0, and for an α outside 0 … 1.

    >>> w = np.array([[0.5, 1.0], [-1.0, 0.25]], np.float32)
    >>> smooth_scales(np.array([1.0, 64.0], np.float32), w)
    array([1., 8.], dtype=float32)
    """
    weights = matrix(weight, "weight")
    most = finite(activation_absmax, "activation_absmax")
    if most.shape != weights.shape[1:]:
        raise ValueError(
            f"activation_absmax has shape {most.shape}; wanted {weights.shape[1:]}, one for each "
            "column of weight"
        )
    if (most < 0).any():
        raise ValueError("activation_absmax has values below 0: np.abs(x).max(axis=0)")
    power = _check.number(alpha, "alpha")
    if not 0 <= power <= 1:
        raise ValueError(f"alpha={alpha!r} must be between 0 and 1")
    _check.flag(powers_of_two, "powers_of_two")
    of_x = np.maximum(most.astype(np.float64), _LEAST)
    of_w = np.maximum(np.abs(weights).max(axis=0, initial=0).astype(np.float64), _LEAST)
    scales = np.maximum(of_x**power / of_w ** (1 - power), _LEAST)
    if powers_of_two:
        scales = np.exp2(np.rint(np.log2(scales)))
    return still_finite(scales.astype(np.float32), "a scale")


@default_floats()
def smooth(weight: Any, scales: Any) -> Array:
    """W·diag(s), float32: the weights [N, K] of a layer whose inputs are divided by `scales` [K].

    (X / s)·(W·s)ᵀ = X·Wᵀ. The division goes into the layer before: `fold_into_norm`,
    `fold_into_linear`. Raises ValueError for scales that are not above 0 and finite, and where a
    weight overflows.

    >>> smooth(np.array([[0.5, 1.0], [-1.0, 0.25]], np.float32), np.array([1, 8], np.float32))
    array([[ 0.5,  8. ],
           [-1. ,  2. ]], dtype=float32)
    """
    weights = matrix(weight, "weight")
    factors = positive(scales, "scales", weights.shape[1])
    with np.errstate(over="ignore"):
        return still_finite(weights * factors, "weight times scales")
