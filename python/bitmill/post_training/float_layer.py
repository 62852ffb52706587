# SPDX-License-Identifier: MIT
"""A linear layer in float32."""

from __future__ import annotations

from typing import Any

from bitmill import _check, kernels
from bitmill._dtypes import Array


class FloatLayer:
    """x·Wᵀ + bias in float32, in the order of NumPy's BLAS."""

    def __init__(self, weight: Array, bias: Array | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Any) -> Array:
        """For x [..., K]."""
        values = _check.array(x)
        if values.shape[-1] != self.weight.shape[1]:
            raise ValueError(f"x has shape {values.shape}; wanted rows of {self.weight.shape[1]}")
        made: Array = kernels.to_float32(values) @ self.weight.T
        return made if self.bias is None else made + self.bias
