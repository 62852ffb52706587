# SPDX-License-Identifier: MIT
"""torch.compile: the functions of `peers.torch` in C++ that Inductor writes."""

from __future__ import annotations

import torch

from agree import same_bits
from peers import Rival
from peers import torch as eager
from peers.torch import array, tensor

compiled = torch.compile(dynamic=False)


def int4_sym(x, group_size, ours):
    return eager.int4_sym(x, group_size, ours, compiled(eager.sym4))


def int4_asym(x, group_size, ours):
    return eager.int4_asym(x, group_size, ours, compiled(eager.asym4))


def int8_row(x, ours):
    return eager.int8_row(x, ours, compiled(eager.sym8))


def dequantize_int4(q, group_size, out, ours):
    return eager.dequantize_int4(q, group_size, out, ours, compiled(eager.decode4))


def absmax(x, ours):
    return eager.absmax(x, ours, compiled(eager.largest))


def minmax(x, ours):
    return eager.minmax(x, ours, compiled(eager.ends))


@compiled
def _asym8(x):
    lo, hi = torch.aminmax(x)
    lo = lo.clamp(max=0)
    scale = (hi.clamp(min=0) - lo) / 255
    zero_point = (-lo / scale).round()
    return ((x / scale).round() + zero_point).clamp(0, 255).to(torch.uint8), scale, zero_point


def uint8_tensor(x, q):
    """Bit for bit ours."""
    given = tensor(x)

    def check(answer):
        same_bits(array(answer[0]), q.codes)
        assert (float(answer[1]), float(answer[2])) == (q.scale.item(), q.zero_point.item())

    return Rival(lambda: _asym8(given), check)
