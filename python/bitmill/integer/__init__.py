# SPDX-License-Identifier: MIT
"""Integer arithmetic on quantized weights and activations."""

from bitmill.integer.packed import Prepacked, prepack
from bitmill.integer.products import matmul

__all__ = ["Prepacked", "matmul", "prepack"]
