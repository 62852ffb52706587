# SPDX-License-Identifier: MIT
"""HQQ's packing. It joins row i with row i + R/2, not neighbours: an easier job."""

from __future__ import annotations

import numpy as np
import torch
from hqq.core.bitpack import BitPack

from agree import same_bits
from peers import Rival
from peers.torch import array, tensor


def pack4(codes, ours):
    given, half = tensor(codes), len(codes) // 2
    return Rival(
        lambda: BitPack.pack_4bit_u8(given),
        lambda answer: same_bits(array(answer), codes[:half] << 4 | codes[half:]),
    )


def unpack4(packed, codes):
    rows = tensor(packed.view(np.uint8).reshape(-1, codes.shape[1]))
    again = BitPack.pack_4bit_u8

    def check(answer):
        assert torch.equal(again(answer), rows)

    return Rival(lambda: BitPack.unpack_4bit_u8(rows), check)
