# SPDX-License-Identifier: MIT
"""Float conversions, into the same array every time."""

from __future__ import annotations

import numpy as np
import pytest

from agree import CHECKED, nbytes, same_bits, top
from arrays import empty
from bitmill import kernels, reference
from ceilings import one_pass


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f64"])
def bench_to_float32(race, weights, isa, dtype):
    x = weights[dtype]
    out = empty(x.shape, np.float32)
    kernels.to_float32(x, out=out, num_threads=1)
    same_bits(top(out), reference.to_float32(x[CHECKED]))
    race(
        lambda: kernels.to_float32(x, out=out, num_threads=1),
        size=x.size,
        nbytes=nbytes(x, out),
        ceiling=one_pass(x, out.nbytes),
    )


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f64"])
def bench_from_float32(race, weights, isa, dtype):
    x, out = weights["f32"], empty(weights.shape, weights[dtype].dtype)
    kernels.from_float32(x, out.dtype.name, out=out, num_threads=1)
    same_bits(top(out), reference.from_float32(x[CHECKED], out.dtype.name))
    race(
        lambda: kernels.from_float32(x, out.dtype.name, out=out, num_threads=1),
        size=x.size,
        nbytes=nbytes(x, out),
        ceiling=one_pass(x, out.nbytes),
    )
