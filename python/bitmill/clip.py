# SPDX-License-Identifier: MIT
"""How the range that a group's scale covers is chosen. A clip turns values into parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array
from bitmill._results import AffineParams, Range, each_param
from bitmill.grid import Grid, View

_CHUNK = 1 << 16  # values; whole rows and tensors are read in such chunks, which threads can share


class Clip(ABC):
    """A way to choose scales: those of a group by the values of that group alone."""

    by_ranges: ClassVar[bool] = False
    """Whether the range of a group is all that counts: then there is `fit_ranges`."""

    @abstractmethod
    def fit(
        self, x: Array, view: View, grid: Grid, *, num_threads: int | None = None
    ) -> AffineParams:
        """Parameters of every group of `x` under `view`, in the shape `view.params`.

        Raises ValueError for NaN and infinity; what overflows is counted.
        """

    def fit_ranges(self, seen: Range, view: View, grid: Grid) -> AffineParams:
        """`fit`, for values that are never there at once, by the finite ranges of all groups."""
        raise NotImplementedError(f"{type(self).__name__} needs more than ranges")


@dataclass(frozen=True)
class MinMax(Clip):
    """The full range of the data: nothing is clipped.

    >>> MinMax()
    MinMax()
    """

    by_ranges: ClassVar[bool] = True

    def fit(
        self, x: Array, view: View, grid: Grid, *, num_threads: int | None = None
    ) -> AffineParams:
        """The scale rule of `grid` applied to the least and greatest value of every group."""
        magnitude = grid.rule in ("absmax", "full_range")
        lo, hi = ranges(x, view, magnitude=magnitude, num_threads=num_threads)
        if not (np.isfinite(lo).all() and np.isfinite(hi).all()):
            raise _check.nonfinite_error(x)
        return self.fit_ranges(Range(lo, hi), view, grid)

    def fit_ranges(self, seen: Range, view: View, grid: Grid) -> AffineParams:
        """The scale rule of `grid` applied to the least and greatest value of every group."""
        lo, hi = (r.reshape(1, -1) for r in seen)
        made = kernels.affine_params(lo, hi, **grid._asdict())
        shaped = each_param(lambda p: p.reshape(view.params), made[:3])
        return AffineParams(*shaped, made.overflowed, made.underflowed)


def ranges(
    x: Array, view: View, *, magnitude: bool = False, num_threads: int | None = None
) -> Range:
    """Range of every group of `x` under `view`, float32, in the shape `view.params`.

    With `magnitude` it is −max |x| … max |x|, which is cheaper to find. Entries that are not finite
    mark groups with NaN or infinity.
    """
    if x.size == 0:
        return Range(*np.zeros((2, *view.params), np.float32))
    matrix = x.reshape(view.matrix)
    if magnitude:
        hi = _absmax(matrix, view, num_threads).reshape(view.params)
        return Range(-hi, hi)
    lo, hi = _minmax(matrix, view, num_threads)
    return Range(lo.reshape(view.params), hi.reshape(view.params))


def merge(a: Range, b: Range) -> Range:
    """The ranges of groups of which some values have the ranges `a`, and the others `b`.

    >>> one, two = (Range(np.float32([lo]), np.float32([hi])) for lo, hi in ((-2, 1), (-1, 3)))
    >>> merge(one, two)
    Range(min=array([-2.], dtype=float32), max=array([3.], dtype=float32))
    """
    lo = kernels.column_minmax(np.stack([a.min.reshape(-1), b.min.reshape(-1)])).min
    hi = kernels.column_minmax(np.stack([a.max.reshape(-1), b.max.reshape(-1)])).max
    return Range(lo.reshape(a.min.shape), hi.reshape(a.max.shape))


# Chunks of a row, and channels that come again, are merged by the kernels too: NumPy's comparisons
# would obey a floating-point mode that the caller has set.


def _absmax(x: Array, view: View, num_threads: int | None) -> Array:
    if view.columns:
        return kernels.column_absmax(x, num_threads=num_threads)
    found = kernels.absmax(x, view.group_size or _CHUNK, num_threads=num_threads)
    if view.group_size is None:
        found = kernels.absmax(found)
    return kernels.column_absmax(found.reshape(view.repeats, -1)) if view.repeats > 1 else found


def _minmax(x: Array, view: View, num_threads: int | None) -> Range:
    if view.columns:
        return kernels.column_minmax(x, num_threads=num_threads)
    lo, hi = kernels.minmax(x, view.group_size or _CHUNK, num_threads=num_threads)
    if view.group_size is None:
        lo, hi = kernels.minmax(lo).min, kernels.minmax(hi).max
    if view.repeats > 1:
        lo = kernels.column_minmax(lo.reshape(view.repeats, -1)).min
        hi = kernels.column_minmax(hi.reshape(view.repeats, -1)).max
    return Range(lo, hi)


NAMES: dict[str, type[Clip]] = {"minmax": MinMax}
"""What can be given as a string."""


def resolve(clip: Any) -> Clip:
    """`clip`, or the clip of that name."""
    if isinstance(clip, Clip):
        return clip
    if isinstance(clip, type):
        raise TypeError(f"clip is the class {clip.__name__}; wanted an object: {clip.__name__}()")
    return NAMES[_check.choice(clip, "clip", tuple(NAMES))]()
