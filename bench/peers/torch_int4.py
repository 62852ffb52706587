# SPDX-License-Identifier: MIT
"""PyTorch's product of floats with weights of 4 bits, for CPUs."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from agree import sqnr_db
from peers import Rival, in_turn
from peers.torch import array, tensor


def int4pack(x, weights, ours):
    """_weight_int4pack_mm_for_cpu of bfloat16, for which it has a kernel."""
    given, made = tensor(x).bfloat16(), [_packed(q) for q in weights]

    def run(packed, params, size):
        return torch.ops.aten._weight_int4pack_mm_for_cpu(given, packed, size, params)

    def check(answer):
        assert sqnr_db(ours, array(answer).astype(np.float32)) > 30

    return Rival(in_turn([partial(run, *one) for one in made]), check)


def _packed(q):
    """Values are (code - 8) * scale + zero."""
    scale = q.scale.astype(np.float32)
    if q.zero_point is None:
        codes, zero = q.codes.astype(np.int32) + 8, np.zeros_like(scale)
    else:
        codes, zero = q.codes.astype(np.int32), (8 - q.zero_point.astype(np.float32)) * scale
    params = tensor(np.stack([scale.T, zero.T], axis=-1)).bfloat16().contiguous()
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(tensor(codes), 1)
    return packed, params, q.scheme.group_size
