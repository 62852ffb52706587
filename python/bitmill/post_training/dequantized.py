# SPDX-License-Identifier: MIT
"""A layer whose weights and activations are quantized, and multiplied as floats."""

from __future__ import annotations

from bitmill._dtypes import Array
from bitmill.post_training.float_layer import FloatLayer
from bitmill.qparams import QParams
from bitmill.qtensor import QTensor
from bitmill.quantize import fake_quantize
from bitmill.schemes import Affine

_TOKENWISE = {"dynamic": Affine(8), "dynamic_asymmetric": Affine(8, symmetric=False)}


class Dequantized:
    """x̂·ŵᵀ + bias by NumPy's BLAS, x̂ and ŵ as quantization leaves them.

    For weights that no integer kernel takes: `bitmill.integer.prepack` says which there are.
    `activations` are those of `bitmill.integer.Linear`.
    """

    def __init__(
        self, weights: QTensor, bias: Array | None, activations: str | QParams | None
    ) -> None:
        self.product = FloatLayer(weights.dequantize(), bias)
        self.activations = activations

    def __call__(self, x: Array, *, num_threads: int | None = None) -> Array:
        """For x [T, K], float32."""
        return self.product(restored(x, self.activations, num_threads))

    def explain(self) -> str:
        """Why it is this one."""
        return "float32 products of values restored from codes: no integer kernel has these weights"


def restored(x: Array, activations: str | QParams | None, num_threads: int | None = None) -> Array:
    """Activations [T, K] as quantization leaves them, float32."""
    if activations is None:
        return x
    if isinstance(activations, QParams):
        return activations.quantize(x, num_threads=num_threads).dequantize()
    return fake_quantize(x, _TOKENWISE[activations], num_threads=num_threads)
