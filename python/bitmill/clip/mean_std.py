# SPDX-License-Identifier: MIT
"""Ranges of some standard deviations about the mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill._results import AffineParams, Range
from bitmill.clip.base import Clip
from bitmill.clip.clipped import fit_clipped
from bitmill.clip.extremes import finite_ranges
from bitmill.clip.moments import mean_square, means
from bitmill.grid import Grid, View
from bitmill.summaries import Moments, full_ranges


@dataclass(frozen=True)
class MeanStd(Clip):
    """mean − k·std … mean + k·std of every group, or its full range where that is narrower.

    The standard deviation is that of the population, √(Σ(x − mean)² / n). Symmetric grids reach as
    far as the end of that range that is further from 0, on both sides. Sums are taken in double in
    a fixed order, so the result depends on neither threads nor the instruction set. In strings it
    is "meanstd:3".

    Raises TypeError for a `k` that is no number, ValueError for one that is not above 0 and finite.

    >>> import bitmill as bm, numpy as np
    >>> x = np.array([1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, 49], np.float32)
    >>> q = bm.quantize(x, bm.Affine(4, clip=bm.clip.MeanStd(2)))
    >>> float(q.scale[0] * 7), q.codes.tolist()[-2:]  # mean 3.06, std 11.89
    (26.893413543701172, [0, 7])
    """

    name: ClassVar[str] = "meanstd"
    by_moments: ClassVar[bool] = True
    k: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", _check.positive(self.k, "k"))

    def fit(
        self, x: Array, view: View, grid: Grid, *, num_threads: int | None = None
    ) -> AffineParams:
        """The scale rule of `grid` applied to that range of every group."""
        full = finite_ranges(x, view, num_threads=num_threads)
        mean = means(x, view)
        return self._fit(mean, np.sqrt(mean_square(x, view, mean)), full, view, grid)

    def fit_moments(self, moments: Iterable[Moments], view: View, grid: Grid) -> AffineParams:
        """The same by the mean and standard deviation of every group."""
        known = list(moments)
        mean, std = np.array([(one.mean, one.std) for one in known]).T.reshape(2, *view.params)
        return self._fit(mean, std, full_ranges(known, view.params), view, grid)

    def _fit(self, mean: Array, std: Array, full: Range, view: View, grid: Grid) -> AffineParams:
        with np.errstate(over="ignore"):  # an infinite reach is cut to the full range
            reach = self.k * std
        return fit_clipped(mean - reach, mean + reach, full, view, grid)

    @classmethod
    def parse(cls, argument: str | None) -> MeanStd:
        """The clip of "meanstd:3".

        >>> MeanStd.parse("2.5")
        MeanStd(k=2.5)
        """
        if argument is None:
            raise ValueError(f"clip {cls.name!r} needs a number of deviations: '{cls.name}:3'")
        return cls(_check.parsed_number(argument, f"clip {cls.name!r}"))

    def __str__(self) -> str:
        return f"{self.name}:{repr(self.k).removesuffix('.0')}"
