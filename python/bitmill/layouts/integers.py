# SPDX-License-Identifier: MIT
"""The layout without packing: an integer for each code."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill.layouts.base import Layout, check_multiple, check_pad

DTYPES = ("int8", "uint8", "int16", "uint16")


@dataclass(frozen=True)
class Integers(Layout):
    """An integer for each code: [..., K] becomes [..., K rounded up to `multiple`].

    Parameters
    ----------
    codes
        Dtype of the codes: "int8", "uint8", "int16" or "uint16".
    biased
        Signed codes are stored as unsigned ones, u = q + 2^(width − 1), for instructions that
        multiply unsigned by signed bytes. Σ q·x = Σ u·x − 2^(width − 1)·Σ x.
    multiple, pad
        Rows are filled up with the code `pad` to whole `multiple`s.

    Raises ValueError for values out of range and for biased codes that are unsigned.

    >>> import numpy as np
    >>> Integers(multiple=4, biased=True).pack(np.array([-128, 0, 127], np.int8))
    array([  0, 128, 255, 128], dtype=uint8)
    """

    codes: str = "int8"
    _: KW_ONLY
    biased: bool = False
    multiple: int = 1
    pad: int = 0

    def __post_init__(self) -> None:
        limits = np.iinfo(_check.choice(self.codes, "codes", DTYPES))
        check_pad(self.pad, int(limits.min), int(limits.max))
        check_multiple(self.multiple)
        if _check.flag(self.biased, "biased") and limits.min == 0:
            raise ValueError(f"biased=True goes with signed codes, not with {self.codes}")

    @property
    def bits(self) -> int:  # type: ignore[override]
        """Those of the integers."""
        return 8 * self.code_dtype.itemsize

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """Dtype of the codes."""
        return np.dtype(self.codes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the codes, unsigned if they are biased."""
        return np.dtype(f"u{self.codes}") if self.biased else self.code_dtype

    @property
    def unit(self) -> int:
        """The multiple that rows are filled up to."""
        return self.multiple

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """That of the codes with the pads."""
        return self.padded(shape)

    def write(self, codes: Array, out: Array) -> None:
        """Copy the codes, with another first bit if they are biased."""
        if self.biased:
            np.bitwise_xor(codes.view(self.dtype), self._first_bit, out=out)
        else:
            out[...] = codes

    def read(self, packed: Array, out: Array) -> None:
        """The inverse of `write`."""
        if self.biased:
            np.bitwise_xor(packed, self._first_bit, out=out.view(self.dtype))
        else:
            out[...] = packed

    @property
    def _first_bit(self) -> Any:
        return self.dtype.type(1 << 8 * self.dtype.itemsize - 1)
