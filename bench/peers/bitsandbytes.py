# SPDX-License-Identifier: MIT
"""bitsandbytes: the int8 rows of LLM.int8(), which on a CPU are operators of torch."""

from __future__ import annotations

import numpy as np
from bitsandbytes.functional import int8_vectorwise_quant

from agree import CHECKED, within_half_a_step
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
