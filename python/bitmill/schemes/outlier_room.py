# SPDX-License-Identifier: MIT
"""Where the outliers of a tensor may lie, what stands for them, and how many fit into a budget."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from bitmill._dtypes import Array
from bitmill.schemes.base import Field, total
from bitmill.schemes.outlier_steps import steps_for, to_positions, to_steps

VALUES, STEPS = "outlier_values", "outlier_steps"
"""The names of the arrays."""


class Room(NamedTuple):
    """Ranges of `length` values that outliers are counted in: the tensor, or each of its rows."""

    ranges: tuple[int, ...]
    """Shape of the ranges: () for one."""
    positions: tuple[int, ...]
    """Shape of those that have positions of their own: () if all share the same."""
    length: int

    def fields(self, count: int, values: str) -> list[Field]:
        """The arrays for `count` outliers in each range, their values in this dtype."""
        name, room = steps_for(self.length, count)
        return [
            Field(VALUES, values, (*self.ranges, count)),
            Field(STEPS, name, (*self.positions, room)),
        ]

    def view(self, x: Array) -> Array:
        """A tensor as [ranges, length]."""
        return x.reshape(math.prod(self.ranges), self.length)

    def places(self, positions: Array) -> Array:
        """Places in the tensor, laid flat, of positions [ranges or 1, n]: int64."""
        starts = np.arange(math.prod(self.ranges), dtype=np.int64) * self.length
        return (starts[:, np.newaxis] + positions).reshape(-1)

    def store(self, positions: Array) -> Array:
        """The array of steps for positions [ranges or 1, n]."""
        steps = to_steps(positions, self.length)
        return steps.reshape(*self.positions, steps.shape[1])

    def read(self, steps: Array, count: int) -> Array:
        """The inverse of `store`."""
        rows = steps.reshape(math.prod(self.positions), steps.shape[-1])
        return to_positions(rows, self.length, count)

    def share(self, fraction: float) -> int:
        """How many values of a range are this part of it, rounded half to even.

        The fraction is meant as it is printed: 0.001 is 1/1000.

        >>> Room((), (), 2500).share(0.001), Room((), (), 3500).share(0.001)
        (2, 4)
        """
        return round(Fraction(str(fraction)) * self.length)

    def most(self, values: str, nbytes: Fraction) -> int | None:
        """How many outliers of each range take no more than `nbytes`; None if not even 0 do."""
        low, high = -1, self.length
        while low < high:
            middle = (low + high + 1) // 2
            if total(self.fields(middle, values)) <= nbytes:
                low = middle
            else:
                high = middle - 1
        return None if low < 0 else low


def room_for(shape: tuple[int, ...], mode: str, per: str) -> Room:
    """The room in a tensor of this shape.

    >>> room_for((4, 6, 8), "element", "tensor"), room_for((4, 6, 8), "column", "tensor")
    (Room(ranges=(), positions=(), length=192), Room(ranges=(4, 6), positions=(), length=8))
    """
    if mode == "column":
        return Room(shape[:-1], (), shape[-1])
    if per == "row":
        return Room(shape[:-1], shape[:-1], shape[-1])
    return Room((), (), math.prod(shape))
