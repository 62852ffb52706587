# SPDX-License-Identifier: MIT
"""int32 sums to codes, a factor a column, beside NumPy and a stream that writes a fourth.

The stream is of the whole --shape, and the tokens are so many that the codes go past the caches as
its output does.
"""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
from agree import CHECKED, same_bits
from arrays import empty
from bitmill import kernels, reference
from ceilings import one_pass

TOKENS = 2048


@pytest.fixture(scope="module")
def sums(weights):
    """Sums as of a product of that many tokens, and a factor for each column."""
    columns = weights["f32"].shape[1]
    rng = np.random.default_rng(1)
    acc = empty((TOKENS, columns), np.int32)
    acc[...] = rng.integers(-(1 << 20), 1 << 20, acc.shape)
    return acc, bm.integer.quantize_multiplier(2.0 ** rng.uniform(-14, -12, columns))


@pytest.mark.parametrize("rounding", ["single", "double"])
def bench_requantize(race, weights, sums, isa, rounding):
    (acc, factor), whole = sums, weights["f32"]
    options = {"qmin": -128, "qmax": 127, "rounding": rounding}
    out = empty(acc.shape, np.int8)
    kernels.requantize(acc, *factor, 3, **options, out=out, num_threads=1)
    same_bits(out[CHECKED], reference.requantize(acc[CHECKED], *factor, 3, **options))
    race(
        lambda: kernels.requantize(acc, *factor, 3, **options, out=out, num_threads=1),
        size=acc.size,
        nbytes=acc.nbytes + out.nbytes,
        ceiling=one_pass(whole, whole.nbytes // 4),
        rivals={"numpy": lambda: reference.requantize(acc, *factor, 3, **options, out=out)},
    )
