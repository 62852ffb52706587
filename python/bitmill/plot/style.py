# SPDX-License-Identifier: MIT
"""How figures look: transparent, in inks that are read on white and on black."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#7b7e86"
"""Of text, axes and what is in the background."""
DATA, LEVELS = "#3f86cc", "#d9730d"
SERIES = (DATA, LEVELS, "#2e9e5b", "#d64550", "#8f70d9", "#1b95a5", "#d0569b", "#8f8a1e")
"""One for each of several kinds; their luminance is between those of white and black pages."""
MARKERS = "osD^vPX*"
"""As many, for those who cannot tell the colours apart."""


def figure(rows: int = 1, *, heights: tuple[float, ...] = (1.0,)) -> tuple[Figure, list[Axes]]:
    """A figure with axes below each other, which share what runs to the right.

    ImportError that says what to install where matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'bitmill[report]'") from None
    made = Figure(figsize=(7.2, 3.6 if rows == 1 else 4.6), layout="constrained", facecolor="none")
    grid = made.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=heights)
    found = [axes for (axes,) in grid]
    for axes in found:
        _dress(axes)
    return made, found


def name_axes(axes: Axes, x: str, y: str) -> None:
    """What runs to the right, and upwards."""
    for setter, text in ((axes.set_xlabel, x), (axes.set_ylabel, y)):
        setter(text, color=INK, fontsize=10)


def whole_numbers(axes: Axes) -> None:
    """No fractions to the right."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def add_legend(axes: Axes, **where: Any) -> None:
    """What stands for what."""
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, **where)


def _dress(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.tick_params(colors=INK, which="both", labelsize=9)
    axes.grid(color=INK, alpha=0.18, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(side in ("left", "bottom"))
