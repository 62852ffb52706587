# SPDX-License-Identifier: MIT
"""torchao's primitives: a choice of scales, then codes, not packed."""

from __future__ import annotations

import numpy as np
import torch
from torchao.quantization.quant_primitives import (
    MappingType,
    choose_qparams_affine,
    quantize_affine,
)

from agree import CHECKED, within_half_a_step
from peers import Rival
from peers.torch import array, tensor


def _rival(x, block, mapping, dtype, qmin, qmax):
    """Its scale is absmax / ((qmax - qmin) / 2) and the greatest value is cut off: within 1.01
    steps."""
    given = tensor(np.asarray(x, np.float32))  # in float32, whatever ours reads

    def run():
        scale, zero_point = choose_qparams_affine(given, mapping, block, dtype, qmin, qmax)
        return (
            quantize_affine(given, block, scale, zero_point, dtype, qmin, qmax),
            scale,
            zero_point,
        )

    def check(answer):
        codes, scale, zero_point = (array(part).astype(np.float64)[CHECKED] for part in answer)
        groups = codes.reshape(-1, block[1])
        step = scale.reshape(-1, 1)
        values = (groups - zero_point.reshape(-1, 1)) * step
        within_half_a_step(x[CHECKED].reshape(groups.shape), values, step, 0.51)

    return Rival(run, check)


def int4_asym(x, group_size, ours):
    return _rival(x, (1, group_size), MappingType.ASYMMETRIC, torch.uint8, 0, 15)


def int8_row(x, ours):
    return _rival(x, (1, x.shape[1]), MappingType.SYMMETRIC, torch.int8, -128, 127)
