# SPDX-License-Identifier: MIT
"""Integer arithmetic on quantized weights and activations."""

from bitmill.integer.linear import Linear
from bitmill.integer.packed import Prepacked, prepack
from bitmill.integer.products import matmul

__all__ = ["Linear", "Prepacked", "matmul", "prepack"]
