# SPDX-License-Identifier: MIT
"""The full range of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bitmill import kernels
from bitmill._dtypes import Array
from bitmill._results import AffineParams, Range, each_param
from bitmill.clip.base import Clip
from bitmill.clip.extremes import finite_ranges
from bitmill.grid import Grid, View


@dataclass(frozen=True)
class MinMax(Clip):
    """The full range of the data: nothing is clipped.

    >>> MinMax()
    MinMax()
    """

    name: ClassVar[str] = "minmax"
    by_ranges: ClassVar[bool] = True
    bytes_per_group: ClassVar[int] = 20

    def fit(
        self, x: Array, view: View, grid: Grid, *, num_threads: int | None = None
    ) -> AffineParams:
        """The scale rule of `grid` applied to the least and greatest value of every group."""
        magnitude = grid.rule in ("absmax", "full_range")
        seen = finite_ranges(x, view, magnitude=magnitude, num_threads=num_threads)
        return self.fit_ranges(seen, view, grid)

    def fit_ranges(self, seen: Range, view: View, grid: Grid) -> AffineParams:
        """The scale rule of `grid` applied to the least and greatest value of every group."""
        lo, hi = (r.reshape(1, -1) for r in seen)
        made = kernels.affine_params(lo, hi, **grid._asdict())
        shaped = each_param(lambda p: p.reshape(view.params), made[:3])
        return AffineParams(*shaped, made.overflowed, made.underflowed)
