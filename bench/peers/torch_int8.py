# SPDX-License-Identifier: MIT
"""PyTorch's dynamic int8 linear, of either engine: activations per tensor, weights by row."""

from __future__ import annotations

from functools import partial

import torch

from agree import sqnr_db
from peers import Rival, in_turn
from peers.torch import array, tensor


def fbgemm(x, weights, ours):
    return _linear("fbgemm", x, weights, ours)


def onednn(x, weights, ours):
    return _linear("onednn", x, weights, ours)


def _linear(engine, x, weights, ours):
    given, made = tensor(x), [_prepacked(engine, q) for q in weights]

    def run(packed):
        torch.backends.quantized.engine = engine
        return torch.ops.quantized.linear_dynamic(given, packed, False)

    def check(answer):
        assert sqnr_db(ours, array(answer)) > 30

    return Rival(in_turn([partial(run, packed) for packed in made]), check)


def _prepacked(engine, q):
    torch.backends.quantized.engine = engine
    scale = tensor(q.scale.reshape(-1)).double()
    zeros = torch.zeros(len(scale), dtype=torch.int64)
    codes = tensor(q.codes)
    weight = torch._make_per_channel_quantized_tensor(codes, scale, zeros, 0)
    return torch.ops.quantized.linear_prepack(weight, None)
