# SPDX-License-Identifier: MIT
"""One sha256 over a corpus of outputs, whatever the ISA, the threads and the chunking."""

from __future__ import annotations

import hashlib

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm

# The bytes themselves are a promise: files written by one version are those of the next.
DIGEST = "883feefb11f39cfd82c594154dda965fa5433ce4aa794b4f080435d6cef1568f"

BY_ROWS = [
    bm.Affine(4, group_size=128),
    bm.Affine(4, group_size=32, scale_rule="signed_max", scales="float16"),
    bm.Affine(3, group_size=100, symmetric=False, scales="bfloat16"),
    bm.Affine(5, group_size=64, symmetric=False, offset=True, scales="float16"),
    bm.Affine(8, scale_rule="full_range", narrow_range=True),
    bm.Affine(16),
]
WHOLE = [bm.Affine(8, axis=None), bm.Affine(4, axis=0), bm.Affine(8, axis=1, symmetric=False)]


def weights():
    """Heavy-tailed values made by integer arithmetic alone, so the same everywhere: 1400 x 2100."""
    i = np.arange(1400 * 2100, dtype=np.uint64)
    mixed = (i * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)
    body = (mixed & np.uint64(0xFFFFF)).astype(np.float32) / np.float32(1 << 20) - np.float32(0.5)
    tail = np.where(mixed >> np.uint64(20) & np.uint64(0x3FF) == 0, np.float32(40), np.float32(1))
    return (body * tail).reshape(1400, 2100)


def digest(threads: int, rows: int) -> str:
    """sha256 over all outputs; where rows are independent, `rows` of them are given at a time."""
    sha = hashlib.sha256()
    bm.set_num_threads(threads)
    for dtype in (np.float32, np.float16, ml_dtypes.bfloat16, np.float64):
        x = weights().astype(dtype)
        for scheme in BY_ROWS:
            parts = [bm.quantize(x[r : r + rows], scheme) for r in range(0, len(x), rows)]
            for name in parts[0].arrays:
                sha.update(np.concatenate([q.arrays[name] for q in parts]).tobytes())
            sha.update(np.concatenate([q.dequantize(dtype="bfloat16") for q in parts]).tobytes())
        for scheme in WHOLE:
            q = bm.quantize(x, scheme)
            for array in q.arrays.values():
                sha.update(array.tobytes())
            m = bm.kernels.error_sums(x, q.dequantize())
            sha.update(b"".join(column.tobytes() for column in m[:5]))  # the sums, not the place
    bm.set_num_threads(None)
    return sha.hexdigest()


@pytest.mark.parametrize(
    ("threads", "rows"), [(1, 1400), (2, 1400), (3, 700), (5, 1400), (8, 37), (16, 2)]
)
def test_one_digest_for_every_isa_thread_count_and_chunking(isa, threads, rows):
    assert digest(threads, rows) == DIGEST
