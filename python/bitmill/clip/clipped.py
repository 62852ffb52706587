# SPDX-License-Identifier: MIT
"""Parameters by ranges that a clip has chosen, or by the full range where it left none."""

from __future__ import annotations

import numpy as np

from bitmill._dtypes import Array
from bitmill._results import AffineParams, Range
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
    lo, hi = (np.clip(end, *full).astype(np.float32) for end in (lo, hi))
    if grid.rule == "offset":
        empty = (lo == hi) & (full.min != full.max)
    else:
        empty = ((lo == 0) & (hi == 0)) & ~((full.min == 0) & (full.max == 0))
    lo, hi = np.where(empty, full.min, lo), np.where(empty, full.max, hi)
    if grid.rule == "signed_max":
        lo, hi = _towards_greater(Range(lo, hi), full)
    made = MinMax().fit_ranges(Range(lo, hi), view, grid)
    return made._replace(unclipped=int(np.count_nonzero(empty)))


def _towards_greater(cut: Range, full: Range) -> Range:
    """The clipped magnitude, on the side on which the data reach further.

    The rule gives the extra code to that side; clipped, both sides may be equally long.
    """
    magnitude = np.maximum(-cut.min, cut.max)
    positive, zero = full.max > -full.min, np.float32(0)
    return Range(np.where(positive, zero, -magnitude), np.where(positive, magnitude, zero))
