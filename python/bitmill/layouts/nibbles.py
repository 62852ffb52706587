# SPDX-License-Identifier: MIT
"""Two 4-bit codes in each byte, in the orders that there are."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from bitmill import _arguments, _check
from bitmill._dtypes import Array
from bitmill.layouts.base import Layout, check_multiple, check_pad

_BIAS = np.uint8(8)
_SHIFT = 4


@dataclass(frozen=True)
class Nibbles(Layout):
    """Two 4-bit codes a byte: rows [..., K] become [..., K'/2] uint8, K' = K up to whole blocks.

    Byte j of a block of n codes holds codes j and n/2 + j of the block, the former in the nibble
    that `first` names: "low" or "high". Signed codes are stored as u = q + 8.

        Nibbles()                 neighbours, low nibble first: compressed-tensors, ONNX, MLX
        Nibbles(first="high")     neighbours, high nibble first: bitsandbytes
        Nibbles(32)               halves of blocks of 32: ggml (GGUF's Q4_0 and its kin)

    `block` is even; rows are filled up with the code `pad`. Raises ValueError for values out of
    range, and in `pack` for codes that are not of 4 bits.

    >>> import numpy as np
    >>> codes = np.array([0, 1, 2, 3], np.uint8)
    >>> for order in (Nibbles(signed=False), Nibbles(first="high", signed=False),
    ...               Nibbles(4, signed=False)):
    ...     print(order.pack(codes).tobytes().hex())
    1032
    0123
    2031
    """

    bits = 4
    block: int = 2
    _: KW_ONLY
    first: str = "low"
    signed: bool = True
    pad: int = 0

    def __post_init__(self) -> None:
        if check_multiple(self.block, "block") % 2:
            raise ValueError(f"block={self.block} must be even: a byte holds two codes")
        _check.choice(self.first, "first", ("low", "high"))
        low = -8 if _check.flag(self.signed, "signed") else 0
        check_pad(self.pad, low, low + 15)

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """int8 or uint8."""
        return np.dtype(np.int8 if self.signed else np.uint8)

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        return np.dtype(np.uint8)

    @property
    def unit(self) -> int:
        """A block."""
        return self.block

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A byte for two codes."""
        *front, columns = self.padded(shape)
        return (*front, columns // 2)

    def write(self, codes: Array, out: Array) -> None:
        """Put the halves of the blocks together."""
        fields = codes.view(np.uint8) + _BIAS if self.signed else codes
        if fields.size and fields.max() > 15:
            raise _arguments.code_error(codes, 4)
        low, high = self._halves(fields)
        np.bitwise_or(low, high << _SHIFT, out=out.view(low.dtype).reshape(low.shape))

    def read(self, packed: Array, out: Array) -> None:
        """Take the halves of the blocks apart."""
        fields = out.view(np.uint8)
        low, high = self._halves(fields)
        halves = packed.view(low.dtype).reshape(low.shape)
        nibble = int.from_bytes(bytes([15] * low.itemsize), "little")
        np.bitwise_and(halves, nibble, out=low)
        np.bitwise_and(halves >> _SHIFT, nibble, out=high)
        if self.signed:
            np.subtract(fields, _BIAS, out=fields)  # wraps around, as it should

    def _halves(self, fields: Array) -> tuple[Array, Array]:
        """Views of the fields for low nibbles and for high ones, several bytes as one integer.

        A field has room for a shift by 4, so what is done to the integer is done to each of them.
        """
        *front, columns = fields.shape
        half = self.block // 2
        size = math.gcd(half, 8)
        shape = (*front, columns // self.block, 2, half // size)
        blocks = fields.view(f"u{size}").reshape(shape)
        early, late = blocks[..., 0, :], blocks[..., 1, :]
        return (early, late) if self.first == "low" else (late, early)
