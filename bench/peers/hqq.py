# SPDX-License-Identifier: MIT
"""HQQ: its packing, and its quantizer with the zero-points it looks for.

Its packing joins row i with row i + R/2, not neighbours: an easier job. Its groups have a scale and
a real zero-point, x̂ = (q − z) · s, which is as much to store as our scale and offset; both count
as float16, which is what its layers keep. Half of the solvers' time may be the zeroing of pages
for their temporaries: MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ of 1 GB save them that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hqq.core.bitpack import BitPack
from hqq.core.optimize import optimize_weights_proximal_legacy, optimize_weights_proximal_v2
from hqq.core.quantize import Quantizer

from agree import same_bits, sqnr_db
from peers import Rival
from peers.torch import array, tensor

SOLVERS = {"legacy": optimize_weights_proximal_legacy, "v2": optimize_weights_proximal_v2}
"""The default and the newer one, each with its default options."""

Made = tuple[torch.Tensor, dict[str, Any]]


def optimized(x: np.ndarray, bits: int, group_size: int, solver: str) -> Rival:
    """`Quantizer.quantize` along rows, codes packed; better than without its solver."""
    given = tensor(x)
    options = {"nbits": bits, "group_size": group_size, "axis": 1, "device": "cpu"}

    def run() -> Made:
        Quantizer.optimize_weights = SOLVERS[solver]
        return Quantizer.quantize(given, **options)

    def check(answer: Made) -> None:
        plain = Quantizer.quantize(given, **options, optimize=False)
        assert sqnr_db(x, values(answer)) >= sqnr_db(x, values(plain))

    return Rival(run, check)


def values(made: Made) -> np.ndarray:
    """What the codes stand for, by parameters rounded to float16, in float32."""
    packed, meta = made
    kept = {name: meta[name].half().float() for name in ("scale", "zero")}
    return array(Quantizer.dequantize(packed, meta | kept | {"compute_dtype": torch.float32}))


def stored(made: Made) -> int:
    """Bytes of packed codes, and of scales and zero-points in float16."""
    packed, meta = made
    return packed.nbytes + 2 * (meta["scale"].numel() + meta["zero"].numel())


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
