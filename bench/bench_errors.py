# SPDX-License-Identifier: MIT
"""Error sums and metrics, two arrays read once; and the errors of affine codes, not written."""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
from agree import CHECKED, same_bits, sqnr_db, top
from arrays import at_a_line
from bitmill import Affine, kernels, reference
from ceilings import Ceiling, Stream
from peers import numpy as plain


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


@pytest.mark.parametrize("axis", [None, "row"])
def bench_metrics(race, weights, axis):
    """All measures of two arrays, beside four of them in NumPy."""
    x = weights["f32"]
    y = at_a_line(x * np.float32(1.01) + np.float32(1e-3))
    found = bm.metrics(x[CHECKED], y[CHECKED], num_threads=1)
    assert found.sqnr_db == pytest.approx(sqnr_db(x[CHECKED], y[CHECKED]), rel=1e-9)
    assert abs(float(x[found.max_at]) - float(y[found.max_at])) == found.max_abs
    rival = plain.error_sums(x, y, kernels.error_sums(x, y))
    rival.check(rival.run())
    race(
        lambda: bm.metrics(x, y, axis=axis, num_threads=1),
        size=x.size,
        nbytes=x.nbytes + y.nbytes,
        ceiling=Ceiling(Stream(x, 0), Stream(y, 0)),
        rivals={"NumPy": rival.run},
    )


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("bits", [2, 8])
def bench_affine_error(race, weights, isa, dtype, bits):
    """Beside making codes, decoding them and comparing."""
    x, scheme = weights[dtype], Affine(bits, group_size=128, scales="bfloat16")
    scale, out = scheme.fit(x).scale, np.empty(x.shape, np.float32)
    options = {"qmin": scheme.code_range.qmin, "qmax": scheme.code_range.qmax, "group_size": 128}

    def by_codes():
        codes = kernels.affine_encode(x, scale, **options, num_threads=1)
        kernels.affine_decode(codes, scale, group_size=128, out=out, num_threads=1)
        return kernels.error_sums(x, out, num_threads=1).dd

    made = kernels.affine_error(x, scale, **options, num_threads=1)
    same_bits((made,), (by_codes(),))
    race(
        lambda: kernels.affine_error(x, scale, **options, num_threads=1),
        size=x.size,
        nbytes=x.nbytes,
        ceiling=Ceiling(Stream(x, 0)),
        rivals={"codes": by_codes},
    )
