# SPDX-License-Identifier: MIT
"""What every way to choose ranges offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from bitmill._dtypes import Array
from bitmill._results import AffineParams, Range
from bitmill.grid import Grid, View
from bitmill.summaries import Bins, Moments


class Clip(ABC):
    """A way to choose scales: those of a group by the values of that group alone."""

    name: ClassVar[str] = ""
    """How it is called in strings; classes of users need none."""
    by_ranges: ClassVar[bool] = False
    """Whether the range of a group is all that counts: then there is `fit_ranges`."""
    by_histograms: ClassVar[bool] = False
    """Whether it can go by counts in bins: then there is `fit_histograms`."""
    by_moments: ClassVar[bool] = False
    """Whether it can go by averages: then there is `fit_moments`."""
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

    # `fit`, for values that are never there at once. An observer knows ranges of all groups and,
    # if it is a Histogram or Moments, one summary for each group, in the order of `view.params`.

    def fit_ranges(self, seen: Range, view: View, grid: Grid) -> AffineParams:
        """`fit` by the finite range of every group."""
        raise NotImplementedError(f"{type(self).__name__} needs more than ranges")

    def fit_histograms(self, bins: Iterable[Bins], view: View, grid: Grid) -> AffineParams:
        """`fit` by the histogram of every group, to within a bin."""
        raise NotImplementedError(f"{type(self).__name__} does not go by histograms")

    def fit_moments(self, moments: Iterable[Moments], view: View, grid: Grid) -> AffineParams:
        """`fit` by the averages over every group."""
        raise NotImplementedError(f"{type(self).__name__} does not go by moments")

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
