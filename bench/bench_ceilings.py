# SPDX-License-Identifier: MIT
"""The ceilings themselves: streams of memory, and peaks of multiply-accumulate."""

from __future__ import annotations

import numpy as np
import pytest

from bitmill import _core
from ceilings import RATIOS, Stream, describe

STEPS = 12 << 16


@pytest.mark.parametrize("ratio", RATIOS, ids=lambda ratio: describe(*ratio))
def bench_stream(race, weights, isa, ratio):
    lines_in, lines_out = ratio
    x = weights["f32"][: len(weights["f32"]) // max(1, lines_out)]
    stream = Stream(x if lines_in else None, x.nbytes * lines_out // max(1, lines_in))
    assert stream.name == describe(*ratio)
    race(stream.run, size=x.size, nbytes=stream.nbytes)


@pytest.mark.parametrize("name", ["fma_f32", "dot_u8i8"])
def bench_peak(benchmark, isa, name):
    """Of one thread; a product and a sum are two operations."""
    done = benchmark.pedantic(_core.peak, (name, STEPS), rounds=5, warmup_rounds=1)
    assert done == STEPS * {"fma_f32": 32, "dot_u8i8": 128}[name]
    if benchmark.stats is not None:
        benchmark.extra_info["GOPS"] = done / benchmark.stats.stats.median / 1e9


def bench_copy(race, weights):
    """What NumPy makes of a copy."""
    x = weights["f32"]
    out = np.empty_like(x)
    race(lambda: np.copyto(out, x), size=x.size, nbytes=2 * x.nbytes)
    assert np.array_equal(out, x)
