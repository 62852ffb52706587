# SPDX-License-Identifier: MIT
"""bitsandbytes: int8 rows of LLM.int8(), and NF4; on a CPU most are operators of torch."""

from __future__ import annotations

import numpy as np
from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_quant, quantize_4bit

from agree import CHECKED, same_bits, within_half_a_step
from peers import Rival
from peers.torch import array, tensor


def int8_row(x, ours):
    """It takes float16; within 0.55 steps of absmax / 127, as it computes in float16."""
    given = tensor(x.astype(np.float16))

    def check(answer):
        codes, absmax = array(answer[0])[CHECKED], array(answer[1])[CHECKED]
        step = absmax.reshape(-1, 1).astype(np.float64) / 127
        within_half_a_step(array(given)[CHECKED], codes * step, step, 0.05)

    return Rival(lambda: int8_vectorwise_quant(given), check)


def nf4_quantize(x, ours):
    """Our codes and scales, bit for bit; the first of two codes lies in the high bits."""
    given = tensor(x)

    def check(answer):
        codes, state = answer
        same_bits(swapped(array(codes), ours), ours.codes.view(np.uint8))
        same_bits(array(state.absmax).reshape(ours.scale.shape), ours.scale)

    return Rival(lambda: quantize_4bit(given, blocksize=64, quant_type="nf4"), check)


def nf4_dequantize(x, ours, wanted):
    """Our values, bit for bit."""
    codes, state = quantize_4bit(tensor(x), blocksize=64, quant_type="nf4")
    return Rival(
        lambda: dequantize_4bit(codes, state), lambda answer: same_bits(array(answer), wanted)
    )


def swapped(codes, ours):
    """Bytes with their halves exchanged, in rows as ours are."""
    return (codes << 4 | codes >> 4).reshape(len(ours.codes), -1)
