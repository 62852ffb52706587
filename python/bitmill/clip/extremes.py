# SPDX-License-Identifier: MIT
"""The least and greatest value of every group."""

from __future__ import annotations

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array
from bitmill._results import Range
from bitmill.grid import View

_CHUNK = 1 << 16  # values; whole rows and tensors are read in such chunks, which threads can share


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


def finite_ranges(
    x: Array, view: View, *, magnitude: bool = False, num_threads: int | None = None
) -> Range:
    """`ranges`. Raises ValueError for NaN and infinity."""
    found = ranges(x, view, magnitude=magnitude, num_threads=num_threads)
    if not (np.isfinite(found.min).all() and np.isfinite(found.max).all()):
        raise _check.nonfinite_error(x)
    return found


def merge(a: Range, b: Range) -> Range:
    """The ranges of groups of which some values have the ranges `a`, and the others `b`.

    >>> one, two = (Range(np.float32([lo]), np.float32([hi])) for lo, hi in ((-2, 1), (-1, 3)))
    >>> merge(one, two)
    Range(min=array([-2.], dtype=float32), max=array([3.], dtype=float32))
    """
    return Range(lesser_greater(a.min, b.min).min, lesser_greater(a.max, b.max).max)


# All comparisons are those of the kernels: NumPy's obey a floating-point mode of the caller.


def lesser_greater(a: Array, b: Array) -> Range:
    """The lesser and the greater of two float32 arrays of one shape, element by element.

    >>> lesser_greater(np.float32([1, 2]), np.float32([3, -2]))
    Range(min=array([ 1., -2.], dtype=float32), max=array([3., 2.], dtype=float32))
    """
    lo, hi = kernels.column_minmax(np.stack([a.reshape(-1), b.reshape(-1)]), num_threads=1)
    return Range(lo.reshape(a.shape), hi.reshape(a.shape))


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
