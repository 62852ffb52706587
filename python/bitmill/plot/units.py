# SPDX-License-Identifier: MIT
"""Values and levels in one unit: what a group's scale and offset make of them is taken out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill.qtensor import QTensor

MOST_LEVELS = 512
"""Beyond, single levels cannot be seen."""
_SAME = 1e-6  # of two levels, beside their size: twice what float32 loses in a product


class Units(NamedTuple):
    """Values and their levels, each less its group's offset and divided by its scale."""

    values: Array
    """float64 [N]."""
    found: Array
    """float64 [N]: the level of each value."""
    name: str
    """The unit, for an axis."""


class Levels(NamedTuple):
    """The levels that are in use."""

    at: Array
    """float64 [K], in ascending order."""
    shares: Array
    """float64 [K]: of the values, how many have it; their sum is 1."""

    @property
    def density(self) -> Array:
        """The share of each by the width of what lies nearest to it, to set beside a histogram.

        >>> Levels(np.array([0.0, 1.0, 3.0]), np.array([0.2, 0.6, 0.2])).density
        array([0.2, 0.4, 0.1])
        """
        if len(self.at) == 1:
            return self.shares
        gaps = np.diff(self.at)
        widths = (np.append(gaps[0], gaps) + np.append(gaps, gaps[-1])) / 2
        return np.asarray(self.shares / widths)


def units(x: Any, q: QTensor) -> Units:
    """The values `x`, and what `q` has for them; ValueError unless `q` has their shape."""
    if not isinstance(q, QTensor):
        raise TypeError(f"q is a {type(q).__name__}; wanted a QTensor")
    values = finite(x)
    _check.same_shape(values, q, "x and q")
    found = q.dequantize().astype(np.float64)
    scale, offset = (_each(given, q) for given in (q.scale, q.offset))
    name = "weight" if offset is None else "(weight − offset)"
    if offset is not None:
        values, found = values - offset, found - offset
    if scale is not None:
        safe = np.where(scale == 0, 1.0, scale)
        values, found = values / safe, found / safe
        name += " / scale of its group"
    return Units(values.reshape(-1), found.reshape(-1), name)


def finite(x: Any) -> Array:
    """`x` as float64; ValueError for NaN, infinity, and no values at all."""
    given = _check.array(x)
    if given.size == 0:
        raise ValueError("x holds no values")
    values = given.astype(np.float64)
    if not np.isfinite(values).all():
        raise _check.nonfinite_error(given)
    return values


def levels(found: Array) -> Levels:
    """The different levels among those of all values.

    >>> levels(np.array([1.0, 0.0, 1.0000001, 1.0]))
    Levels(at=array([0.        , 1.00000003]), shares=array([0.25, 0.75]))
    """
    at, counts = np.unique(found, return_counts=True)
    first = np.append(True, np.diff(at) > _SAME * np.abs(at[1:]))
    starts = np.flatnonzero(first)
    totals = np.add.reduceat(counts, starts)
    means = np.add.reduceat(at * counts, starts) / totals
    return Levels(means, totals / counts.sum())


def _each(given: Array | None, q: QTensor) -> Array | None:
    """What a group has, for each of its values."""
    if given is None:
        return None
    wide = given.astype(np.float64)
    columns = q.shape[-1]
    if wide.shape[-1] not in (1, columns):
        wide = np.repeat(wide, _group_size(q.scheme), axis=-1)[..., :columns]
    return np.broadcast_to(wide, q.shape)


def _group_size(scheme: Any) -> int:
    """Of a scheme, or of the one that it is around."""
    size: int = scheme.group_size if hasattr(scheme, "group_size") else scheme.inner.group_size
    return size
