# SPDX-License-Identifier: MIT
"""Integer matrix products beside others, memory, and the peak of multiply-accumulates.

Activations [M, K] of --shape NxK. "x dot peak" is the share of the rate of `_core.peak`, which
multiplies registers alone; for one row, where weights are read once, the ceiling is a stream of
float32 of that shape, which no cache holds. Beside peers our time has the quantization of the
activations in it, as theirs has. Weights are copied, and the copies take turns.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import bitmill as bm
from agree import CHECKED, same_bits
from bitmill import _core, kernels, reference
from ceilings import one_pass
from peers import in_turn, load

# Other packages warn of this and that, and the first import of some is slow.
pytestmark = pytest.mark.filterwarnings("ignore")

COPIES = 3
TOKENS = [1, 16, 128, 512]
PEERS = {
    "torch fbgemm": ("torch_int8", "fbgemm"),
    "torch onednn": ("torch_int8", "onednn"),
    "onnxruntime dynamic": ("onnxruntime", "dynamic_int8"),
    "onnxruntime nbits": ("onnxruntime", "nbits_int8"),
    "ggml q8_0": ("ggml_products", "q8_0"),
}


class Layer:
    """Weights of 8 bits, and the same prepacked several times over."""

    def __init__(self, weights, scheme):
        self.q = bm.quantize(weights, scheme)
        self.packed = [bm.integer.prepack(self.q) for _ in range(COPIES)]

    def activations(self, tokens):
        return np.random.default_rng(1).standard_normal((tokens, self.q.shape[1]), np.float32)


@pytest.fixture(scope="module")
def layer(weights):
    """int8 weights with a scale a row; made once."""
    return Layer(weights["f32"], bm.Affine(8))


def checked(layer, x, out, **options):
    """Products of `x`, a QTensor, of which some columns are those of the twin."""
    bm.integer.matmul(x, layer.packed[0], out=out, **options)
    few = {
        name: array[:1] if name == "codes" else array[CHECKED]
        for name, array in layer.packed[0].arrays.items()
    }
    params = x.scale, x.zero_point
    same_bits(out[:, CHECKED].copy(), reference.matmul_w8a8(x.codes, *params, *few.values()))
    return out


def dot_peak(operations):
    """As many multiply-accumulates of registers."""
    steps = operations // 128 // 12 * 12
    return partial(_core.peak, "dot_u8i8", steps)


def note(race, operations):
    """Operations a second, a product and a sum counting as two."""
    if race.benchmark.stats is not None:
        race.benchmark.extra_info["GOPS"] = operations / race.benchmark.stats.stats.median / 1e9


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("scheme", ["sym", "asym"])
def bench_w8a8(race, weights, layer, isa, scheme, tokens):
    """Codes times codes."""
    x = bm.quantize(layer.activations(tokens), bm.Affine(8, symmetric=scheme == "sym"))
    out = checked(layer, x, np.empty((tokens, layer.q.shape[0]), np.float32))
    operations = 2 * x.size * layer.q.shape[0]
    calls = [partial(bm.integer.matmul, x, p, out=out, num_threads=1) for p in layer.packed]
    race(
        in_turn(calls),
        size=layer.q.size,
        nbytes=layer.packed[0].nbytes,
        ceiling=one_pass(weights["f32"], 0) if tokens == 1 else None,
        rivals={"dot peak": dot_peak(operations)} if tokens > 1 else None,
    )
    note(race, operations)


@pytest.fixture(scope="module")
def qlinears(weights, layer):
    """The same weights as layers in integers alone."""
    x, scheme = layer.activations(16), bm.Affine(8, axis=None)
    params = {"x": bm.calibrate([x], scheme), "y": bm.calibrate([x @ weights["f32"].T], scheme)}
    return [bm.integer.QLinear(layer.q, **params) for _ in range(COPIES)]


@pytest.mark.parametrize("tokens", [1, 16, 128])
def bench_qlinear(race, weights, layer, qlinears, isa, tokens):
    """Codes to codes, beside W8A8, which gives floats."""
    first = qlinears[0]
    x = first.x.params.quantize(layer.activations(tokens))
    sums = np.int32(x.codes.astype(np.int64) @ layer.q.codes[CHECKED].T + first.bias[CHECKED])
    wanted = reference.requantize(
        sums, *(part[CHECKED] for part in first.factor), qmin=-128, qmax=127
    )
    same_bits(first(x).codes[:, CHECKED].copy(), wanted)
    rows = bm.quantize(layer.activations(tokens), bm.Affine(8))
    out = np.empty((tokens, layer.q.shape[0]), np.float32)
    floats = [partial(bm.integer.matmul, rows, p, out=out, num_threads=1) for p in layer.packed]
    operations = 2 * x.size * layer.q.shape[0]
    race(
        in_turn([partial(q, x, num_threads=1) for q in qlinears]),
        size=layer.q.size,
        nbytes=layer.packed[0].nbytes,
        ceiling=one_pass(weights["f32"], 0) if tokens == 1 else None,
        rivals={"W8A8": in_turn(floats)}
        | ({"dot peak": dot_peak(operations)} if tokens > 1 else {}),
    )
    note(race, operations)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("tokens", TOKENS)
def bench_w8a8_peers(race, layer, tokens, peer):
    """Floats to floats."""
    x, scheme = layer.activations(tokens), bm.Affine(8, symmetric=False)
    out = checked(layer, bm.quantize(x, scheme), np.empty((tokens, layer.q.shape[0]), np.float32))
    module, job = PEERS[peer]
    rival = getattr(load(module), job)(x, [layer.q] * COPIES, out)
    rival.check(rival.run())

    def ours(packed):
        q = bm.quantize(x, scheme, num_threads=1)
        return bm.integer.matmul(q, packed, out=out, num_threads=1)

    race(
        in_turn([partial(ours, p) for p in layer.packed]),
        rivals={peer: rival.run},
        size=layer.q.size,
        nbytes=layer.packed[0].nbytes,
    )
    note(race, 2 * x.size * layer.q.shape[0])


@pytest.mark.parametrize("tokens", [1, 16, 128])
def bench_w8a8_threads(race, layer, tokens):
    """Two threads beside one."""
    x = bm.quantize(layer.activations(tokens), bm.Affine(8))
    out = checked(layer, x, np.empty((tokens, layer.q.shape[0]), np.float32), num_threads=2)

    def calls(threads):
        return in_turn(
            [partial(bm.integer.matmul, x, p, out=out, num_threads=threads) for p in layer.packed]
        )

    race(
        calls(2),
        rivals={"1 thread": calls(1)},
        size=layer.q.size,
        nbytes=layer.packed[0].nbytes,
    )


@pytest.mark.skipif("avx2" not in _core.isas(), reason="compares AVX2 with what is in use")
@pytest.mark.parametrize("tokens", [1, 128])
def bench_w8a8_avx2(race, layer, tokens):
    """ "x best ISA" is the share of its speed that AVX2 has."""
    x, best = bm.quantize(layer.activations(tokens), bm.Affine(8)), _core.isa()
    out = np.empty((tokens, layer.q.shape[0]), np.float32)

    def product(isa, packed):
        _core.use_isa(isa)
        bm.integer.matmul(x, packed, out=out, num_threads=1)
        _core.use_isa(best)

    race(
        in_turn([partial(product, "avx2", p) for p in layer.packed]),
        rivals={"best ISA": in_turn([partial(product, best, p) for p in layer.packed])},
        size=layer.q.size,
        nbytes=layer.packed[0].nbytes,
    )


@pytest.mark.parametrize("tokens", TOKENS)
def bench_int8(race, layer, isa, tokens):
    """The plain product, which packs its weights each time."""
    x = bm.quantize(layer.activations(tokens), bm.Affine(8)).codes
    out = kernels.matmul_int8(x, layer.q.codes, num_threads=1)
    same_bits(out[:, CHECKED].copy(), reference.matmul_int8(x, layer.q.codes[CHECKED]))
    operations = 2 * x.size * layer.q.shape[0]
    race(
        lambda: kernels.matmul_int8(x, layer.q.codes, out=out, num_threads=1),
        size=layer.q.size,
        nbytes=layer.q.codes.nbytes,
        rivals={"dot peak": dot_peak(operations)},
    )
    note(race, operations)


def bench_prepack(race, layer):
    race(
        lambda: bm.integer.prepack(layer.q),
        size=layer.q.size,
        nbytes=layer.q.nbytes + layer.packed[0].nbytes,
        ceiling=one_pass(layer.q.codes, layer.packed[0].nbytes),
    )
