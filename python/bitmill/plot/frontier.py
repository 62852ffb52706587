# SPDX-License-Identifier: MIT
"""Size against error: what can be had, and what was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bitmill.allocation import Allocation, Point
from bitmill.plot.style import DATA, INK, LEVELS, add_legend, figure, name_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def frontier(frontier: Sequence[Point], chosen: Allocation | None = None) -> Figure:
    """The choices that `bitmill.frontier` found, error over size, and what `allocate` chose.

    Errors are on a scale of powers of ten. Where they end in one of 0, which that has no place for,
    a dashed line says from which size on nothing is lost.

    Raises ValueError if there is no point with an error above 0, ImportError without matplotlib.
    """
    made, (axes,) = figure()
    lossy = [point for point in frontier if point.error > 0]
    if not lossy:
        raise ValueError("the frontier has no point with an error above 0")
    axes.plot(
        [point.bytes / 1e6 for point in lossy],
        [point.error for point in lossy],
        "o-",
        color=DATA,
        linewidth=1.2,
        markersize=3,
        label=f"best at its size ({len(frontier)} choices)",
    )
    exact = [point.bytes / 1e6 for point in frontier if point.error <= 0]
    if exact:
        axes.axvline(exact[0], color=INK, linestyle="--", linewidth=1, label="nothing is lost")
    if chosen is not None:
        label = f"chosen: {chosen.bytes / 1e6:.3g} MB"
        axes.plot(
            [chosen.bytes / 1e6], [chosen.error], "*", color=LEVELS, markersize=14, label=label
        )
    axes.set_yscale("log")
    name_axes(axes, "size, MB", "squared error")
    add_legend(axes)
    return made
