# SPDX-License-Identifier: MIT
"""More threads: what each adds, and from which size a second one pays.

"x 1 thread" is how many times as long as the call takes alone. A second thread must be spawned and
joined, 60 to 90 µs; the break-even is the first size at which "x 1 thread" stays above 1. Give the
process the CPUs you want to know about (`taskset -c 0-3 pytest bench/bench_threads.py`).
"""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pytest

from agree import nbytes, same_bits
from bench_affine import scheme
from bitmill import _core, kernels
from ceilings import Stream, one_pass

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
MORE = range(2, max(2, CPUS) + 1)


def quantize(x):
    return partial(kernels.affine_quantize, x, **scheme("int4 sym g128")), x


def quantize_row(x):
    return partial(kernels.affine_quantize, x, **scheme("int8 sym row")), x


def dequantize(x):
    made = kernels.affine_quantize(x, **scheme("int4 sym g128"))
    options = {"bits": 4, "length": x.shape[1], "signed": True, "out": np.empty_like(x)}
    decode = partial(kernels.affine_decode, *made[:4], group_size=128, **options)
    return decode, made.codes


def convert(x):
    out = np.empty(x.shape, np.float16)
    return partial(kernels.from_float32, x, "float16", out=out), x


def absmax(x):
    return partial(kernels.absmax, x), x


def errors(x):
    return partial(kernels.error_sums, x, x), np.concatenate([x, x])


STREAMING = [quantize, quantize_row, dequantize, convert, absmax, errors]


@pytest.mark.parametrize("threads", MORE)
@pytest.mark.parametrize("made", STREAMING, ids=lambda made: made.__name__)
def bench_threads(race, weights, made, threads):
    call, source = made(weights["f32"])
    alone = call(num_threads=1)
    wanted = alone.copy() if isinstance(alone, np.ndarray) else alone
    same_bits(call(num_threads=threads), wanted)
    written = 0 if made in (absmax, errors) else nbytes(wanted)
    race(
        partial(call, num_threads=threads),
        size=weights["f32"].size,
        nbytes=source.nbytes + written,
        ceiling=one_pass(source, written, threads),
        rivals={"1 thread": partial(call, num_threads=1)},
    )


@pytest.mark.parametrize("threads", MORE)
def bench_stream_threads(race, weights, threads):
    x = weights["f32"]
    ours, alone = (Stream(x, x.nbytes // 8, n) for n in (threads, 1))
    race(ours.run, size=x.size, nbytes=ours.nbytes, rivals={"1 thread": alone.run})


@pytest.fixture
def forced():
    """Threads for calls of any size, not only from the size that `run_parallel` shares at."""
    before = _core.share_from(0)
    yield
    _core.share_from(before)


@pytest.mark.parametrize("mebibytes", [1, 2, 3, 4, 6, 8, 12, 16])
@pytest.mark.parametrize("name", ["int4 sym g128", "int8 sym row"])
def bench_break_even(race, weights, forced, name, mebibytes):
    columns = 4096
    x = np.resize(weights["f32"].reshape(-1), ((mebibytes << 20) // (4 * columns), columns))
    call = partial(kernels.affine_quantize, x, **scheme(name))
    wanted = call(num_threads=1)
    same_bits(call(num_threads=2), wanted)
    race(
        partial(call, num_threads=2),
        size=x.size,
        nbytes=nbytes(x, wanted),
        rivals={"1 thread": partial(call, num_threads=1)},
    )
