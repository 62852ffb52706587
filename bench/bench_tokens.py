# SPDX-License-Identifier: MIT
"""Activations to codes of one byte, a scale a token, with sums of codes, beside a memory read.

The read is of the whole --shape: 512 tokens alone would stay in the last cache, there and here.
"""

from __future__ import annotations

import numpy as np
import pytest

from agree import CHECKED, same_bits, top
from arrays import empty
from bitmill import kernels, reference
from ceilings import one_pass

TOKENS = slice(0, 512)


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def bench_token_quantize(race, weights, isa, dtype, symmetric):
    x = weights[dtype][TOKENS]
    out = empty(x.shape, np.int8 if symmetric else np.uint8)
    made = kernels.token_quantize(x, symmetric=symmetric, out=out, num_threads=1)
    same_bits(top(made), top(reference.token_quantize(x[CHECKED], symmetric=symmetric)))
    race(
        lambda: kernels.token_quantize(x, symmetric=symmetric, out=out, num_threads=1),
        size=x.size,
        nbytes=x.nbytes,
        ceiling=one_pass(weights[dtype], 0),
    )
