# SPDX-License-Identifier: MIT
"""Error sums: two arrays read once."""

from __future__ import annotations

import numpy as np
import pytest

from agree import CHECKED, same_bits, top
from arrays import at_a_line
from bitmill import kernels, reference
from ceilings import Ceiling, Stream


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16", "f64"])
def bench_error_sums(race, weights, isa, dtype):
    x, y = weights[dtype], at_a_line(weights["f32"] * np.float32(1.01))
    made = kernels.error_sums(x, y, num_threads=1)
    same_bits(top(made), tuple(reference.error_sums(x[CHECKED], y[CHECKED])))
    race(
        lambda: kernels.error_sums(x, y, num_threads=1),
        size=x.size,
        nbytes=x.nbytes + y.nbytes,
        ceiling=Ceiling(Stream(x, 0), Stream(y, 0)),
    )
