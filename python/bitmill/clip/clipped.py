# SPDX-License-Identifier: MIT
"""Parameters by ranges that a clip has chosen, or by the full range where it left none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array
from bitmill._results import AffineParams, Range
from bitmill.clip.extremes import lesser_greater
from bitmill.clip.minmax import MinMax
from bitmill.grid import Grid, View


def fit_clipped(lo: Array, hi: Array, full: Range, view: View, grid: Grid) -> AffineParams:
    """The scale rule of `grid` applied to lo … hi, cut to the `full` range of the data.

    All are in the shape `view.params`; `lo` and `hi`, float32 or float64, may be infinite but not
    NaN. A group that is left no range, though its values have one, gets the full one and is
    counted in `unclipped`.

    >>> from bitmill.grid import Grid, view
    >>> full = Range(np.float32([[-9, 0]]), np.float32([[70, 4]]))
    >>> made = fit_clipped(
    ...     np.array([[-14.0, 0.0]]),
    ...     np.array([[14.0, 0.0]]),
    ...     full,
    ...     view((1, 8), "row", 4),
    ...     Grid(-8, 7, "absmax", "float32"),
    ... )
    >>> made.scale.tolist(), made.unclipped
    ([[2.0, 0.5714285969734192]], 1)
    """
    cut = Range(*(_within(full, kernels.to_float32(end)) for end in (lo, hi)))
    if grid.rule == "signed_max":
        cut = towards_greater(cut, full)
    return fit_or_full(cut, lambda: full, view, grid)


def fit_or_full(found: Range, full: Callable[[], Range], view: View, grid: Grid) -> AffineParams:
    """The scale rule of `grid` applied to the ranges `found`, or to the `full` ones where empty.

    A range is empty if it is zero alone (with an offset: any one value). `full` is asked only if
    there is such a group, and those that it gives a range are counted in `unclipped`.
    """
    empty = _is_empty(found, grid.rule)
    if not empty.any():
        return MinMax().fit_ranges(found, view, grid)
    seen = full()
    unclipped = empty & ~_is_empty(seen, grid.rule)
    lo, hi = (np.where(unclipped, *both) for both in zip(seen, found, strict=True))
    made = MinMax().fit_ranges(Range(lo, hi), view, grid)
    return made._replace(unclipped=int(np.count_nonzero(unclipped)))


def _is_empty(found: Range, rule: str) -> Array:
    """By their bits: NumPy's comparisons obey a floating-point mode that the caller has set."""
    lo, hi = (end.view(np.int32) for end in found)
    empty: Array = lo == hi if rule == "offset" else (lo | hi) << 1 == 0
    return empty


def _within(full: Range, end: Array) -> Array:
    return lesser_greater(full.min, lesser_greater(full.max, end).min).max


def towards_greater(cut: Range, full: Range) -> Range:
    """The clipped magnitude, on the side on which the data reach further.

    The rule "signed_max" gives its extra code to that side; clipped, both may be equally long.
    """
    magnitude = lesser_greater(-cut.min, cut.max).max
    down, zero = -full.min, np.float32(0)
    positive = lesser_greater(down, full.max).max.view(np.int32) != down.view(np.int32)
    return Range(np.where(positive, zero, -magnitude), np.where(positive, magnitude, zero))
