# SPDX-License-Identifier: MIT
"""Codes to the layouts that NumPy packs, and back, beside passes over memory of that size."""

from __future__ import annotations

import numpy as np
import pytest

from agree import nbytes
from arrays import empty
from bitmill.layouts import Blobs, Integers, Interleaved, Layout, Nibbles, Tiles, Words
from ceilings import one_pass

LAYOUTS: dict[str, Layout] = {
    "blobs": Blobs(4, 32),
    "nibbles": Nibbles(),
    "halves": Nibbles(32),
    "awq": Interleaved((0, 2, 4, 6, 1, 3, 5, 7), Words(4)),
    "tiles_16": Tiles(16),
    "tiles_48_biased": Tiles(48, inner=Integers(biased=True)),
    "tiles_16_nibbles": Tiles(16, inner=Nibbles(8)),
}


def codes_of(shape: tuple[int, int]) -> np.ndarray:
    """Random codes of 4 bits."""
    return np.random.default_rng(0).integers(-8, 8, shape, np.int8)


@pytest.mark.parametrize("name", LAYOUTS)
def bench_pack(race, weights, name):
    layout, codes = LAYOUTS[name], codes_of(weights.shape)
    packed = layout.pack(codes)
    assert (layout.unpack(packed, codes.shape) == codes).all()
    race(
        lambda: layout.pack(codes, out=packed),
        size=codes.size,
        nbytes=nbytes(codes, packed),
        ceiling=one_pass(codes, packed.nbytes),
    )


@pytest.mark.parametrize("name", LAYOUTS)
def bench_unpack(race, weights, name):
    layout, codes = LAYOUTS[name], codes_of(weights.shape)
    packed, out = layout.pack(codes), empty(codes.shape, codes.dtype)
    assert (layout.unpack(packed, codes.shape, out=out) == codes).all()
    race(
        lambda: layout.unpack(packed, codes.shape, out=out),
        size=codes.size,
        nbytes=nbytes(codes, packed),
        ceiling=one_pass(packed, out.nbytes),
    )
