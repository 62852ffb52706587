# SPDX-License-Identifier: MIT
"""Parameters of least squared error: a search for the best scale of every group."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array
from bitmill._results import AffineParams, Grid, Range
from bitmill.reference.affine import affine_params
from bitmill.reference.alternate import search_offset
from bitmill.reference.convert import to_float32
from bitmill.reference.ranges import minmax
from bitmill.reference.search import Fixed, search_scale
from bitmill.reference.stored import neighbours, smallest, stored
from bitmill.reference.sums import (
    LEAST_SPREAD,
    Values,
    code_sums,
    codes,
    error,
    in_lanes,
    telling,
)
from bitmill.reference.sweep import Span, SpanScale, exact_scale

TOO_LARGE = 2.0**125
"""Values from which on a group is not searched for a zero-point or offset."""


class Choice(NamedTuple):
    """Parameters of one group as they are stored, widened; the scale may have been raised."""

    scale: float
    zero_point: int = 0
    offset: float = 0.0
    raised: bool = False


def mse_params(
    x: Array,
    importance: Array | None = None,
    *,
    qmin: int,
    qmax: int,
    rule: str,
    scales: str = "float32",
    group_size: int | None = None,
    exact: bool = False,
    num_threads: int | None = None,
) -> AffineParams:
    """Parameters that minimize Σw·(x − x̂)² over each group of `x` [R, C], finite: [R, groups].

    w is `importance`, float32, 0 or from 2^−40 to 1, [C] or [R, C]; None, or for all of a group 0
    (without an offset: wherever x is not 0), is 1. Of the rule only the kind counts: with "absmax"
    and "full_range" the scale is positive, with "signed_max" of either sign; "asymmetric" has a
    zero-point, of which, if `exact`, all are tried, else the one of the range and its neighbours;
    "offset" has a real offset.

    If `exact`, the scale is the optimum over all reals (`sweep`), else the best of 32 to 64 fitted
    anew (`search`); offsets are found by alternating fits from 32 starts (`alternate`). Of that
    scale as it is stored and, if `exact`, of its two neighbours and of the other search's scale the
    best is taken, and no group is worse than by `affine_params`, whose result it keeps where
    nothing is better, and, with a zero-point or offset, for values from 2^125 on: other codes
    might stand for more than the largest float32.
    """
    x, importance, size = _arguments.mse_params(x, importance, qmin, qmax, rule, scales, group_size)
    grid = Grid(qmin, qmax, rule, scales)
    base = affine_params(*minmax(x, size), **grid._asdict())
    scale, zero_point, offset = base[:3]
    overflowed = underflowed = 0
    values = to_float32(x)
    for row in range(scale.shape[0]):
        for group in range(scale.shape[1]):
            span = slice(None) if size is None else slice(group * size, (group + 1) * size)
            at = (slice(row, row + 1), slice(group, group + 1))
            usual = _choice(values[row, span], base, at, grid)
            weights = None if importance is None else importance[row % len(importance), span]
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                best = _fit(values[row, span], weights, usual, grid, exact)
            scale[at] = np.float32(best.scale)
            if zero_point is not None:
                zero_point[at] = best.zero_point
            if offset is not None:
                offset[at] = np.float32(best.offset)
            overflowed += not np.isfinite(best.scale + best.offset)
            underflowed += best.raised
    return AffineParams(scale, zero_point, offset, overflowed, underflowed)


def _choice(x: Array, base: AffineParams, at: tuple[slice, slice], grid: Grid) -> Choice:
    """What the rule makes of the range of a group."""
    scale, zero_point, offset = (None if p is None else float(p[at][0, 0]) for p in base[:3])
    assert scale is not None
    lo, hi = (r.reshape(1, 1) for r in minmax(x.reshape(1, -1)))
    raised = affine_params(lo, hi, **grid._asdict()).underflowed > 0
    return Choice(scale, int(zero_point or 0), offset or 0.0, raised)


def _fit(x: Array, weights: Array | None, usual: Choice, grid: Grid, exact: bool) -> Choice:
    """The best choice for one group."""
    if grid.rule in ("asymmetric", "offset") and np.abs(x).max() >= TOO_LARGE:
        return usual
    weights = telling(weights, x, offset=grid.rule == "offset")
    bits = (grid.qmax - grid.qmin).bit_length()
    tried = [usual]
    if grid.rule == "offset":
        tried += _offset_choices(x, weights, bits, grid)
    elif x.any():
        tried += _scale_choices(x, weights, bits, usual, grid, exact)
    group = Values.of(x, weights)
    errors = [_error_of(group, choice, grid) for choice in tried]
    return tried[int(np.argmin(errors))]


def _error_of(group: Values, choice: Choice, grid: Grid) -> float:
    """Of codes by the float64 product with 1/scale, which are the stored ones but at ties."""
    if not np.isfinite(choice.scale + choice.offset) or choice.scale == 0:
        return np.inf
    u = np.array([1 / choice.scale])
    lo, hi = grid.qmin - choice.zero_point, grid.qmax - choice.zero_point
    q = codes(group.x - choice.offset, u, lo, hi)
    return float(error(group, q, np.array([choice.scale]), np.array([choice.offset]))[0])


def _scale_choices(
    x: Array, weights: Array | None, bits: int, usual: Choice, grid: Grid, exact: bool
) -> list[Choice]:
    """The best scale by its search, as it is stored, and if `exact` its neighbours."""
    zero_points, signs = _variants(usual, grid, exact)
    spans = [
        Span(grid.qmin - z, grid.qmax - z) if sign > 0 else Span(-grid.qmax, -grid.qmin)
        for z, sign in zip(zero_points, signs, strict=True)
    ]

    def choices(found: SpanScale, *, near: bool) -> list[Choice]:
        sign, zero_point = signs[found.span], zero_points[found.span]
        nearest = stored(found.scale, grid.scales)
        first = nearest or smallest(grid.scales)
        others = neighbours(first, grid.scales) if near else []
        found_ = [Choice(sign * s, zero_point) for s in [first, *others]]
        return [found_[0]._replace(raised=nearest == 0), *found_[1:]]

    limits, about_mean = Range(x.min(), x.max()), grid.rule == "asymmetric"
    few = [i for i, z in enumerate(zero_points) if abs(z - usual.zero_point) <= 1]
    tried = [spans[i] for i in few]
    fast = search_scale(Fixed.of(x, weights), limits, tried, bits, about_mean=about_mean)
    fast = fast._replace(span=few[fast.span])
    if not exact:
        return choices(fast, near=False)
    best = exact_scale(Values.of(x, weights), spans)
    return choices(best, near=True) + choices(fast, near=False)


def _variants(usual: Choice, grid: Grid, exact: bool) -> tuple[list[int], list[int]]:
    """Zero-points and signs of the scale that are tried."""
    if grid.rule == "signed_max":
        return [0, 0], [1, -1]
    if grid.rule != "asymmetric":
        return [0], [1]
    z = usual.zero_point
    tried = range(grid.qmax + 1) if exact else range(max(z - 1, 0), min(z + 1, grid.qmax) + 1)
    return list(tried), [1] * len(tried)


def _offset_choices(x: Array, weights: Array | None, bits: int, grid: Grid) -> list[Choice]:
    """The best scale and offset, fitted to the one that is stored first: either may be that."""
    lo, hi = minmax(x.reshape(1, -1))
    centre = np.float32(0.5) * lo[0, 0] + np.float32(0.5) * hi[0, 0]
    centred = x - centre
    if not centred.any() or (weights is not None and not (weights * centred).any()):
        return []
    scale, offset = search_offset(Fixed.of(centred, weights), grid.qmax)
    group = Values.of(x, weights)
    least = offset - float(1 << bits - 1) * scale
    fitted = Regression.of(group, float(centre), scale, least, grid.qmax)
    first = stored(fitted.scale, grid.scales)
    choices = [Choice(first, 0, stored(fitted.offset_for(first), grid.scales))]
    nearest = stored(fitted.offset_for(fitted.scale), grid.scales)
    for m in [nearest, *neighbours(nearest, grid.scales)]:
        choices.append(Choice(stored(fitted.scale_for(m), grid.scales), 0, m))
    return choices


class Regression(NamedTuple):
    """The regression of values less a centre on their codes, by its weighted sums."""

    centre: float
    n: float
    x: float
    xq: float
    qq: float
    q: float
    scale: float

    @classmethod
    def of(cls, group: Values, centre: float, scale: float, offset: float, qmax: int) -> Regression:
        """For the codes of this scale and of this offset from the centre."""
        v = group.x - centre
        group = Values(v, group.w, group.w * v)
        sums = code_sums(group, codes(v - offset, np.array([1 / scale]), 0, qmax))
        xq, qq, q = (float(s[0]) for s in sums)
        n, x = float(in_lanes(group.w)), float(in_lanes(group.wx))
        slope, spread = n * xq - q * x, n * qq - q * q
        fitted = slope / spread if slope > 0 and spread > LEAST_SPREAD * (n * qq) else scale
        return cls(centre, n, x, xq, qq, q, fitted)

    def offset_for(self, scale: float) -> float:
        """The best offset for a scale."""
        return (self.x - scale * self.q) / self.n + self.centre

    def scale_for(self, offset: float) -> float:
        """The best scale for an offset."""
        if self.qq <= 0:
            return self.scale
        return (self.xq - (offset - self.centre) * self.q) / self.qq
