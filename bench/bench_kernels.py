# SPDX-License-Identifier: MIT
"""Speed of the kernels on a 4096 x 14336 weight, one thread, beside a memory copy and NumPy.

    pip install '.[bench]' && pytest bench --benchmark-columns=median,iqr,rounds

Every benchmark asserts its answer first. `extra_info` and the table at the end say Gweights/s, and
GB/s read and written; compare with the row "copy", which moves float32.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill import _core, kernels, reference

SHAPE = (4096, 14336)
CHECKED = slice(0, 16)  # rows compared with the twin, which takes its time
DTYPES = {"f32": np.dtype(np.float32), "bf16": np.dtype(ml_dtypes.bfloat16)}
INT4 = {"qmin": -8, "qmax": 7, "bits": 4, "num_threads": 1}
SCHEMES = {
    "int4 sym g128": {**INT4, "rule": "absmax", "group_size": 128},
    "int4 sym g32, f16 scales": {**INT4, "rule": "absmax", "group_size": 32, "scales": "float16"},
    "int4 asym g128": {**INT4, "qmin": 0, "qmax": 15, "rule": "asymmetric", "group_size": 128},
    "int8 sym row": {"qmin": -128, "qmax": 127, "rule": "absmax", "num_threads": 1},
}


@pytest.fixture(scope="module")
def weights():
    """Normal weights, one in a thousand twenty times as large, as float32 and bfloat16."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(SHAPE, np.float32) * np.float32(0.02)
    x[rng.random(SHAPE) < 1e-3] *= 20
    return {name: x.astype(dtype) for name, dtype in DTYPES.items()}


@pytest.fixture(params=_core.isas())
def isa(request):
    before = _core.isa()
    _core.use_isa(request.param)
    yield request.param
    _core.use_isa(before)


def run(benchmark, function, size, nbytes):
    """Time `function`, and note what it moved."""
    benchmark.pedantic(function, rounds=11, warmup_rounds=2)
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["Gweights/s"] = round(size / seconds / 1e9, 3)
        benchmark.extra_info["GB/s"] = round(nbytes / seconds / 1e9, 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", SCHEMES)
def bench_quantize(benchmark, weights, isa, scheme, dtype):
    x, options = weights[dtype], SCHEMES[scheme]
    made = kernels.affine_quantize(x, **options)
    wanted = reference.affine_quantize(x[CHECKED], **options)
    assert made.codes[CHECKED].tobytes() == wanted.codes.tobytes()
    assert made.scale[CHECKED].tobytes() == wanted.scale.tobytes()
    nbytes = x.nbytes + made.codes.nbytes + made.scale.nbytes
    run(benchmark, lambda: kernels.affine_quantize(x, **options), x.size, nbytes)


@pytest.mark.parametrize("bits", [4, 8])
def bench_dequantize(benchmark, weights, isa, bits):
    x = weights["f32"]
    q = bm.quantize(x, bm.Affine(bits, group_size=128 if bits == 4 else None))
    out = np.empty(SHAPE, np.float32)
    q.dequantize(out=out, num_threads=1)
    assert np.abs(x - out).max() <= q.scale.max() / 2 * (1 + 1e-6)
    run(benchmark, lambda: q.dequantize(out=out, num_threads=1), x.size, q.nbytes + out.nbytes)


def bench_copy(benchmark, weights):
    x = weights["f32"]
    out = np.empty_like(x)
    run(benchmark, lambda: np.copyto(out, x), x.size, 2 * x.nbytes)
    assert np.array_equal(out, x)


def bench_numpy_int4_g128(benchmark, weights):
    x = weights["f32"][:512]  # a slice: NumPy makes ten arrays of its size
    options = SCHEMES["int4 sym g128"]

    def quantize():
        groups = x.reshape(512, -1, 128)
        scale = np.abs(groups).max(axis=2, keepdims=True) / np.float32(7)
        codes = np.rint(groups / scale).clip(-8, 7).astype(np.int8).reshape(x.shape) + 8
        return codes[:, 0::2] | codes[:, 1::2] << 4, scale

    packed, _ = quantize()
    assert packed.tobytes() == kernels.affine_quantize(x, **options).codes.tobytes()
    run(benchmark, quantize, x.size, x.nbytes * 9 // 8)
