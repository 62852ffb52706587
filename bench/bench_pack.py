# SPDX-License-Identifier: MIT
"""Codes to packed words and back, at every width."""

from __future__ import annotations

import numpy as np
import pytest

from agree import CHECKED, nbytes, same_bits, top
from arrays import at_a_line, empty
from bitmill import kernels, reference
from ceilings import one_pass

WIDTHS = range(1, 9)
SIGNED = pytest.mark.parametrize("signed", [True, False], ids=["int8", "uint8"])


def codes_of(shape: tuple[int, int], bits: int, signed: bool) -> np.ndarray:
    """Random codes from all the fields that `bits` can hold."""
    fields = np.random.default_rng(bits).integers(0, 1 << bits, shape, np.uint8)
    return at_a_line((fields - np.uint8(1 << bits - 1)).view(np.int8) if signed else fields)


@SIGNED
@pytest.mark.parametrize("bits", WIDTHS)
def bench_pack(race, weights, isa, bits, signed):
    codes = codes_of(weights.shape, bits, signed)
    out = kernels.pack(codes, bits, num_threads=1)
    same_bits(top(out), reference.pack(codes[CHECKED], bits))
    race(
        lambda: kernels.pack(codes, bits, out=out, num_threads=1),
        size=codes.size,
        nbytes=nbytes(codes, out),
        ceiling=one_pass(codes, out.nbytes),
    )


@SIGNED
@pytest.mark.parametrize("bits", WIDTHS)
def bench_unpack(race, weights, isa, bits, signed):
    codes = codes_of(weights.shape, bits, signed)
    packed, out = kernels.pack(codes, bits, num_threads=1), empty(codes.shape, codes.dtype)
    options = {"signed": signed, "out": out, "num_threads": 1}
    kernels.unpack(packed, bits, codes.shape[1], **options)
    same_bits(out, codes)
    race(
        lambda: kernels.unpack(packed, bits, codes.shape[1], **options),
        size=codes.size,
        nbytes=nbytes(packed, out),
        ceiling=one_pass(packed, out.nbytes),
    )
