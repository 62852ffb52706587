# SPDX-License-Identifier: MIT
"""A layer as `bm.ptq` returns it."""

from __future__ import annotations

import math
from typing import Any

from bitmill import _check, kernels
from bitmill._arguments import MOST_W8A8
from bitmill._dtypes import Array
from bitmill.integer import Linear, prepack
from bitmill.integer.activations import Activations, chosen
from bitmill.post_training.dequantized import Dequantized
from bitmill.post_training.moved import Moved
from bitmill.qtensor import QTensor


class QuantizedLayer:
    """y = layer(x): what takes the place of x·Wᵀ + bias, for x [..., K], giving float32 [..., N].

    Attributes
    ----------
    weights
        The QTensor [N, K], of weights as `moved` leaves them.
    bias
        float32 [N], or None.
    moved
        What is done to the inputs first: see `Policy.transforms`.
    linear
        What multiplies: a `bm.integer.Linear`, which holds the weights once more, as its kernel
        reads them; or `Dequantized`, as float32, where no integer kernel takes such weights.
    """

    def __init__(
        self, weights: QTensor, bias: Array | None, activations: Activations, moved: Moved
    ) -> None:
        self.weights, self.bias, self.moved = weights, bias, moved
        self.activations = chosen(activations)
        self.linear: Linear | Dequantized = _linear(weights, bias, activations)

    def __call__(self, x: Any, *, num_threads: int | None = None) -> Array:
        """The outputs. Raises ValueError if x has not K columns, or, quantized, NaN or infinity."""
        values = _check.array(x)
        rows, length = self.weights.shape
        if values.shape[-1] != length:
            raise ValueError(f"x has shape {values.shape}; wanted rows of {length}")
        count = math.prod(values.shape[:-1])
        matrix = kernels.to_float32(values).reshape(count, length)
        out = self.linear(self.moved.inputs(matrix, num_threads), num_threads=num_threads)
        beside = self.moved.beside(matrix)
        if beside is not None:
            out += beside
        return out.reshape(*values.shape[:-1], rows)

    def dequantize(self) -> Array:
        """The weights that are multiplied, float32 [N, K]; what `moved` did is not undone."""
        return self.weights.dequantize()

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales, bias, and of what `moved` holds, as they would be stored."""
        bias = 0 if self.bias is None else self.bias.nbytes
        return self.weights.nbytes + bias + self.moved.nbytes

    def explain(self) -> str:
        """What is done to the inputs, and the kernel that multiplies."""
        return "; ".join(filter(None, [self.moved.describe(), self.linear.explain()]))

    def __repr__(self) -> str:
        rows, length = self.weights.shape
        return f"QuantizedLayer({length} to {rows}, {self.explain()})"


def _linear(weights: QTensor, bias: Array | None, activations: Activations) -> Linear | Dequantized:
    """A layer of kernels, where there are some for such weights and activations."""
    try:
        packed = prepack(weights)
    except ValueError:  # weights that no kernel has
        return Dequantized(weights, bias, activations)
    in_integers = packed.is_whole and weights.shape[1] <= MOST_W8A8
    if in_integers if activations is not None else packed.layout == "w4":
        return Linear(packed, bias, activations=activations)
    return Dequantized(weights, bias, activations)
