# SPDX-License-Identifier: MIT
"""The distribution of a weight, with the levels of its codes over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bitmill import _check
from bitmill.plot.style import DATA, LEVELS, add_legend, figure, name_axes
from bitmill.plot.units import MOST_LEVELS, levels, units
from bitmill.qtensor import QTensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BINS = 10_000
"""More than a figure has dots for."""


def histogram(x: Any, q: QTensor, *, bins: int = 200) -> Figure:
    """The density of `x`, and at each level of `q` that of the values that have it.

    Groups have levels of their own; divided by the scale of its group, each value lies among the
    same ones. A level's stem is as high as the histogram where the values around it are spread
    evenly; at the ends, clipped values make it higher. Where there are more levels than can be
    seen, they are a second histogram.

    Raises TypeError for a `q` that is no QTensor, ValueError if its shape is not that of `x`, and
    for NaN and infinity; ImportError without matplotlib.
    """
    made, (axes,) = figure()
    given = units(x, q)
    draw_density(axes, given.values, bins)
    known = levels(given.found)
    if len(known.at) <= MOST_LEVELS:
        width = 2.0 if len(known.at) <= 64 else 0.7
        axes.vlines(known.at, 0, known.density, color=LEVELS, linewidth=width)
        size = 4 if len(known.at) <= 64 else 1.2
        label = f"{len(known.at)} levels of {q.scheme.describe()}"
        axes.plot(known.at, known.density, "o", color=LEVELS, markersize=size, label=label)
    else:
        heights, edges = np.histogram(given.found, bins, density=True)
        label = f"quantized by {q.scheme.describe()}"
        axes.stairs(heights, edges, color=LEVELS, label=label)
    name_axes(axes, given.name, "density")
    axes.set_ylim(bottom=0)
    add_legend(axes)
    return made


def draw_density(axes: Axes, values: Any, bins: int) -> None:
    """The histogram of the values, with area 1."""
    bins = _check.integer(bins, "bins", low=1, high=MOST_BINS)
    heights, edges = np.histogram(values, bins, density=True)
    axes.stairs(heights, edges, fill=True, color=DATA, alpha=0.6, linewidth=0, label="weights")
