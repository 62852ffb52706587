# SPDX-License-Identifier: MIT
"""Codes as bit streams, one for each row: in words, or in the blobs of ONNX."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill._sizes import word_count
from bitmill.layouts.base import Layout, check_multiple, check_pad
from bitmill.layouts.words import pack, unpack


class _Stream(Layout):
    """What both have in common: fields of `bits` bits, of signed or unsigned codes."""

    bits: int
    signed: bool

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """int8 or uint8."""
        return np.dtype(np.int8 if self.signed else np.uint8)

    def _check_codes(self) -> None:
        bits = _check.integer(self.bits, "bits", low=1, high=8)
        low = -(1 << bits - 1) if _check.flag(self.signed, "signed") else 0
        check_pad(self.pad, low, low + (1 << bits) - 1)


@dataclass(frozen=True)
class Words(_Stream):
    """The words of `bitmill.pack`: rows [..., K] of codes become [..., ceil(K'·bits/32)] uint32.

    K' is K rounded up to `multiple`, with the code `pad` behind the others; the bits that are left
    in the last word are 0. With the defaults this is the `weight_packed` of compressed-tensors, and
    for unsigned codes the `weight` of MLX.

    Raises ValueError for values out of range.

    >>> import numpy as np
    >>> words = Words(4, signed=False)
    >>> packed = words.pack(np.array([0, 1, 2, 15], np.uint8))
    >>> hex(packed[0]), words.unpack(packed, (4,))
    ('0xf210', array([ 0,  1,  2, 15], dtype=uint8))
    """

    bits: int
    _: KW_ONLY
    signed: bool = True
    multiple: int = 1
    pad: int = 0

    def __post_init__(self) -> None:
        self._check_codes()
        check_multiple(self.multiple)

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint32."""
        return np.dtype(np.uint32)

    @property
    def unit(self) -> int:
        """The multiple that rows are filled up to."""
        return self.multiple

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The words of each row."""
        *front, columns = self.padded(shape)
        return (*front, word_count(columns, self.bits))

    def write(self, codes: Array, out: Array) -> None:
        """`bitmill.pack`."""
        pack(codes, self.bits, out=out)

    def read(self, packed: Array, out: Array) -> None:
        """`bitmill.unpack`."""
        unpack(packed, self.bits, out.shape[-1], signed=self.signed, out=out)


@dataclass(frozen=True)
class Blobs(_Stream):
    """The blobs of ONNX Runtime's MatMulNBits: [..., K] becomes [..., ceil(K/block),
    block·bits/8] bytes.

    Each block of a row is one blob; the bytes of a row are those of its words. `bits` is 2, 4 or 8,
    `block` a power of two from 16 on. A row is filled up with fields of 0, as ONNX Runtime does it;
    they are the codes −2^(bits − 1) where codes are signed.

    Raises ValueError for values out of range.

    >>> import numpy as np
    >>> blobs = Blobs(4, 16)
    >>> packed = blobs.pack(np.arange(-8, -4, dtype=np.int8).reshape(1, 4))
    >>> packed.shape, packed.tobytes().hex()
    ((1, 1, 8), '1032000000000000')
    """

    bits: int
    block: int
    _: KW_ONLY
    signed: bool = True

    def __post_init__(self) -> None:
        self._check_codes()
        if self.bits not in (2, 4, 8):
            raise ValueError(f"bits={self.bits} is not one of: 2, 4, 8")
        block = _check.integer(self.block, "block", low=16, high=1 << 31)
        if block & block - 1:
            raise ValueError(f"block={block} is no power of two")

    @property
    def pad(self) -> int:  # type: ignore[override]
        """The least code, whose field is 0."""
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        return np.dtype(np.uint8)

    @property
    def unit(self) -> int:
        """A block."""
        return self.block

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The blobs of each row, and the bytes of each blob."""
        *front, columns = self.padded(shape)
        return (*front, columns // self.block, self.block * self.bits // 8)

    def write(self, codes: Array, out: Array) -> None:
        """`bitmill.pack`, cut into blobs."""
        out[...] = pack(codes, self.bits).view(np.uint8).reshape(out.shape)

    def read(self, packed: Array, out: Array) -> None:
        """`bitmill.unpack` of all blobs of a row."""
        *front, columns = out.shape
        words = packed.reshape(*front, columns * self.bits // 8).view(np.uint32)
        unpack(words, self.bits, columns, signed=self.signed, out=out)
