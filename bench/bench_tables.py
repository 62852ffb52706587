# SPDX-License-Identifier: MIT
"""Tables: NF4 to codes and back beside others, and what searched and learned tables take."""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
from agree import CHECKED, nbytes, same_bits, sqnr_db, top
from arrays import at_a_line, empty
from bitmill import kernels, reference
from ceilings import one_pass
from minilm import folder_or_skip, one_layer
from peers import load

# Other packages warn of this and that, and the first import of some is slow.
pytestmark = pytest.mark.filterwarnings("ignore")

NF4 = bm.NF4().table_of({})
SLOW = slice(0, 256)  # rows for peers that take hundreds of times as long


def packed(size: int) -> dict[str, int]:
    return {"group_size": size, "bits": 4}


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("size", [64, 32, 128])
def bench_nf4_quantize(race, weights, isa, size, dtype):
    x = weights[dtype]
    made = kernels.table_quantize(x, NF4, **packed(size), num_threads=1)
    same_bits(top(made), top(reference.table_quantize(x[CHECKED], NF4, **packed(size))))
    race(
        lambda: kernels.table_quantize(x, NF4, **packed(size), out=made.codes, num_threads=1),
        size=x.size,
        nbytes=nbytes(x, made),
        ceiling=one_pass(x, nbytes(made)),
    )


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def bench_nf4_dequantize(race, weights, isa, dtype):
    x = weights["f32"]
    made = kernels.table_quantize(x, NF4, **packed(64), num_threads=1)
    out = empty(x.shape, weights[dtype].dtype)
    options = {**packed(64), "length": x.shape[1], "dtype_name": out.dtype.name}

    def decode(module, codes, scale, **to):
        return module.table_decode(codes, NF4, scale, **options, **to)

    decode(kernels, made.codes, made.scale, out=out)
    same_bits(out[CHECKED], decode(reference, made.codes[CHECKED], made.scale[CHECKED]))
    race(
        lambda: decode(kernels, made.codes, made.scale, out=out, num_threads=1),
        size=x.size,
        nbytes=nbytes(made, out),
        ceiling=one_pass(None, nbytes(out)),
    )


@pytest.mark.parametrize("peer", ["bitsandbytes", "onnxruntime"])
def bench_nf4_quantize_peers(race, weights, peer):
    """The same codes and scales, of fewer rows."""
    x = at_a_line(weights["f32"][SLOW])
    made = kernels.table_quantize(x, NF4, **packed(64), num_threads=1)
    rival = load(peer).nf4_quantize(x, made)
    rival.check(rival.run())
    race(
        lambda: kernels.table_quantize(x, NF4, **packed(64), out=made.codes, num_threads=1),
        rivals={peer: rival.run},
        size=x.size,
        nbytes=nbytes(x, made),
        ceiling=one_pass(x, nbytes(made)),
    )


def bench_nf4_dequantize_peers(race, weights):
    x = at_a_line(weights["f32"][SLOW])
    made, out = kernels.table_quantize(x, NF4, **packed(64), num_threads=1), empty(x.shape, x.dtype)
    options = {**packed(64), "length": x.shape[1], "out": out, "num_threads": 1}
    kernels.table_decode(made.codes, NF4, made.scale, **options)
    rival = load("bitsandbytes").nf4_dequantize(x, made, out)
    rival.check(rival.run())
    race(
        lambda: kernels.table_decode(made.codes, NF4, made.scale, **options),
        rivals={"bitsandbytes": rival.run},
        size=x.size,
        nbytes=nbytes(made, out),
        ceiling=one_pass(None, nbytes(out)),
    )


SIX_BITS = bm.Scales("float16", bits=6, super_block=384)
SEARCHED = {
    "nf4 g64": bm.NF4(scales="float16"),
    "nf4 g64 mse": bm.NF4(clip="mse", scales="float16"),
    "nf4 g64 signed mse": bm.NF4(clip="mse", scale_rule="signed_max", scales="float16"),
    "nf4 g64 double": bm.NF4(double_quantization=True),
    "iq4_nl g32 mse": bm.IQ4_NL(clip="mse", scales="float16"),
    "iq4_nl g16 s6": bm.IQ4_NL(16, clip="mse", scales=SIX_BITS),
    "learned g32": bm.LearnedTable(4, 32, scales="float16"),
    "learned g64": bm.LearnedTable(4, 64, scales="float16"),
    "kmeans tensor": bm.KMeans(4),
    "kmeans row": bm.KMeans(4, "row"),
}


@pytest.mark.parametrize("name", SEARCHED)
def bench_searched(race, isa, name):
    """The largest matrices of a layer of MiniLM."""
    x, scheme = at_a_line(one_layer(folder_or_skip())), SEARCHED[name]
    q = bm.quantize(x, scheme, num_threads=1)
    race(
        lambda: bm.quantize(x, scheme, num_threads=1),
        size=x.size,
        nbytes=x.nbytes + q.nbytes,
        ceiling=one_pass(x, q.nbytes),
    )
    if race.benchmark.stats is not None:
        info = race.benchmark.extra_info
        info["ms per million"] = 1 / info["Gweights/s"]
        info["dB"] = sqnr_db(x, np.asarray(q))
        info["bits per weight"] = 8 * q.nbytes / x.size
