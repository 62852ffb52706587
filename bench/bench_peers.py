# SPDX-License-Identifier: MIT
"""bitmill beside NumPy and other packages, one thread each, on the instruction set in use.

Every bench is a race of two: "x NAME" is how many times as long as ours the peer takes. A peer that
is not installed is skipped with a line that says what to install. Formats differ (a zero-point
here, a float16 scale there), so a row compares similar work, not equal bytes: the peer's module
says how far its answer may lie from ours, and asserts it. BITMILL_ISA chooses another ISA.
"""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
from agree import nbytes
from arrays import at_a_line, empty
from bench_affine import scheme
from bitmill import kernels
from ceilings import Ceiling, Stream, one_pass, two_passes
from peers import load

# Other packages warn of this and that, and the first import of some is slow.
pytestmark = pytest.mark.filterwarnings("ignore")


def beside(*peers: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("peer", peers)


def in_groups(*peers: str) -> pytest.MarkDecorator:
    """Peers with both group sizes; ggml and gguf have blocks of 32 alone."""
    pairs = [
        pytest.param(size, peer, id=f"g{size}-{peer}")
        for size in (128, 32)
        for peer in peers
        if size == 32 or peer not in ("ggml", "gguf")
    ]
    return pytest.mark.parametrize(("group_size", "peer"), pairs)


def meet(race, ours, peer, rival, **facts):
    """Check the rival's answer, then race."""
    rival.check(rival.run())
    race(ours, rivals={peer: rival.run}, **facts)


@in_groups("numpy", "torch", "torch_compile", "fbgemm", "mlx", "ggml", "gguf")
def bench_int4_sym(race, weights, group_size, peer):
    int4(race, weights["f32"], "sym", group_size, peer)


@in_groups("numpy", "torch", "torch_compile", "fbgemm", "mlx", "ggml", "torchao")
def bench_int4_asym(race, weights, group_size, peer):
    int4(race, weights["f32"], "asym", group_size, peer)


def int4(race, x, rule, group_size, peer):
    """Ranges, scales, codes and packing."""
    options = scheme(f"int4 {rule} g{group_size}")
    made = kernels.affine_quantize(x, **options, num_threads=1)
    meet(
        race,
        lambda: kernels.affine_quantize(x, **options, num_threads=1),
        peer,
        getattr(load(peer), f"int4_{rule}")(x, group_size, made),
        size=x.size,
        nbytes=nbytes(x, made),
        ceiling=one_pass(x, nbytes(made)),
    )


@beside("numpy", "torch", "torch_compile", "fbgemm", "torchao", "bitsandbytes")
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def bench_int8_row(race, weights, dtype, peer):
    x, options = weights[dtype], scheme("int8 sym row")
    made = kernels.affine_quantize(x, **options, num_threads=1)
    meet(
        race,
        lambda: kernels.affine_quantize(x, **options, num_threads=1),
        peer,
        load(peer).int8_row(x, made),
        size=x.size,
        nbytes=nbytes(x, made),
        ceiling=one_pass(x, nbytes(made)),
    )


@beside("numpy", "torch", "torch_compile", "onnxruntime")
def bench_uint8_tensor(race, weights, peer):
    x, one_scale = weights["f32"], bm.Affine(8, symmetric=False, axis=None)
    q = bm.quantize(x, one_scale, num_threads=1)
    meet(
        race,
        lambda: bm.quantize(x, one_scale, num_threads=1),
        peer,
        load(peer).uint8_tensor(x, q),
        size=x.size,
        nbytes=2 * x.nbytes + q.nbytes,
        ceiling=two_passes(x, q.nbytes),
    )


@beside("numpy", "torch", "onnxruntime", "fbgemm")
def bench_dequantize_int8(race, weights, peer):
    dequantize(race, weights, bm.Affine(8), lambda *given: load(peer).dequantize_int8(*given), peer)


@beside("numpy", "torch", "torch_compile", "fbgemm", "mlx", "ggml", "gguf")
def bench_dequantize_int4(race, weights, peer):
    def rival(q, *given):
        return load(peer).dequantize_int4(q, 128, *given)

    dequantize(race, weights, bm.Affine(4, group_size=128), rival, peer)


def dequantize(race, weights, scheme, rival, peer):
    """To float32, into the same array every time; the peer's array is its own."""
    q = bm.quantize(weights["f32"], scheme, num_threads=1)
    out = empty(weights.shape, np.float32)
    values = q.dequantize(num_threads=1)
    meet(
        race,
        lambda: q.dequantize(out=out, num_threads=1),
        peer,
        rival(q, empty(out.shape, out.dtype), values),
        size=out.size,
        nbytes=q.nbytes + out.nbytes,
        ceiling=one_pass(q.codes if q.scheme.bits == 8 else q.packed, out.nbytes),
    )


def fields(shape):
    return at_a_line(np.random.default_rng(0).integers(0, 16, shape, np.uint8))


@beside("numpy", "hqq")
def bench_pack4(race, weights, peer):
    codes = fields(weights.shape)
    out = kernels.pack(codes, 4, num_threads=1)
    meet(
        race,
        lambda: kernels.pack(codes, 4, out=out, num_threads=1),
        peer,
        load(peer).pack4(codes, out),
        size=codes.size,
        nbytes=nbytes(codes, out),
        ceiling=one_pass(codes, out.nbytes),
    )


@beside("numpy", "hqq")
def bench_unpack4(race, weights, peer):
    codes = fields(weights.shape)
    packed, out = kernels.pack(codes, 4, num_threads=1), empty(codes.shape, codes.dtype)
    options = {"signed": False, "out": out, "num_threads": 1}
    meet(
        race,
        lambda: kernels.unpack(packed, 4, codes.shape[1], **options),
        peer,
        load(peer).unpack4(packed, codes),
        size=codes.size,
        nbytes=nbytes(packed, out),
        ceiling=one_pass(packed, out.nbytes),
    )


@pytest.mark.parametrize(
    ("dtype", "peer"),
    [
        ("bf16", "numpy"),
        ("bf16", "ml_dtypes"),
        ("bf16", "torch"),
        ("f16", "numpy"),
        ("f16", "torch"),
    ],
)
@pytest.mark.parametrize("way", ["to", "from"])
def bench_convert(race, weights, way, dtype, peer):
    x = weights[dtype if way == "to" else "f32"]
    to = np.dtype(np.float32) if way == "to" else weights[dtype].dtype
    out, options = empty(x.shape, to), {"num_threads": 1}

    def convert(out):
        if way == "to":
            return kernels.to_float32(x, out=out, **options)
        return kernels.from_float32(x, to.name, out=out, **options)

    meet(
        race,
        lambda: convert(out),
        peer,
        load(peer).convert(x, empty(out.shape, out.dtype), convert(None)),
        size=x.size,
        nbytes=nbytes(x, out),
        ceiling=one_pass(x, out.nbytes),
    )


@beside("numpy", "torch", "torch_compile")
@pytest.mark.parametrize("name", ["absmax", "minmax"])
def bench_range(race, weights, name, peer):
    x, kernel = weights["f32"], getattr(kernels, name)
    meet(
        race,
        lambda: kernel(x, num_threads=1),
        peer,
        getattr(load(peer), name)(x, kernel(x)),
        size=x.size,
        nbytes=x.nbytes,
        ceiling=one_pass(x, 0),
    )


@beside("numpy", "torch")
def bench_errors(race, weights, peer):
    x = weights["f32"]
    y = at_a_line(x + np.float32(0.001))
    meet(
        race,
        lambda: kernels.error_sums(x, y, num_threads=1),
        peer,
        load(peer).error_sums(x, y, kernels.error_sums(x, y)),
        size=x.size,
        nbytes=2 * x.nbytes,
        ceiling=Ceiling(Stream(x, 0), Stream(y, 0)),
    )
