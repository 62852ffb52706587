# SPDX-License-Identifier: MIT
"""Integer arithmetic on quantized weights and activations."""

from bitmill.integer.batchnorm import Folded, fold_batchnorm
from bitmill.integer.bias import bias_scale, quantize_bias
from bitmill.integer.elementwise import add, average_pool
from bitmill.integer.factors import Factor, quantize_multiplier, requantize
from bitmill.integer.linear import Linear
from bitmill.integer.packed import Prepacked, prepack
from bitmill.integer.products import matmul
from bitmill.integer.qlinear import QLinear

__all__ = [
    "Factor",
    "Folded",
    "Linear",
    "Prepacked",
    "QLinear",
    "add",
    "average_pool",
    "bias_scale",
    "fold_batchnorm",
    "matmul",
    "prepack",
    "quantize_bias",
    "quantize_multiplier",
    "requantize",
]
