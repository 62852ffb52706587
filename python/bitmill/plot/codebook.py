# SPDX-License-Identifier: MIT
"""A codebook against the distribution that it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bitmill.plot.histogram import draw_density
from bitmill.plot.style import INK, LEVELS, add_legend, figure, name_axes
from bitmill.plot.units import MOST_LEVELS, Levels, Units, finite, levels, units
from bitmill.qtensor import QTensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def codebook(q_or_table: Any, x: Any, *, bins: int = 200) -> Figure:
    """The density of `x` with the values of a codebook as lines, and below how many weights each
    one stands for.

    `q_or_table` is a QTensor of the shape of `x` (its scales are taken out, as in `histogram`), or
    the values themselves, of which the nearest stands for each weight. The dashed line is where
    the bars would end if all were used alike: a codebook of least error has more values where
    there are more weights, but not so many that they are.

    Raises ValueError if the shapes differ, for no values or more than 512; ImportError without
    matplotlib.
    """
    made, (above, below) = figure(2, heights=(2.0, 1.0))
    given = units(x, q_or_table) if isinstance(q_or_table, QTensor) else _nearest(q_or_table, x)
    known = levels(given.found)
    if len(known.at) > MOST_LEVELS:
        raise ValueError(f"{len(known.at)} values are more than a figure shows, {MOST_LEVELS}")
    draw_density(above, given.values, bins)
    for number, at in enumerate(known.at):
        label = f"{len(known.at)} values" if number == 0 else None
        above.axvline(at, color=LEVELS, linewidth=1.2, label=label)
    _draw_shares(below, known)
    above.set_ylim(bottom=0)
    name_axes(above, "", "density")
    name_axes(below, given.name, "share")
    add_legend(above)
    return made


def _draw_shares(axes: Any, known: Levels) -> None:
    """How many weights each value stands for, beside an equal share."""
    axes.vlines(known.at, 0, known.shares, color=LEVELS, linewidth=4)
    axes.axhline(1 / len(known.at), color=INK, linestyle="--", linewidth=1)
    axes.set_ylim(bottom=0)


def _nearest(table: Any, x: Any) -> Units:
    """The nearest value of a table for each of `x`; of two, the lower."""
    values = finite(x).reshape(-1)
    try:
        known = np.asarray(table, np.float64)
    except (TypeError, ValueError):
        known = np.empty(0)
    if known.size == 0 or not np.isfinite(known).all():
        raise ValueError("q_or_table is no QTensor, and no array of finite values")
    known = np.unique(known)
    at = np.searchsorted((known[1:] + known[:-1]) / 2, values)
    return Units(values, known[at], "weight")
