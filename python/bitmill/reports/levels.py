# SPDX-License-Identifier: MIT
"""How values lie between the levels of a quantized tensor: a histogram in units of its codes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array
from bitmill.grid import rows_of
from bitmill.qtensor import QTensor
from bitmill.schemes import Scheme

_BLOCK = 1 << 20  # values that are looked at together
_MOST = 128
"""Bins of a histogram, at most; at least half as many."""
_BINS = 96
"""Of a histogram whose levels are not whole numbers."""
_MARGIN = 0.5
"""Beyond the outermost levels, by the distance of the two, values are only counted."""
_LIKENESS = 1e-3
"""By how much of the largest level the places of values may differ that have the same code."""
_SHARE = 0.9
"""How many of the values must lie on the level of their code: the others are kept outliers."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in bins of equal width, and where the levels are that they are rounded to.

    With a scale for each group, places are those of the codes: x/scale + zero_point, or
    (x − offset)/scale. So one picture holds groups of all magnitudes.
    """

    unit: str
    """"code", of which one is one step of the scale, or "value" where there are no scales."""
    low: float
    """Where the first bin begins."""
    width: float
    counts: tuple[int, ...]
    below: int
    """Values that lie before the first bin."""
    above: int
    levels: tuple[float, ...]
    """Places of the levels that are in use; none where each row has its own."""
    level_counts: tuple[int, ...]
    """How many values have each."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "unit": self.unit,
            "low": self.low,
            "width": self.width,
            "counts": list(self.counts),
            "below": self.below,
            "above": self.above,
            "levels": list(self.levels),
            "level_counts": list(self.level_counts),
        }


class _Window(NamedTuple):
    """The bins of a histogram."""

    low: float
    width: float
    bins: int


def histogram(x: Array, q: QTensor) -> Histogram:
    """Of the values `x`, float32 of the shape of `q`, between the levels of `q`.

    Divisions are those of float32, and what is summed are counts: the same on every machine.

    >>> import bitmill as bm
    >>> x = np.float32([[-7, -3.4, 0, 0.1, 1, 7]])
    >>> found = histogram(x, bm.quantize(x, bm.Affine(4)))
    >>> found.levels, found.level_counts, found.low, len(found.counts) * found.width
    ((-7.0, -3.0, 0.0, 1.0, 7.0), (1, 1, 2, 1, 1), -7.5, 15.0)
    """
    levels, level_counts = _levels(q)
    least, most = math.inf, -math.inf
    for _, _, places in _placed(x, q):
        least, most = min(least, float(places.min())), max(most, float(places.max()))
    window = _window(levels, least, most)
    counts = np.zeros(window.bins, np.int64)
    below = above = 0
    for _, _, places in _placed(x, q):
        at = np.floor((places - window.low) / window.width)
        below += int(np.count_nonzero(at < 0))
        above += int(np.count_nonzero(at >= window.bins))
        inside = at[(at >= 0) & (at < window.bins)].astype(np.int64)
        counts += np.bincount(inside, minlength=window.bins)
    unit = "value" if q.scale is None else "code"
    return Histogram(
        unit, window.low, window.width, tuple(counts.tolist()), below, above, levels, level_counts
    )


def scale_range(q: QTensor) -> tuple[float, float, float] | None:
    """Least, middle and largest magnitude of the scales; None where there are none.

    >>> import bitmill as bm
    >>> scale_range(bm.quantize(np.float32([[7], [14], [70]]), bm.Affine(4)))
    (1.0, 2.0, 10.0)
    """
    if q.scale is None or q.scale.size == 0:
        return None
    found = np.sort(np.abs(kernels.to_float32(q.scale)).reshape(-1))
    return float(found[0]), float(found[found.size // 2]), float(found[-1])


def group_size_of(scheme: Scheme) -> int | None:
    """How many values along a row share a scale; None where it is not a number of them."""
    found: int | None = getattr(getattr(scheme, "inner", scheme), "group_size", None)
    return found


def _levels(q: QTensor) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The place of each code that is in use, in order, and how many values have it.

    Nothing where values of the same code are in several places: then each row has its levels.
    """
    codes = rows_of(q.codes)
    low = int(codes.min())
    count = int(codes.max()) - low + 1
    if count > 1 << 8:
        return (), ()
    used = np.zeros(count, np.int64)
    first = np.full(count, np.nan)
    odd = 0
    for start, stop, places in _placed(q.dequantize(), q):
        at = codes[start:stop].reshape(-1).astype(np.int64) - low
        used += np.bincount(at, minlength=count)
        for code in np.flatnonzero(np.isnan(first) & (np.bincount(at, minlength=count) > 0)):
            first[code] = _middle(places[at == code])
        span = np.nanmax(np.abs(first))
        odd += int(np.count_nonzero(np.abs(places - first[at]) > _LIKENESS * max(1.0, span)))
    if odd > (1 - _SHARE) * codes.size:
        return (), ()
    pairs = sorted((_rounded(first[code]), int(used[code])) for code in np.flatnonzero(used))
    places_of, counts_of = zip(*pairs, strict=True)
    return tuple(places_of), tuple(counts_of)


def _middle(places: Array) -> float:
    """The middle one: of values that have a code, nearly all lie on its level."""
    return float(np.sort(places)[places.size // 2])


def _rounded(place: float) -> float:
    """The whole number that is meant, where one is."""
    whole = round(place)
    return float(whole) if abs(place - whole) <= 1e-4 * max(1, abs(whole)) else float(place)


def _placed(x: Array, q: QTensor) -> Iterator[tuple[int, int, Array]]:
    """Blocks of rows: from which row, to which, and the places of their values, float32, 1-D."""
    rows = rows_of(x)
    params = [_by_row(p, q.shape) for p in (q.scale, q.zero_point, q.offset)]
    size, length = group_size_of(q.scheme), rows.shape[1]
    step = max(1, _BLOCK // max(1, length))
    for start in range(0, len(rows), step):
        stop = min(start + step, len(rows))
        scale, zero_point, offset = (
            None if p is None else _spread(p[start:stop] if len(p) > 1 else p, size, length)
            for p in params
        )
        places = rows[start:stop]
        if offset is not None:
            places = places - offset
        if scale is not None:
            with np.errstate(all="ignore"):
                places = places / scale
        if zero_point is not None:
            places = places + zero_point
        yield start, stop, places.reshape(-1)


def _by_row(params: Array | None, shape: tuple[int, ...]) -> Array | None:
    """Parameters as a float32 matrix: per row, or one row for all."""
    if params is None:
        return None
    values = kernels.to_float32(params) if params.dtype.kind not in "iu" else params
    values = values.astype(np.float32, copy=False)
    if values.size == values.shape[-1]:
        return values.reshape(1, -1)
    return np.broadcast_to(values, (*shape[:-1], values.shape[-1])).reshape(
        math.prod(shape[:-1]), -1
    )


def _spread(params: Array, group_size: int | None, length: int) -> Array:
    """Parameters of some rows beside the values: repeated for each group along a row."""
    if group_size is None or params.shape[1] == 1:
        return params
    return np.repeat(params, group_size, axis=1)[:, :length]


def _window(levels: tuple[float, ...], least: float, most: float) -> _Window:
    """Bins for values from `least` to `most`: of whole codes, where levels are whole numbers."""
    low, high = least, most
    if levels:
        margin = _MARGIN * max(1.0, levels[-1] - levels[0])
        low = min(levels[0], max(least, levels[0] - margin))
        high = max(levels[-1], min(most, levels[-1] + margin))
    if not levels or any(place != math.floor(place) for place in levels):
        width = max((high - low) / _BINS * (1 + 1e-6), 1e-30)
        return _Window(low, width, _BINS)
    first, last = math.floor(low + 0.5), math.ceil(high - 0.5)
    units = last - first + 1
    if units > _MOST:
        step = -(-units // _MOST)
        return _Window(first - 0.5, float(step), -(-units // step))
    per_unit = _MOST // units
    if per_unit % 2 == 0 and 2 * units * (per_unit - 1) >= _MOST:
        per_unit -= 1  # then a level is in the middle of a bin
    return _Window(first - 0.5, 1 / per_unit, units * per_unit)
