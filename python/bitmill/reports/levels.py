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

_BLOCK = 1 << 22  # values that are looked at together
_SAMPLE = 1 << 18  # values that tell where levels are
_MOST = 128
"""Bins of a histogram, at most; at least half as many."""
_BINS = 96
"""Of a histogram whose levels are not whole numbers."""
_MARGIN = 0.5
"""Beyond the outermost levels, by the distance of the two, values are only counted."""
_LIKENESS = 1e-3
"""By how much of the largest level the places of values may differ that have the same code."""
_FAR = 64
"""Powers of two beyond which values are brought near 1: else steps might not be float32."""
_LIMIT = 2.0**126
"""Of steps and their inverses: quotients of others are not to be relied on."""
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


def histogram(x: Array, y: Array, q: QTensor, *, num_threads: int | None = None) -> Histogram:
    """Of the values `x`, float32 of the shape of `q`, between the levels of `q`, which stands for
    the values `y`.

    Bins are codes of `kernels.affine_encode`, and what is summed are counts: the same on every
    machine.

    >>> import bitmill as bm
    >>> x = np.float32([[-7, -3.4, 0, 0.1, 1, 7]])
    >>> q = bm.quantize(x, bm.Affine(4))
    >>> found = histogram(x, q.dequantize(), q)
    >>> found.levels, found.level_counts, found.low, len(found.counts) * found.width
    ((-7.0, -3.0, 0.0, 1.0, 7.0), (1, 1, 2, 1, 1), -7.5, 15.0)
    """
    places, x = _Places.of(q), rows_of(x)
    levels, level_counts = _levels(rows_of(y), q, places)
    window = _window(levels, *_range(x, places, num_threads))
    below, *counts, above = _binned(x, places, window, num_threads).tolist()
    unit = "value" if q.scale is None else "code"
    return Histogram(
        unit, window.low, window.width, tuple(counts), below, above, levels, level_counts
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


class _Places(NamedTuple):
    """Where values lie between the levels: (x − shift) / scale."""

    scale: Array
    """float64, by group; of each row, or one row for all. 1 where all values are 0."""
    shift: Array
    """In the shape of `scale`."""
    group_size: int | None

    @classmethod
    def of(cls, q: QTensor) -> _Places:
        """Those of x/scale + zero_point, (x − offset)/scale, or x where there are no scales."""
        scale, zero_point, offset = (
            None if p is None else _by_row(p, q.shape) for p in (q.scale, q.zero_point, q.offset)
        )
        if scale is None:
            return cls(np.ones((1, 1)), np.zeros((1, 1)), None)
        scale = np.where(scale == 0, 1, scale.astype(np.float64))
        shift = np.zeros_like(scale) if offset is None else offset
        if zero_point is not None:
            shift = -zero_point * scale
        size = group_size_of(q.scheme)
        return cls(scale, shift, 1 if size is None and scale.shape[1] > 1 else size)

    def rows(self, which: slice | Array) -> _Places:
        """Those of some rows."""
        if len(self.scale) == 1:
            return self
        return _Places(self.scale[which], self.shift[which], self.group_size)

    def at(self, x: Array) -> Array:
        """The places of the values of these rows."""
        length = x.shape[1]
        scale, shift = (
            np.repeat(p, self.group_size or length, axis=1)[:, :length]
            for p in (self.scale, self.shift)
        )
        places: Array = (x - shift) / scale
        return places


def _range(x: Array, places: _Places, num_threads: int | None) -> tuple[float, float]:
    """The least and the largest place: those of the ends of the groups."""
    least, most = math.inf, -math.inf
    for which in _blocks(x):
        scale, shift, size = places.rows(which)
        for ends in kernels.minmax(x[which], size, num_threads=num_threads):
            found = (ends - shift) / scale
            least, most = min(least, float(found.min())), max(most, float(found.max()))
    return least, most


def _binned(x: Array, places: _Places, window: _Window, num_threads: int | None) -> Array:
    """How many values are below the window, in each of its bins, and above it."""
    counts = np.zeros(window.bins + 2, np.int64)
    power = _power(x, num_threads)
    for which in _blocks(x):
        scale, shift, size = places.rows(which)
        shape = len(x[which]), scale.shape[1]
        start = shift + scale * (window.low - window.width / 2)
        step = np.ldexp(scale * window.width, -power)
        step = np.copysign(np.clip(np.abs(step), 1 / _LIMIT, _LIMIT), step)
        start = np.clip(np.ldexp(start, -power), -_LIMIT, _LIMIT)
        each = [np.broadcast_to(p, shape).astype(np.float32, order="C") for p in (step, start)]
        codes = kernels.affine_encode(
            np.ldexp(x[which], -power) if power else x[which],
            each[0],
            offset=each[1],
            qmin=0,
            qmax=window.bins + 1,
            group_size=size,
            num_threads=num_threads,
        )
        counts += _of_bytes(codes, num_threads)[: len(counts)]
    return counts


def _power(x: Array, num_threads: int | None) -> int:
    """Of two, that of values whose bins float32 might not hold; 0 of others."""
    most = float(kernels.absmax(x.reshape(1, -1), num_threads=num_threads).max())
    power = math.frexp(most)[1]
    return power if abs(power) > _FAR else 0


def _of_bytes(codes: Array, num_threads: int | None) -> Array:
    """How often each byte occurs: by twos, which `kernels.value_counts` takes for float16."""
    found = codes.reshape(-1).view(np.uint8)
    pairs = found[: found.size // 2 * 2].view(np.float16).reshape(1, -1)
    counts = kernels.value_counts(pairs, num_threads=num_threads).counts.reshape(256, 256)
    alone = np.bincount(found[2 * pairs.size :], minlength=256)
    total: Array = counts.sum(axis=0) + counts.sum(axis=1) + alone
    return total


def _levels(y: Array, q: QTensor, places: _Places) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The place of each code that is in use, in order, and how many values have it.

    Some rows tell it, and of codes that are not in them the first row that has them. Nothing where
    values of the same code are in several places: then each row has its levels.
    """
    codes = rows_of(q.codes)
    low = int(codes.min())
    count = int(codes.max()) - low + 1
    if count > 1 << 8:
        return (), ()
    used = _tally(codes, low, count)
    first = np.full(count, np.nan)
    sample = np.arange(0, len(codes), max(1, codes.size // _SAMPLE))
    at, own = codes[sample].astype(np.int64) - low, places.rows(sample).at(y[sample])
    _settle(first, at, own)
    span = np.nanmax(np.abs(first))
    odd = np.count_nonzero(np.abs(own - first[at]) > _LIKENESS * max(1.0, span))
    if odd > (1 - _SHARE) * at.size:
        return (), ()
    for which in _blocks(codes):
        missing = (used > 0) & np.isnan(first)
        if not missing.any():
            break
        at = codes[which].astype(np.int64) - low
        rows = np.flatnonzero(missing[at].any(axis=1))
        _settle(first, at[rows], places.rows(which.start + rows).at(y[which][rows]))
    pairs = sorted((_rounded(first[code]), int(used[code])) for code in np.flatnonzero(used))
    places_of, counts_of = zip(*pairs, strict=True)
    return tuple(places_of), tuple(counts_of)


def _settle(first: Array, at: Array, places: Array) -> None:
    """Set what is not known of `first`, the place of each code, from values of these codes.

    It is the middle one: of values that have a code, nearly all lie on its level.
    """
    for code in np.unique(at):
        if math.isnan(first[code]):
            own = np.sort(places[at == code])
            first[code] = own[own.size // 2]


def _tally(codes: Array, low: int, count: int) -> Array:
    """How many codes are `low`, `low` + 1, and so on."""
    if codes.itemsize > 1:
        return np.bincount(codes.reshape(-1).astype(np.int64) - low, minlength=count)
    return np.roll(_of_bytes(codes, None), -low)[:count]


def _rounded(place: float) -> float:
    """The whole number that is meant, where one is."""
    whole = round(place)
    return float(whole) if abs(place - whole) <= 1e-4 * max(1, abs(whole)) else float(place)


def _blocks(x: Array) -> Iterator[slice]:
    """Rows that are looked at together."""
    step = max(1, _BLOCK // max(1, x.shape[1]))
    yield from (slice(start, start + step) for start in range(0, len(x), step))


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


def _window(levels: tuple[float, ...], least: float, most: float) -> _Window:
    """Bins for values from `least` to `most`: of whole codes, where levels are whole numbers."""
    low, high = least, most
    if levels:
        margin = _MARGIN * max(1.0, levels[-1] - levels[0])
        low = min(levels[0], max(least, levels[0] - margin))
        high = max(levels[-1], min(most, levels[-1] + margin))
    if not levels or any(place != math.floor(place) for place in levels):
        width = max((high - low) / (_BINS - 1), 1e-6 * max(abs(low), abs(high)), 1e-30)
        return _Window(low - width / 2, width, _BINS)  # the ends are in the middle of a bin
    first, last = math.floor(low + 0.5), math.ceil(high - 0.5)
    units = last - first + 1
    if units > _MOST:
        step = -(-units // _MOST)
        return _Window(first - 0.5, float(step), -(-units // step))
    per_unit = _MOST // units
    if per_unit % 2 == 0 and 2 * units * (per_unit - 1) >= _MOST:
        per_unit -= 1  # then a level is in the middle of a bin
    return _Window(first - 0.5, 1 / per_unit, units * per_unit)
