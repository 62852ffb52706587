# SPDX-License-Identifier: MIT
"""What every way to choose ranges offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from bitmill._dtypes import Array
from bitmill._results import AffineParams, Range
from bitmill.grid import Grid, View


class Clip(ABC):
    """A way to choose scales: those of a group by the values of that group alone."""

    name: ClassVar[str] = ""
    """How it is called in strings; classes of users need none."""
    by_ranges: ClassVar[bool] = False
    """Whether the range of a group is all that counts: then there is `fit_ranges`."""
    takes_importance: ClassVar[bool] = False
    """Whether `fit` takes `importance`."""
    bytes_per_group: ClassVar[int] = 120
    """Memory that `fit` takes for each group, about: the range of one, and what else is made."""
    most_bits: ClassVar[int] = 16
    """The widest codes that it can be asked for."""

    @abstractmethod
    def fit(
        self, x: Array, view: View, grid: Grid, *, num_threads: int | None = None
    ) -> AffineParams:
        """Parameters of every group of `x` under `view`, in the shape `view.params`.

        Raises ValueError for NaN and infinity; what overflows is counted. If `takes_importance`,
        there is an argument `importance` too: None, or float32 from 0 to 1, of the shape of `x` or
        of its last axis alone.
        """

    def fit_ranges(self, seen: Range, view: View, grid: Grid) -> AffineParams:
        """`fit`, for values that are never there at once, by the finite ranges of all groups."""
        raise NotImplementedError(f"{type(self).__name__} needs more than ranges")

    @classmethod
    def parse(cls, argument: str | None) -> Clip:
        """The clip of a string "name" or "name:argument"; ValueError if it takes none, or another.

        >>> import bitmill as bm
        >>> bm.clip.MinMax.parse(None)
        MinMax()
        """
        if argument is not None:
            raise ValueError(f"clip {cls.name!r} takes no argument, not {argument!r}")
        return cls()

    def __str__(self) -> str:
        """The string that `resolve` reads back, as it stands in schemes and on the command line."""
        return self.name
