# SPDX-License-Identifier: MIT
"""Batch normalization, folded into the linear layer or convolution before it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array


class Folded(NamedTuple):
    """What gives the normalized outputs at once: float32, the weight's shape and [N]."""

    weight: Array
    bias: Array


def fold_batchnorm(
    weight: Any, bias: Any, mean: Any, var: Any, gamma: Any, beta: Any, eps: float = 1e-5
) -> Folded:
    """weight·g and (bias − mean)·g + beta, with g = gamma / √(var + eps): one for each channel.

    `weight` is [N, ...], an output channel along the first axis; `bias` [N] or None; the statistics
    and parameters of the normalization [N]. Computed in float64 (1712.05877, 3.2).

    Raises ValueError for other shapes, and where var + eps is not above 0.

    >>> import bitmill as bm
    >>> bm.integer.fold_batchnorm([[1.0, 2.0]], [3.0], [1.0], [3.0], [4.0], [5.0], eps=1.0)
    Folded(weight=array([[2., 4.]], dtype=float32), bias=array([9.], dtype=float32))
    """
    kernel = np.asarray(weight, np.float64)
    if kernel.ndim < 2:
        raise ValueError(f"weight has shape {kernel.shape}; wanted at least 2 dimensions")
    own = np.zeros(len(kernel)) if bias is None else bias
    given = {"bias": own, "mean": mean, "var": var, "gamma": gamma, "beta": beta}
    each = {name: np.asarray(values, np.float64) for name, values in given.items()}
    for name, values in each.items():
        if values.shape != kernel.shape[:1]:
            raise ValueError(f"{name} has shape {values.shape}; wanted {kernel.shape[:1]}")
    spread = each["var"] + _check.number(eps, "eps")
    if not (spread > 0).all():
        raise ValueError("var + eps has values that are not above 0")
    gain = each["gamma"] / np.sqrt(spread)
    folded = kernel * gain.reshape(-1, *[1] * (kernel.ndim - 1))
    shifted = (each["bias"] - each["mean"]) * gain + each["beta"]
    return Folded(folded.astype(np.float32), shifted.astype(np.float32))
