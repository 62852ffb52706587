# SPDX-License-Identifier: MIT
"""Floats of 4 to 8 bits: the kernels alone, and whole schemes beside casts of ml_dtypes and torch.

A cast makes FP8 of values that were divided by their scales and limited, which takes a pass over
memory for each step. Its codes are asserted to be ours, but for the sign of zeros.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from agree import CHECKED, nbytes, same_bits, top
from arrays import empty
from bitmill import kernels, reference
from ceilings import one_pass, two_passes

CASES = {
    "fp8 row": {"format": "float8_e4m3fn"},
    "mxfp8": {"format": "float8_e4m3fn", "group_size": 32},
    "mxfp6": {"format": "float6_e2m3fn", "group_size": 32, "packed": True},
    "mxfp4": {"format": "float4_e2m1fn", "group_size": 32, "packed": True},
    "nvfp4": {"format": "float4_e2m1fn", "group_size": 16, "packed": True},
}


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("name", CASES)
def bench_encode(race, weights, isa, name, dtype):
    """With given scales, into the same array every time."""
    x, options = weights[dtype], CASES[name]
    scale = kernels.absmax(x, options.get("group_size")) / np.float32(6)
    codes = kernels.float_encode(x, scale, **options, num_threads=1)
    same_bits(top(codes), reference.float_encode(x[CHECKED], scale[CHECKED], **options))
    race(
        lambda: kernels.float_encode(x, scale, **options, out=codes, num_threads=1),
        size=x.size,
        nbytes=nbytes(x, scale, codes),
        ceiling=one_pass(x, codes.nbytes),
    )


@pytest.mark.parametrize("to", ["f32", "bf16"])
@pytest.mark.parametrize("name", CASES)
def bench_decode(race, weights, isa, name, to):
    """Into the same array every time."""
    x, options = weights["f32"], CASES[name]
    scale = kernels.absmax(x, options.get("group_size")) / np.float32(6)
    codes = kernels.float_encode(x, scale, **options, num_threads=1)
    out = empty(x.shape, weights[to].dtype)
    stored = {k: v for k, v in options.items() if k != "packed"} | {"dtype_name": out.dtype.name}
    if "packed" in options:
        stored["length"] = x.shape[1]
    kernels.float_decode(codes, scale, **stored, out=out, num_threads=1)
    same_bits(top(out), reference.float_decode(codes[CHECKED], scale[CHECKED], **stored))
    race(
        lambda: kernels.float_decode(codes, scale, **stored, out=out, num_threads=1),
        size=out.size,
        nbytes=nbytes(codes, scale, out),
        ceiling=one_pass(codes, out.nbytes),
    )


@pytest.mark.parametrize("kind", ["fp8_e4m3", "mxfp4", "nvfp4"])
def bench_quantize(race, weights, isa, kind):
    """A pass for the scales, and a pass for the codes."""
    x, scheme = weights["f32"], bm.Float(kind)
    q = bm.quantize(x, scheme, num_threads=1)
    race(
        lambda: bm.quantize(x, scheme, num_threads=1),
        size=x.size,
        nbytes=2 * x.nbytes + q.nbytes,
        ceiling=two_passes(x, q.nbytes),
    )


def ml_dtypes_cast(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    q = np.clip(x / scale, -448, 448)
    return q.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)


def torch_cast(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    q = (torch.from_numpy(x) / torch.from_numpy(scale)).clamp(-448, 448)
    return q.to(torch.float8_e4m3fn).view(torch.uint8).numpy()


PEERS = {"ml_dtypes": ml_dtypes_cast, "torch": torch_cast}


@pytest.mark.parametrize("peer", PEERS)
def bench_fp8_beside(race, weights, peer):
    """Codes for given scales, in the ISA in use."""
    x, cast = weights["f32"], PEERS[peer]
    scale = kernels.absmax(x) / np.float32(448)
    codes = kernels.float_encode(x, scale, format="float8_e4m3fn", num_threads=1)
    theirs = cast(x[CHECKED], scale[CHECKED])
    same_bits(codes[CHECKED] & 0x7F, theirs & 0x7F)
    race(
        lambda: kernels.float_encode(x, scale, format="float8_e4m3fn", num_threads=1),
        size=x.size,
        nbytes=nbytes(x, scale, codes),
        rivals={peer: lambda: cast(x, scale)},
    )
