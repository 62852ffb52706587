# SPDX-License-Identifier: MIT
"""The range of least squared error for values that are known by a histogram."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitmill._dtypes import Array
from bitmill.grid import Grid
from bitmill.summaries import Bins

_HALVINGS = 8
"""From the full range to the narrowest that is tried."""
_ZOOMS = (1 / 2, 1 / 8, 1 / 32)
"""Steps of the search, as powers of two of the width."""
_FITS = 4


class Line(NamedTuple):
    """x̂ = (q − zero) · scale: one of them, or arrays of many."""

    scale: Array
    zero: Array


def mse_range(bins: Bins, grid: Grid) -> tuple[float, float]:
    """The range that the rule of `grid` turns into parameters of nearly the least squared error.

    The values of a bin count as spread evenly over it, which makes the sums over all values of a
    code integrals, for steps narrower than bins too; but those of the first bin as min, and those
    of the last as max, since the zeros after a ReLU are in one of them. For both ends all of the
    way to min or max is tried (from 0; with an offset from the mean) and parts of it down to 1/256,
    or a little more, in steps that narrow to 1/32 of a power of two. The best line, and that of
    min … max, are fitted to their codes some times. Of all these the best is taken.
    """
    if bins.counts.size == 1:
        return bins.min, bins.max
    density = _Density.of(bins)
    tried: list[tuple[float, int, Line, int]] = []
    for codes, sign in _code_ranges(grid):
        full = _line(bins.min, bins.max, codes, grid.rule)
        for line in (full, _search(density, bins, codes, grid)):
            for _ in range(1 + _FITS):
                error = float(density.error(line, codes)[0])
                tried.append((error, len(tried), line, sign))
                line = density.fitted(line, codes, grid.rule)
    _, _, line, sign = min(tried)
    return _range_of(float(line.scale[0]), float(line.zero[0]), sign, grid)


def _code_ranges(grid: Grid) -> list[tuple[Array, int]]:
    """Codes, and the sign that a scale takes for them."""
    codes = np.arange(grid.qmin, grid.qmax + 1, dtype=np.float64)
    return [(codes, 1), (-codes[::-1], -1)] if grid.rule == "signed_max" else [(codes, 1)]


def _line(lo: Array | float, hi: Array | float, codes: Array, rule: str) -> Line:
    """The line whose codes cover lo … hi."""
    lo, hi = np.atleast_1d(lo).astype(np.float64), np.atleast_1d(hi).astype(np.float64)
    if rule == "offset":
        scale = (hi - lo) / codes[-1]
        return Line(scale, -lo / scale)
    if rule == "asymmetric":
        lo, hi = np.minimum(lo, 0), np.maximum(hi, 0)
        scale = (hi - lo) / codes[-1]
        return Line(scale, np.rint(-lo / scale))
    scale = np.maximum(lo / codes[0], hi / codes[-1])
    return Line(scale, np.zeros_like(scale))


def _search(density: _Density, bins: Bins, codes: Array, grid: Grid) -> Line:
    """The best line for ranges of many widths."""
    centre = density.mean if grid.rule == "offset" else 0.0
    reach = _HALVINGS / 2
    ends = np.full(2, -reach)
    for step in _ZOOMS:
        below, above = ends[:, None] + np.arange(-reach, reach + step / 2, step)
        if grid.qmin == 0:  # a range has two ends
            below, above = (end.reshape(-1) for end in np.meshgrid(below, above))
        lo = centre + (bins.min - centre) * np.exp2(below)
        hi = centre + (bins.max - centre) * np.exp2(above)
        line = _line(lo, hi, codes, grid.rule)
        best = int(np.argmin(density.error(line, codes)))
        ends, reach = np.array([below[best], above[best]]), step
    return Line(line.scale[best : best + 1], line.zero[best : best + 1])


def _range_of(scale: float, zero: float, sign: int, grid: Grid) -> tuple[float, float]:
    if grid.qmin == 0:
        return -zero * scale, (grid.qmax - zero) * scale
    if grid.rule == "signed_max":
        return (0.0, -scale * grid.qmin) if sign < 0 else (scale * grid.qmin, 0.0)
    levels = grid.qmax if grid.rule == "absmax" else (grid.qmax - grid.qmin) / 2
    return -scale * levels, scale * levels


class _Density(NamedTuple):
    """Evenly filled bins, between two points that may hold values too.

    `sums` are Σ1 and Σx over what is before each edge, `density` is Σ1 per width after it, and `xx`
    is Σx² of all.
    """

    edges: Array
    density: Array
    sums: Array
    xx: float

    @classmethod
    def of(cls, bins: Bins) -> _Density:
        """Of two bins or more."""
        inner = bins.edges[1:-1]
        edges = np.concatenate([[bins.min] * 2, inner, [bins.max] * 2])
        counts = np.zeros(edges.size - 1)
        counts[2:-2], counts[0], counts[-1] = bins.counts[1:-1], bins.counts[0], bins.counts[-1]
        left, right = edges[:-1], edges[1:]
        sums = np.zeros((edges.size, 2))
        np.cumsum(np.stack([counts, counts * (left + right) / 2], axis=1), axis=0, out=sums[1:])
        xx = float((counts * (left * left + left * right + right * right) / 3).sum())
        density = np.zeros(edges.size)
        density[2:-3] = counts[2:-2] / bins.width
        return cls(edges, density, sums, xx)

    @property
    def mean(self) -> float:
        """Of all values."""
        count, x = self.sums[-1]
        return float(x / count)

    def error(self, line: Line, codes: Array) -> Array:
        """Σ(x − x̂)² of every line."""
        values = (codes - line.zero[:, None]) * line.scale[:, None]
        count, x = self._by_code(values)
        error: Array = self.xx + (values * (values * count - 2 * x)).sum(axis=1)
        return error

    def fitted(self, line: Line, codes: Array, rule: str) -> Line:
        """The line of least squares for the same codes; integer zero-points stay."""
        values = (codes - line.zero[:, None]) * line.scale[:, None]
        count, x = (part[0] for part in self._by_code(values))
        centre = float((count * codes).sum() / count.sum()) if rule == "offset" else line.zero[0]
        p = codes - centre
        square, product = float((count * p * p).sum()), float((p * x).sum())
        if not (square > 0 and product > 0):
            return line
        scale = product / square
        zero = centre - self.mean / scale if rule == "offset" else centre
        return Line(np.array([scale]), np.array([zero]))

    def _by_code(self, values: Array) -> tuple[Array, Array]:
        """How many values are nearest to each of these, and their sum: [lines, codes]."""
        border = (values[:, 1:] + values[:, :-1]) / 2
        at = np.maximum(np.searchsorted(self.edges, border, side="right") - 1, 0)
        left = self.edges[at]
        part = self.density[at] * (border - left)
        before = np.stack([part, part * (border + left) / 2], axis=2) + self.sums[at]
        none = np.zeros((len(values), 1, 2))
        own = np.diff(before, axis=1, prepend=none, append=none + self.sums[-1])
        return own[..., 0], own[..., 1]
