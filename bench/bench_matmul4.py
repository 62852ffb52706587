# SPDX-License-Identifier: MIT
"""Products with weights of 4 bits beside others, memory, and the peak of multiply-accumulates.

As bench_matmul.py: activations [M, K] of --shape NxK, copies of the weights in turn. Beside peers
our time has all in it that is done to activations; a peer without weights of a scheme has what is
most like them, and ggml makes its own blocks of them.
"""

from __future__ import annotations

from functools import cached_property, partial

import numpy as np
import pytest

import bitmill as bm
from agree import same_bits
from bench_matmul import COPIES, dot_peak, note
from bitmill import _core, kernels, reference
from ceilings import one_pass
from peers import in_turn, load

pytestmark = pytest.mark.filterwarnings("ignore")

TOKENS = [1, 16, 128, 512]
SCHEMES = {
    "g128": bm.Affine(4, group_size=128, scales="float16"),
    "g32": bm.Affine(4, group_size=32, scales="float16"),
    "row": bm.Affine(4),
    "asym g128": bm.Affine(4, symmetric=False, group_size=128, scales="float16"),
    "iq4_nl": bm.IQ4_NL(scales="float16"),
    "learned": bm.LearnedTable(scales="float16"),
}
A16_SCHEMES = SCHEMES | {"nf4": bm.NF4(64)}
LIKE = {
    "row": SCHEMES["g128"],
    "iq4_nl": SCHEMES["g32"],
    "learned": SCHEMES["g32"],
    "nf4": bm.Affine(4, group_size=64, scales="float16"),
}
"""What peers without such weights take in their place."""
PEERS = {
    "onnxruntime level 4": ("onnxruntime", "nbits_int4"),
    "onnxruntime level 0": ("onnxruntime", "nbits_float"),
    "onnxruntime bnb4": ("onnxruntime", "bnb4"),
    "torch int4pack": ("torch_int4", "int4pack"),
    "ggml q4_0": ("ggml_products", "q4_0"),
    "ggml q4_K": ("ggml_products", "q4_k"),
    "ggml q4_K repacked": ("ggml_products", "q4_k_repacked"),
    "ggml iq4_nl": ("ggml_products", "iq4_nl"),
}
A8_PEERS = ["onnxruntime level 4", "ggml q4_0", "ggml q4_K", "ggml q4_K repacked"]
A16_PEERS = ["onnxruntime level 0", "torch int4pack"]
A8_OWN, A16_OWN = {"iq4_nl": "ggml iq4_nl"}, {"nf4": "onnxruntime bnb4"}
"""Who has weights of just this scheme."""
FEW = 16  # columns compared with the twin: a panel


class Layer:
    """Weights of a scheme, and the layers of several copies of them."""

    def __init__(self, weights, name, activations):
        self.name, self.q = name, bm.quantize(weights, A16_SCHEMES[name])
        self.layers = [bm.integer.Linear(self.q, activations=activations) for _ in range(COPIES)]

    @property
    def packed(self):
        return self.layers[0].weights

    @cached_property
    def like(self):
        """Weights as all peers have them: these, or what is most like them."""
        if self.name not in LIKE:
            return self.q
        return bm.quantize(bm.dequantize(self.q), LIKE[self.name])

    def activations(self, tokens):
        return np.random.default_rng(1).standard_normal((tokens, self.q.shape[1]), np.float32)

    def checked(self, x, out):
        """Room for products of x, of which some columns and rows were those of the twin."""
        self.layers[0](x, out=out, num_threads=1)
        few = bm.QTensor(self.q.scheme, (FEW, self.q.shape[1]), "float32", {
            name: array[:FEW] if array.ndim > 1 else array for name, array in self.q.arrays.items()
        })  # fmt: skip
        layer = bm.integer.Linear(few, activations=self.layers[0].activations)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels, layer.kernel, getattr(reference, layer.kernel))
            same_bits(out[:2, :FEW].copy(), layer(x[:2]))
        return out

    def calls(self, x, out, num_threads=1):
        return in_turn([partial(one, x, out=out, num_threads=num_threads) for one in self.layers])

    @property
    def nbytes(self):
        """What a product reads of the weights."""
        held = self.packed.arrays
        others = {"whole", "parts"} if self.layers[0].kernel == "matmul_w4a16" else {"values"}
        return sum(array.nbytes for name, array in held.items() if name not in others)


@pytest.fixture(scope="module")
def layer_of(weights):
    """A layer by the name of its scheme and activations, made once."""
    made = {}

    def of(name, activations):
        if (name, activations) not in made:
            made.clear()
            made[name, activations] = Layer(weights["f32"], name, activations)
        return made[name, activations]

    return of


def product(race, weights, layer, tokens):
    x = layer.activations(tokens)
    out = layer.checked(x, np.empty((tokens, layer.q.shape[0]), np.float32))
    operations = 2 * x.size * layer.q.shape[0]
    race(
        layer.calls(x, out),
        size=layer.q.size,
        nbytes=layer.nbytes,
        ceiling=one_pass(weights["f32"], 0) if tokens == 1 else None,
        rivals={"dot peak": dot_peak(operations)} if tokens > 1 else None,
    )
    note(race, operations)


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("scheme", SCHEMES)
def bench_w4a8(race, weights, layer_of, isa, scheme, tokens):
    """Activations to int8, then codes times codes."""
    product(race, weights, layer_of(scheme, "dynamic"), tokens)


@pytest.mark.parametrize("tokens", TOKENS[:3])
@pytest.mark.parametrize("scheme", A16_SCHEMES)
def bench_w4a16(race, weights, layer_of, isa, scheme, tokens):
    """Floats times values of codes."""
    product(race, weights, layer_of(scheme, None), tokens)


def beside(race, layer, tokens, peer):
    """Floats to floats."""
    x = layer.activations(tokens)
    out = layer.checked(x, np.empty((tokens, layer.q.shape[0]), np.float32))
    theirs = layer.q if (A8_OWN | A16_OWN).get(layer.name) == peer else layer.like
    module, job = PEERS[peer]
    rival = getattr(load(module), job)(x, [theirs] * COPIES, x @ bm.dequantize(theirs).T)
    rival.check(rival.run())
    rivals = {peer: rival.run}
    race(layer.calls(x, out), rivals=rivals, size=layer.q.size, nbytes=layer.nbytes)
    note(race, 2 * x.size * layer.q.shape[0])


def races(schemes, tokens, peers, own):
    """Schemes, numbers of tokens, and peers: all, and who has just the weights of the scheme."""
    return [
        (scheme, count, peer)
        for scheme in schemes
        for count in tokens
        for peer in [*peers, *([own[scheme]] if scheme in own else [])]
    ]


@pytest.mark.parametrize(("scheme", "tokens", "peer"), races(SCHEMES, TOKENS, A8_PEERS, A8_OWN))
def bench_w4a8_peers(race, layer_of, scheme, tokens, peer):
    beside(race, layer_of(scheme, "dynamic"), tokens, peer)


@pytest.mark.parametrize(
    ("scheme", "tokens", "peer"), races(A16_SCHEMES, TOKENS[:3], A16_PEERS, A16_OWN)
)
def bench_w4a16_peers(race, layer_of, scheme, tokens, peer):
    beside(race, layer_of(scheme, None), tokens, peer)


@pytest.mark.parametrize("tokens", [1, 128])
@pytest.mark.parametrize("activations", ["dynamic", None])
def bench_w4_threads(race, layer_of, activations, tokens):
    """Two threads beside one."""
    layer = layer_of("g128", activations)
    x = layer.activations(tokens)
    out = layer.checked(x, np.empty((tokens, layer.q.shape[0]), np.float32))
    race(
        layer.calls(x, out, 2),
        rivals={"1 thread": layer.calls(x, out)},
        size=layer.q.size,
        nbytes=layer.nbytes,
    )


@pytest.mark.skipif("avx2" not in _core.isas(), reason="compares AVX2 with what is in use")
@pytest.mark.parametrize("tokens", [1, 128])
@pytest.mark.parametrize("activations", ["dynamic", None])
def bench_w4_avx2(race, layer_of, activations, tokens):
    """ "x best ISA" is the share of its speed that AVX2 has."""
    layer, best = layer_of("g128", activations), _core.isa()
    x = layer.activations(tokens)
    out = np.empty((tokens, layer.q.shape[0]), np.float32)

    def on(isa, call):
        _core.use_isa(isa)
        call()
        _core.use_isa(best)

    calls = layer.calls(x, out)
    race(
        partial(on, "avx2", calls),
        rivals={"best ISA": partial(on, best, calls)},
        size=layer.q.size,
        nbytes=layer.nbytes,
    )
