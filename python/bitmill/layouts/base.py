# SPDX-License-Identifier: MIT
"""What every layout offers: codes of a logical shape in, whole units in memory out, and back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from bitmill import _arguments, _check
from bitmill._dtypes import Array
from bitmill.layouts.given import integers


class Layout(ABC):
    """Where the codes of a tensor [..., N, K] lie in memory.

    `unit` codes of a row lie together, in tiles several rows too: rows are filled up to whole units
    and rows are added, all with the code `pad`. That is so in the packed array alone: `unpack`
    gives the codes of the logical shape, bit for bit. Ranks from 1 on; [K] is one row.

    Layouts are frozen and compare by value.
    """

    bits: int
    """Of a code."""
    pad: int
    """The code that fills up."""

    @property
    @abstractmethod
    def code_dtype(self) -> np.dtype[Any]:
        """Dtype of the codes: signed ones, or unsigned."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the packed array."""

    @property
    @abstractmethod
    def unit(self) -> int:
        """Codes of a row that lie together."""

    def padded(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the codes with the pads.

        >>> from bitmill.layouts import Nibbles, Tiles
        >>> Nibbles(32).padded((3, 100)), Tiles(16).padded((3, 101)), Tiles(16).padded((101,))
        ((3, 128), (16, 104), (16, 104))
        """
        shape = _check.shape(shape)
        return (*shape[:-1], whole(shape[-1], self.unit))

    @abstractmethod
    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the packed array for codes of this shape."""

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of the packed array for codes of this shape, pads among them.

        >>> from bitmill.layouts import Nibbles
        >>> Nibbles(32).nbytes((3, 100))
        192
        """
        return math.prod(self.shape(shape)) * self.dtype.itemsize

    def pack(self, codes: Any, *, out: Array | None = None) -> Array:
        """The packed array of these codes, of `code_dtype`, any rank from 1 and any strides.

        Raises TypeError for another dtype, ValueError for codes out of range and for an `out` that
        does not fit.
        """
        of = self.code_dtype.name
        given, codes = codes, integers(codes, "codes", (of,), f"codes.astype(np.{of})")
        out = _check.output(out, self.shape(codes.shape), self.dtype, given)
        try:
            self.write(_filled_up(codes, self.padded(codes.shape), self.pad), out)
        except ValueError:  # which tells places among the pads, or in a tile
            raise _arguments.code_error(codes, self.bits) from None
        return out

    def unpack(self, packed: Any, shape: tuple[int, ...], *, out: Array | None = None) -> Array:
        """The codes of this shape that `pack` made into `packed`; what the pads hold is not read.

        Raises TypeError for another dtype, ValueError if codes of `shape` do not take an array of
        the shape of `packed`, and for an `out` that does not fit.
        """
        shape, of = _check.shape(shape), self.dtype.name
        given, packed = packed, integers(packed, "packed", (of,), f"packed.view(np.{of})")
        if packed.shape != self.shape(shape):
            raise ValueError(
                f"packed has shape {packed.shape}; codes of shape {shape} take {self.shape(shape)}"
            )
        out = _check.output(out, shape, self.code_dtype, given)
        padded = self.padded(shape)
        if padded == shape:
            self.read(packed, out)
            return out
        codes = np.empty(padded, self.code_dtype)
        self.read(packed, codes)
        out[...] = codes[_part(shape, padded)].reshape(shape)
        return out

    @abstractmethod
    def write(self, codes: Array, out: Array) -> None:
        """`pack` without checks, for contiguous codes that fill whole units."""

    @abstractmethod
    def read(self, packed: Array, out: Array) -> None:
        """`unpack` without checks, of all codes with the pads."""


def whole(count: int, unit: int) -> int:
    """`count`, rounded up to a multiple of `unit`.

    >>> whole(100, 32), whole(0, 32)
    (128, 0)
    """
    return -(-count // unit) * unit


def check_pad(pad: Any, low: int, high: int) -> int:
    """`pad`, if it is one of the codes `low` … `high`."""
    return _check.integer(pad, "pad", low=low, high=high, remedy=": it is one of the codes")


def check_multiple(multiple: Any, name: str = "multiple") -> int:
    """`multiple`, if a row can be filled up to whole ones."""
    return _check.integer(multiple, name, low=1, high=1 << 31)


def _part(shape: Sequence[int], padded: Sequence[int]) -> tuple[slice, ...]:
    """Where codes of this shape lie among the padded ones; a row alone, in the first of a tile."""
    return tuple(slice(n) for n in (*(1,) * (len(padded) - len(shape)), *shape))


def _filled_up(codes: Array, padded: tuple[int, ...], pad: int) -> Array:
    """The codes with the pads; the codes themselves if there are none."""
    if codes.shape == padded:
        return codes
    filled = np.full(padded, pad, codes.dtype)
    filled[_part(codes.shape, padded)] = codes
    return filled
