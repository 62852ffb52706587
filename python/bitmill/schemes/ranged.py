# SPDX-License-Identifier: MIT
"""What schemes do that go by the ranges of their groups: they look at pieces and merge them."""

from __future__ import annotations

from bitmill._dtypes import Array
from bitmill._results import Range
from bitmill.clip import finite_ranges, merge
from bitmill.grid import View


class Ranged:
    """A scheme whose parameters depend on the least and greatest value of each group."""

    def view(self, shape: tuple[int, ...]) -> View:
        """How a tensor of this shape is cut into groups."""
        raise NotImplementedError

    def scan(self, x: Array, *, num_threads: int | None = None) -> Range:
        """Ranges of all groups. Raises ValueError for NaN and infinity."""
        return finite_ranges(x, self.view(x.shape), num_threads=num_threads)

    def merge(self, seen: Range | None, more: Range) -> Range:
        """The ranges of groups of which `seen` and `more` are each about some values."""
        return more if seen is None else merge(seen, more)
