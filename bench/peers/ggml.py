# SPDX-License-Identifier: MIT
"""ggml, the kernels of llama.cpp, through the shared library in llama-cpp-python."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from agree import CHECKED, within_half_a_step
from peers import Rival

BLOCK, NBYTES = 32, {"Q4_0": 18, "Q4_1": 20}
TYPE = {"Q4_0": 2, "Q4_1": 3}


def library(part: str) -> ctypes.CDLL:
    """libggml-base or libggml-cpu; nothing is imported, as llama_cpp wants all its libraries."""
    spec = find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        raise ImportError("llama_cpp is not installed")
    found = sorted(Path(spec.origin).parent.glob(f"lib/*ggml-{part}*"))
    if not found:
        raise ImportError(f"llama_cpp has no lib/libggml-{part}")
    return ctypes.CDLL(str(found[0]))


lib = library("base")
lib.ggml_quantize_chunk.restype = ctypes.c_size_t
_initialised = [lib.ggml_quantize_init(kind) for kind in TYPE.values()]


def quantize(x: np.ndarray, kind: str, out: np.ndarray) -> np.ndarray:
    """All rows of x as blocks of this kind."""
    lib.ggml_quantize_chunk(
        ctypes.c_int(TYPE[kind]), ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(out.ctypes.data),
        ctypes.c_int64(0), ctypes.c_int64(x.shape[0]), ctypes.c_int64(x.shape[1]), None,
    )  # fmt: skip
    return out


def blocks_of(x: np.ndarray, kind: str) -> np.ndarray:
    return np.empty((x.size // BLOCK, NBYTES[kind]), np.uint8)


def values(blocks: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Values and steps of blocks: scale, for Q4_1 the least value, low nibbles, high nibbles."""
    heads = np.ascontiguousarray(blocks[:, :-16]).view(np.float16).astype(np.float32)
    fields = np.concatenate([blocks[:, -16:] & 15, blocks[:, -16:] >> 4], axis=1)
    if kind == "Q4_0":
        return (fields.astype(np.float32) - 8) * heads, np.abs(heads)
    return fields * heads[:, :1] + heads[:, 1:], heads[:, :1]


def int4_sym(x, group_size, ours):
    """Q4_0 cuts off what lies beyond 7 steps of 8: within 1.05 steps."""
    return _int4(x, "Q4_0", 0.55)


def int4_asym(x, group_size, ours):
    """Q4_1 rounds scale and least value to float16: within 0.6 steps."""
    return _int4(x, "Q4_1", 0.1)


def _int4(x, kind, slack):
    blocks = blocks_of(x, kind)

    def check(answer):
        got, step = values(answer[: x[CHECKED].size // BLOCK], kind)
        within_half_a_step(x[CHECKED].reshape(-1, BLOCK), got, step, slack)

    return Rival(lambda: quantize(x, kind, blocks), check)


def dequantize_int4(q, group_size, out, ours):
    """Of Q4_0 blocks made of our values; its own formula, bit for bit."""
    blocks = quantize(ours, "Q4_0", blocks_of(ours, "Q4_0"))

    def run():
        lib.dequantize_row_q4_0(
            ctypes.c_void_p(blocks.ctypes.data), ctypes.c_void_p(out.ctypes.data),
            ctypes.c_int64(out.size),
        )  # fmt: skip
        return out

    def check(answer):
        part = answer[CHECKED].reshape(-1, BLOCK)
        wanted, _ = values(blocks[: len(part)], "Q4_0")
        np.testing.assert_array_equal(part, wanted)

    return Rival(run, check)
