# SPDX-License-Identifier: MIT
"""How the range that a scale must cover is chosen. A clip is a class with `ranges`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array
from bitmill._results import Range
from bitmill.grid import View

_CHUNK = 1 << 16  # values; whole rows and tensors are read in such chunks, which threads can share


@dataclass(frozen=True)
class MinMax:
    """The full range of the data: nothing is clipped.

    >>> MinMax()
    MinMax()
    """

    def ranges(
        self, x: Array, view: View, *, magnitude: bool, num_threads: int | None = None
    ) -> Range:
        """Range of every group of `x` under `view`, float32, in the shape `view.params`.

        With `magnitude` it is −max |x| … max |x|, which is cheaper to find. Entries that are not
        finite mark groups with NaN or infinity.
        """
        if x.size == 0:
            return Range(*np.zeros((2, *view.params), np.float32))
        lo, hi = _extremes(x.reshape(view.matrix), view, magnitude, num_threads)
        with np.errstate(invalid="ignore"):
            return Range(_merge(np.minimum, lo, view), _merge(np.maximum, hi, view))


def _extremes(x: Array, view: View, magnitude: bool, num_threads: int | None) -> Range:
    """Ranges per column, or per row and group, or per row and chunk of it."""
    group = view.group_size or _CHUNK
    if magnitude:
        if view.columns:
            found = kernels.column_absmax(x, num_threads=num_threads)
        else:
            found = kernels.absmax(x, group, num_threads=num_threads)
        return Range(-found, found)
    if view.columns:
        return kernels.column_minmax(x, num_threads=num_threads)
    return kernels.minmax(x, group, num_threads=num_threads)


def _merge(extreme: np.ufunc, values: Array, view: View) -> Array:
    """Chunks of a row into one entry, and repeated channels into one."""
    if not view.columns and view.group_size is None:
        values = extreme.reduce(values, axis=1)
    if view.repeats > 1:
        values = extreme.reduce(values.reshape(view.repeats, -1), axis=0)
    return values.reshape(view.params)


NAMES = {"minmax": MinMax}
"""What can be given as a string."""


def resolve(clip: Any) -> MinMax:
    """`clip`, or the clip of that name."""
    if isinstance(clip, MinMax):
        return clip
    return NAMES[_check.choice(clip, "clip", tuple(NAMES))]()
