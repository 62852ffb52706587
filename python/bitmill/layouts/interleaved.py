# SPDX-License-Identifier: MIT
"""Codes of a row in another order than that of the row."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill.layouts.around import Around, check_inner
from bitmill.layouts.base import Layout


@dataclass(frozen=True)
class Interleaved(Around):
    """Another layout whose codes are put in order first: of every n = len(order) codes of a row,
    place i takes code order[i].

    AutoAWQ packs its codes [in, out] along the outputs as

        Interleaved((0, 2, 4, 6, 1, 3, 5, 7), Words(4, signed=False))

    Rows are filled up with the `pad` of the `inner` layout, in which a row has to be whole units of
    both. Raises TypeError for an `inner` that is no layout, ValueError if `order` is no permutation
    of 0 … n − 1, or `inner` one that puts rows together.

    >>> import numpy as np
    >>> from bitmill.layouts import Words
    >>> codes = np.arange(8, dtype=np.uint8)
    >>> awq = Interleaved((0, 2, 4, 6, 1, 3, 5, 7), Words(4, signed=False))
    >>> hex(awq.pack(codes)[0])
    '0x75316420'
    """

    order: tuple[int, ...]
    inner: Layout

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", _permutation(self.order))
        check_inner(self.inner)

    @property
    def unit(self) -> int:
        """The least that is whole units of the inner layout and whole orders."""
        return math.lcm(len(self.order), self.inner.unit)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """That of the inner layout, of rows with all pads."""
        return self.inner.shape(self.padded(shape))

    def write(self, codes: Array, out: Array) -> None:
        """Put the codes in order, then do as the inner layout does."""
        # `take` leaves rows contiguous whatever the shape; an index does not.
        ordered = np.take(self._runs(codes), self.order, axis=-1)
        self.inner.write(ordered.reshape(codes.shape), out)

    def read(self, packed: Array, out: Array) -> None:
        """The inverse of `write`."""
        codes = np.empty(out.shape, out.dtype)
        self.inner.read(packed, codes)
        self._runs(out)[..., self.order] = self._runs(codes)

    def _runs(self, codes: Array) -> Array:
        """The codes by runs of which each is put in order."""
        *front, columns = codes.shape
        return codes.reshape(*front, columns // len(self.order), len(self.order))


def _permutation(order: object) -> tuple[int, ...]:
    """`order` as a tuple of ints, if each of 0 … n − 1 is in it once."""
    if isinstance(order, str) or not isinstance(order, Iterable):
        raise TypeError(f"order={order!r} is a {type(order).__name__}; order takes a tuple of ints")
    order = tuple(_check.integer(i, "order", low=0, high=1 << 31) for i in order)
    if not order or sorted(order) != list(range(len(order))):
        raise ValueError(f"order={order} is no permutation of 0 to {len(order) - 1}")
    return order
