# SPDX-License-Identifier: MIT
"""Analytical clipping for integer quantization: ranges by a density fitted to every group."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill._results import AffineParams, Range
from bitmill.clip.aciq_alpha import DISTRIBUTIONS, aciq_alpha
from bitmill.clip.base import Clip
from bitmill.clip.clipped import fit_clipped
from bitmill.clip.extremes import finite_ranges
from bitmill.clip.moments import group_sums, lengths, means
from bitmill.grid import Grid, View
from bitmill.summaries import Moments, full_ranges

_LIKELIER_LAPLACE = math.sqrt(math.pi / (2 * math.e))
"""Below this b/σ, 0.7602, Laplace gives the values a greater likelihood than Gauss: 2eb < √(2πe)·σ.

It lies between the ratios of the two themselves, √(1/2) and √(2/π)."""


@dataclass(frozen=True)
class ACIQ(Clip):
    """The range that balances clipping against rounding for a density fitted to the group.

    α = `aciq_alpha`(bits) · b or · σ, with b = mean |x − c| (Laplace) and σ = √mean (x − c)²
    (Gauss): Banner et al., arXiv:1810.05723. `bits` is log2 of the number of codes, rounded up.
    "auto" takes for each group the family of greater likelihood: Laplace if b/σ < √(π/2e) = 0.76.

    ==================  ====================================================
    symmetric           −α … α, about c = 0, the middle of the grid
    asymmetric, offset  mean − α … mean + α, about c = mean
    one-sided           0 … ±α(bits + 1), about c = 0: one side of a density
    ==================  ====================================================

    each cut to the range of the data. One-sided are asymmetric groups whose values do not change
    sign, and offset ones that end in 0, as after a ReLU. About 0, values of 0 are left out of b and
    σ: they have a code of their own, and in pruned weights or after a ReLU would hide how wide the
    others are. Sums are taken in double in a fixed order, so the result depends on neither threads
    nor the instruction set.

    The model takes noise to be uniform in every step and 2^bits steps for the range. So α is not
    the true optimum (Gauss at 4 bits: 2.559 σ, not 2.682; at 2 bits 1.711, not 1.991), and a search
    by measured error never loses to it. In strings: "aciq", "aciq:gauss", "aciq:laplace".

    Raises TypeError and ValueError for another `distribution`.

    >>> import bitmill as bm, numpy as np
    >>> x = np.array([[-0.5, 0.5, -1, 1] * 16 + [30]], np.float32)
    >>> clipped = bm.quantize(x, bm.Affine(4, clip=bm.clip.ACIQ("laplace")))
    >>> float(clipped.scale[0, 0] * 7) < 7  # α = 5.03 · mean |x|, instead of 30
    True
    """

    name: ClassVar[str] = "aciq"
    by_moments: ClassVar[bool] = True
    distribution: str = "auto"

    def __post_init__(self) -> None:
        _check.choice(self.distribution, "distribution", ("auto", *DISTRIBUTIONS))

    def fit(
        self, x: Array, view: View, grid: Grid, *, num_threads: int | None = None
    ) -> AffineParams:
        """The scale rule of `grid` applied to that range of every group."""
        full = finite_ranges(x, view, num_threads=num_threads)
        about_zero = _about_zero(full, grid)
        centre = np.where(about_zero, 0.0, means(x, view))
        b, sigma = _deviations(x, view, centre, about_zero)
        reach = self._reach(b, sigma, grid, about_zero)
        return fit_clipped(centre - reach, centre + reach, full, view, grid)

    def fit_moments(self, moments: Iterable[Moments], view: View, grid: Grid) -> AffineParams:
        """The same by averages, but that b about a mean is not known: mean |x|, or σ if less.

        mean |x − mean| is near the former for means near 0, and never above the latter.
        """
        known = list(moments)
        full = full_ranges(known, view.params)
        about_zero = _about_zero(full, grid)
        centre = np.where(about_zero, 0.0, _each(known, "mean", view))
        b, sigma = _known_deviations(known, view, about_zero)
        reach = self._reach(b, sigma, grid, about_zero)
        return fit_clipped(centre - reach, centre + reach, full, view, grid)

    def _reach(self, b: Array, sigma: Array, grid: Grid, about_zero: Array) -> Array:
        """α of every group."""
        bits = (grid.qmax - grid.qmin).bit_length()
        one_sided: Array = about_zero & (grid.qmin == 0)

        def alpha(distribution: str) -> Array:
            two, one = (aciq_alpha(bits, distribution, one_sided=side) for side in (False, True))
            return np.where(one_sided, one, two)

        laplace, gauss = alpha("laplace") * b, alpha("gauss") * sigma
        if self.distribution == "auto":
            return np.where(b < _LIKELIER_LAPLACE * sigma, laplace, gauss)
        return laplace if self.distribution == "laplace" else gauss

    @classmethod
    def parse(cls, argument: str | None) -> ACIQ:
        """The clip of "aciq", "aciq:gauss" or "aciq:laplace".

        >>> ACIQ.parse("gauss")
        ACIQ(distribution='gauss')
        """
        return cls() if argument is None else cls(argument)

    def __str__(self) -> str:
        return self.name if self.distribution == "auto" else f"{self.name}:{self.distribution}"


def _about_zero(full: Range, grid: Grid) -> Array:
    """The groups that deviate from 0: all on symmetric grids, one-sided ones on others."""
    found: Array = np.ones(full.min.shape, bool)
    if grid.rule == "asymmetric":
        found = (full.min >= 0) | (full.max <= 0)
    elif grid.rule == "offset":
        found = (full.min == 0) | (full.max == 0)
    return found


def _deviations(x: Array, view: View, centre: Array, about_zero: Array) -> tuple[Array, Array]:
    """b and σ of every group; 0 where all values are 0."""
    absolute, square, nonzero = group_sums(x, view, (np.abs, np.square, _is_nonzero), centre)
    count = np.where(about_zero, np.maximum(nonzero, 1), lengths(view))
    return absolute / count, np.sqrt(square / count)


def _is_nonzero(values: Array) -> Array:
    found: Array = (values != 0).astype(np.float64)
    return found


def _known_deviations(known: list[Moments], view: View, about_zero: Array) -> tuple[Array, Array]:
    """`_deviations`, by averages over all values, those of 0 included."""
    count, zeros, absolute, square, std = (
        _each(known, name, view) for name in ("count", "zeros", "mean_abs", "mean_square", "std")
    )
    share = np.maximum(count - zeros, 1) / count
    sigma = np.where(about_zero, np.sqrt(square / share), std)
    return np.where(about_zero, absolute / share, np.minimum(absolute, std)), sigma


def _each(known: list[Moments], name: str, view: View) -> Array:
    found = np.array([getattr(one, name) for one in known], np.float64)
    return found.reshape(view.params)
