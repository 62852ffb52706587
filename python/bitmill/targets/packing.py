# SPDX-License-Identifier: MIT
"""The layouts that targets have, by scheme and alignment."""

from __future__ import annotations

from functools import partial

from bitmill.layouts import Blobs, Integers, Layout, Nibbles, Tiles, Words
from bitmill.schemes import Affine


def words(scheme: Affine, alignment: int) -> Layout:
    """The words that bitmill holds; above 8 bits an integer for each code.

    >>> words(Affine(4), 32), words(Affine(16), 4).dtype
    (Words(bits=4, signed=True, multiple=32, pad=0), dtype('int16'))
    """
    if scheme.bits > 8:
        return integers(scheme, alignment)
    return Words(scheme.bits, signed=scheme.symmetric, multiple=alignment)


def integers(scheme: Affine, alignment: int, *, biased: bool = False) -> Integers:
    """An integer for each code."""
    width = "16" if scheme.bits > 8 else "8"
    codes = f"int{width}" if scheme.symmetric else f"uint{width}"
    return Integers(codes, biased=biased and scheme.symmetric, multiple=alignment)


def blobs(scheme: Affine, alignment: int) -> Layout:
    """A blob for each group: MatMulNBits."""
    assert scheme.group_size is not None  # as the target asks for
    return Blobs(scheme.bits, scheme.group_size, signed=scheme.symmetric)


def blocks(scheme: Affine, alignment: int) -> Layout:
    """The codes of the blocks of ggml: halves in nibbles, or bytes."""
    if scheme.bits == 4:
        return Nibbles(alignment, signed=scheme.symmetric)
    return integers(scheme, alignment)


def _tiles(scheme: Affine, alignment: int, *, rows: int, biased: bool) -> Layout:
    """Tiles of bytes, or of 4-bit codes of which four lie in the low nibbles of four bytes and the
    next four in the high ones."""
    if scheme.bits == 4:
        return Tiles(rows, inner=Nibbles(8, signed=scheme.symmetric))
    return Tiles(rows, inner=integers(scheme, alignment, biased=biased))


def tiles(rows: int, *, biased: bool = False) -> partial[Layout]:
    """Tiles of so many rows; signed bytes as unsigned ones if `biased`.

    >>> tiles(16)(Affine(4), 8)
    Tiles(rows=16, depth=4, inner=Nibbles(block=8, first='low', signed=True, pad=0))
    """
    return partial(_tiles, rows=rows, biased=biased)
