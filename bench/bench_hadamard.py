# SPDX-License-Identifier: MIT
"""Products with Hadamard matrices beside memory, a copy, and NumPy's product with the whole matrix.

At most eight million values of --shape, in rows of each length.
"""

from __future__ import annotations

import numpy as np
import pytest

from agree import CHECKED, same_bits
from arrays import at_a_line, empty
from bitmill import kernels, reference
from ceilings import one_pass

VALUES = 1 << 23


@pytest.mark.parametrize("length", [128, 1024, 1536, 2560, 4096])
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def bench_hadamard(race, weights, isa, dtype, length):
    values = weights[dtype].reshape(-1)
    whole = min(VALUES, values.size) // length * length
    x = at_a_line(values[:whole].reshape(-1, length))
    sign = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), length)
    out, other = empty(x.shape, np.float32), empty(x.shape, np.float32)
    kernels.hadamard(x, sign=sign, out=out, num_threads=1)
    same_bits(out[CHECKED], reference.hadamard(x[CHECKED], sign=sign))
    rivals = {}
    if dtype == "f32":
        matrix = reference.hadamard(np.eye(length, dtype=np.float32), sign=sign)
        rivals = {"copy": lambda: np.copyto(other, x), "matmul": lambda: x.dot(matrix, out=other)}
    race(
        lambda: kernels.hadamard(x, sign=sign, out=out, num_threads=1),
        size=x.size,
        nbytes=x.nbytes + out.nbytes,
        ceiling=one_pass(x, out.nbytes),
        rivals=rivals,
    )
