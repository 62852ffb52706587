# SPDX-License-Identifier: MIT
"""What new memory costs: page faults of a call, and results in an array that is there already.

A page is 4 KiB, or 2 MiB where NumPy asks for huge pages and /sys/kernel/mm/transparent_hugepage
says "madvise" or "always" (the last line of the summary). Every new page is zeroed by the kernel
before the call writes it. "x a new array" is what a call takes without `out=`.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from agree import nbytes, same_bits
from bench_affine import scheme
from bitmill import kernels
from ceilings import one_pass

resource = pytest.importorskip("resource", reason="page faults are counted on Unix alone")


def faults(call) -> int:
    """Page faults of one call; its result is freed after they are counted."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = call()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    del kept
    return after - before


def bench_new_array(race, weights):
    """np.empty of a float32 weight, and a write to every page, beside one that is there."""
    shape, there = weights.shape, np.zeros(weights.shape, np.float32)

    def fill():
        out = np.empty(shape, np.float32)
        out.fill(1)
        return out

    race.benchmark.extra_info["page faults"] = faults(fill)
    stream = partial(there.fill, 1)
    race(fill, size=there.size, nbytes=there.nbytes, rivals={"an array that is there": stream})
    assert fill().min() == 1


def dequantize(x):
    made = kernels.affine_quantize(x, **scheme("int4 sym g128"))
    options = {"group_size": 128, "bits": 4, "length": x.shape[1], "signed": True}
    return partial(kernels.affine_decode, *made[:4], **options, num_threads=1), made.codes


def to_float16(x):
    return partial(kernels.from_float32, x, "float16", num_threads=1), x


def unpack(x):
    made = kernels.affine_quantize(x, **scheme("int4 sym g128"))
    options = {"length": x.shape[1], "signed": True, "num_threads": 1}
    return partial(kernels.unpack, made.codes, 4, **options), made.codes


@pytest.mark.parametrize("made", [dequantize, to_float16, unpack], ids=lambda made: made.__name__)
def bench_out(race, weights, made):
    """The same array every time."""
    call, source = made(weights["f32"])
    out = call()
    again = partial(call, out=out)
    same_bits(again(), call())
    race.benchmark.extra_info["page faults, new"] = faults(call)
    race.benchmark.extra_info["page faults, out="] = faults(again)
    race(
        again,
        size=out.size,
        nbytes=nbytes(source, out),
        ceiling=one_pass(source, out.nbytes),
        rivals={"a new array": call},
    )


@pytest.mark.parametrize("name", ["int4 sym g128", "int8 sym row"])
def bench_out_of_quantize(race, weights, name):
    """The same codes every time; scales are new arrays in every call."""
    x = weights["f32"]
    call = partial(kernels.affine_quantize, x, **scheme(name), num_threads=1)
    made = call()
    again = partial(call, out=made.codes)
    same_bits(again(), call())
    race.benchmark.extra_info["page faults, new"] = faults(call)
    race.benchmark.extra_info["page faults, out="] = faults(again)
    race(again, size=x.size, nbytes=nbytes(x, made), rivals={"a new array": call})
