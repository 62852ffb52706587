# SPDX-License-Identifier: MIT
"""Tiles for integer dot products: several rows together, a few bytes of each at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill.layouts.around import Around, check_inner
from bitmill.layouts.base import Layout, check_multiple, whole
from bitmill.layouts.integers import Integers

_DEPTHS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Tiles(Around):
    """Codes [..., N, K] as tiles [..., ceil(N/R), B/D, R, D], of R rows and D bytes of each.

    The B bytes of a row are those of the `inner` layout. What an instruction takes that sums
    products of D bytes in every 32-bit lane (vpdpbusd, sdot: D = 4) lies side by side for R rows,
    and the steps along K follow each other.

        Tiles(48, inner=Integers(biased=True))   bytes u = q + 128, as vpdpbusd wants one factor
        Tiles(16, inner=Nibbles(8))              4-bit codes: 8 of a row in 4 bytes, of which the
                                                 low nibbles are the first four, the high the others

    Rows are filled up, and rows added, with the `pad` of the inner layout.

    Raises TypeError for an `inner` that is no layout, ValueError for a depth other than 1, 2, 4 and
    8, and for an inner layout that puts rows together or has no bytes.

    >>> import numpy as np
    >>> codes = np.arange(12, dtype=np.int8).reshape(2, 6)
    >>> tiles = Tiles(2)
    >>> packed = tiles.pack(codes)
    >>> packed.shape
    (1, 2, 2, 4)
    >>> packed[0, 0].tolist(), packed[0, 1].tolist()
    ([[0, 1, 2, 3], [6, 7, 8, 9]], [[4, 5, 0, 0], [10, 11, 0, 0]])
    >>> (tiles.unpack(packed, (2, 6)) == codes).all()
    np.True_
    """

    rows: int = 16
    depth: int = 4
    _: KW_ONLY
    inner: Layout = field(default_factory=Integers)

    def __post_init__(self) -> None:
        check_multiple(self.rows, "rows")
        if _check.integer(self.depth, "depth", low=1, high=1 << 31) not in _DEPTHS:
            raise ValueError(f"depth={self.depth!r} is not one of: {', '.join(map(str, _DEPTHS))}")
        check_inner(self.inner)
        if self.inner.dtype.itemsize != 1 or len(self.inner.shape((1,))) != 1:
            raise ValueError(f"inner={self.inner!r} does not make a row into a row of bytes")

    @property
    def unit(self) -> int:
        """The least that is whole units of the inner layout and whole steps."""
        unit = self.inner.unit
        (nbytes,) = self.inner.shape((unit,))
        return unit * self.depth // math.gcd(nbytes, self.depth)

    def padded(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the codes with the pads: whole tiles; a row alone becomes a matrix."""
        *front, columns = super().padded(shape)
        *front, rows = front or [1]
        return (*front, whole(rows, self.rows), columns)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Tiles, steps along the row, rows of a tile, bytes of a step."""
        *front, rows, columns = self.padded(shape)
        (nbytes,) = self.inner.shape((columns,))
        return (*front, rows // self.rows, nbytes // self.depth, self.rows, self.depth)

    def write(self, codes: Array, out: Array) -> None:
        """Tile by tile, so that its rows are in the cache when they are cut into steps."""
        tiles = self._tiles(codes)
        count, _, columns = tiles.shape
        steps = self._steps(out, count)
        rows = np.empty(self.inner.shape((self.rows, columns)), self.dtype)
        for tile, step in zip(tiles, steps, strict=True):
            self.inner.write(tile, rows)
            items = self._items(rows).T
            for some in _slices(self.rows):
                step[:, some] = items[:, some]

    def read(self, packed: Array, out: Array) -> None:
        """The inverse of `write`."""
        tiles = self._tiles(out)
        count, _, columns = tiles.shape
        steps = self._steps(packed, count)
        rows = np.empty(self.inner.shape((self.rows, columns)), self.dtype)
        for tile, step in zip(tiles, steps, strict=True):
            items = self._items(rows).T
            for some in _slices(self.rows):
                items[:, some] = step[:, some]
            self.inner.read(rows, tile)

    def _tiles(self, codes: Array) -> Array:
        """The codes by tiles: [tiles, rows, K]."""
        *front, rows, columns = codes.shape
        return codes.reshape(math.prod(front) * rows // self.rows, self.rows, columns)

    def _steps(self, packed: Array, count: int) -> Array:
        """The packed array as [tiles, steps, rows], the bytes of a step as one item."""
        *_, steps, rows, depth = packed.shape
        return self._items(packed.reshape(count, steps, rows * depth))

    def _items(self, array: Array) -> Array:
        """Bytes along the last axis, `depth` of them as one integer: they move together."""
        return array.view(f"u{self.depth}")


def _slices(rows: int) -> Iterator[slice]:
    """The rows of a tile, 16 at a time: a cache has few ways for addresses that lie rows apart."""
    for start in range(0, rows, 16):
        yield slice(start, start + 16)
