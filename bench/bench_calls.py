# SPDX-License-Identifier: MIT
"""What is paid once or per call, whatever the size: import, --help, plans, calls on 64 values.

The aims: import in less than 60 ms beyond NumPy's own, a small call in less than 15 µs, the plan of
a model with 400 tensors in less than 0.5 s, the start of the interpreter included.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median

import numpy as np
import pytest

import bitmill as bm
from agree import same_bits
from bitmill import kernels, reference
from bitmill.checkpoint.header import Spec, build_header
from bitmill.checkpoint.write import create
from race import timed

IMPORT = "import numpy, time; t = time.perf_counter(); import bitmill; print(time.perf_counter()-t)"


def interpreter(*arguments: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def bench_import(benchmark):
    """A fresh interpreter with NumPy and bitmill; "ms beyond NumPy" is the second import alone."""
    seconds: list[float] = []
    benchmark.pedantic(
        lambda: seconds.append(float(interpreter("-c", IMPORT))), rounds=11, warmup_rounds=1
    )
    assert min(seconds) > 0
    benchmark.extra_info["ms beyond NumPy"] = 1e3 * median(seconds[1:] or seconds)


def bench_help(benchmark):
    """`bitmill --help`, beside a fresh interpreter that imports NumPy."""
    told = benchmark.pedantic(interpreter, ("-m", "bitmill", "--help"), rounds=11, warmup_rounds=1)
    assert "quantize" in told
    if benchmark.stats is not None:
        alone = median(timed(lambda: interpreter("-c", "import numpy")) for _ in range(5))
        benchmark.extra_info["ms"] = 1e3 * benchmark.stats.stats.median
        benchmark.extra_info["ms of an interpreter with NumPy"] = 1e3 * alone


def bench_dry_run(benchmark, tmp_path):
    """`bitmill quantize --dry-run` on a 7B Llama of 399 tensors, whose data are holes."""
    shapes = {"model.embed_tokens": (32000, 4096), "model.norm": (4096,), "lm_head": (32000, 4096)}
    for layer in range(44):
        block = f"model.layers.{layer}"
        shapes |= {f"{block}.self_attn.{n}_proj": (4096, 4096) for n in "qkvo"}
        shapes |= {f"{block}.mlp.{n}_proj": (11008, 4096) for n in ("gate", "up")}
        shapes |= {f"{block}.mlp.down_proj": (4096, 11008)}
        shapes |= {f"{block}.{n}_layernorm": (4096,) for n in ("input", "post_attention")}
    specs = [Spec(f"{module}.weight", "BF16", shape) for module, shape in shapes.items()]
    head, _ = build_header(specs, {})
    create(tmp_path / "model.safetensors", head, len(head) + sum(spec.nbytes for spec in specs))
    command = ("-m", "bitmill", "quantize", str(tmp_path), "--dry-run")
    told = benchmark.pedantic(interpreter, command, rounds=11, warmup_rounds=1)
    assert "to quantize: 308 of 399 tensors" in told
    if benchmark.stats is not None:
        benchmark.extra_info["s"] = benchmark.stats.stats.median


@pytest.fixture
def x():
    return np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 64)


SCHEMES = {
    "int8 row": bm.Affine(8),
    "int4 g32": bm.Affine(4, group_size=32),
    "uint8 tensor": bm.Affine(8, symmetric=False, axis=None),
}


@pytest.mark.parametrize("name", SCHEMES)
def bench_small_quantize(benchmark, x, name):
    q = benchmark(bm.quantize, x, SCHEMES[name])
    assert np.abs(q.dequantize() - x).max() <= q.scale.max() / 2 * 1.001
    note(benchmark)


@pytest.mark.parametrize("name", ["int8 row", "int4 g32"])
def bench_small_dequantize(benchmark, x, name):
    q = bm.quantize(x, SCHEMES[name])
    assert np.abs(benchmark(q.dequantize) - x).max() <= q.scale.max() / 2 * 1.001
    note(benchmark)


def bench_small_affine_quantize(benchmark, x):
    options = {"qmin": -8, "qmax": 7, "rule": "absmax", "group_size": 32, "bits": 4}
    same_bits(
        tuple(benchmark(kernels.affine_quantize, x, **options)),
        tuple(reference.affine_quantize(x, **options)),
    )
    note(benchmark)


def bench_small_absmax(benchmark, x):
    same_bits(benchmark(kernels.absmax, x), reference.absmax(x))
    note(benchmark)


def note(benchmark) -> None:
    if benchmark.stats is not None:
        benchmark.extra_info["µs"] = 1e6 * benchmark.stats.stats.median
