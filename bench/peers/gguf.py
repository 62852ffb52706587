# SPDX-License-Identifier: MIT
"""gguf, the NumPy code of llama.cpp's converters: Q4_0, blocks of 32 with a float16 scale."""

from __future__ import annotations

import gguf
import numpy as np

from agree import CHECKED, within_half_a_step
from peers import Rival

Q4_0 = gguf.GGMLQuantizationType.Q4_0
BLOCK = 32


def steps(rows: np.ndarray) -> np.ndarray:
    """The scale of each block of 18 bytes."""
    scale = np.ascontiguousarray(rows.reshape(-1, 18)[:, :2]).view(np.float16)
    return np.abs(scale.astype(np.float32))


def int4_sym(x, group_size, ours):
    """The value of largest magnitude becomes -8, and what lies beyond 7 is cut off: within 1.05
    steps."""

    def check(answer):
        values = gguf.dequantize(answer[CHECKED], Q4_0).reshape(-1, BLOCK)
        within_half_a_step(x[CHECKED].reshape(-1, BLOCK), values, steps(answer[CHECKED]), 0.55)

    return Rival(lambda: gguf.quantize(x, Q4_0), check)


def dequantize_int4(q, group_size, out, ours):
    """Of its own blocks, made of our values: within 1.05 of their steps."""
    rows = gguf.quantize(ours, Q4_0)

    def check(answer):
        part = answer[CHECKED].reshape(-1, BLOCK)
        within_half_a_step(ours[CHECKED].reshape(-1, BLOCK), part, steps(rows[CHECKED]), 0.55)

    return Rival(lambda: gguf.dequantize(rows, Q4_0), check)
