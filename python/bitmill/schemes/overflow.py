# SPDX-License-Identifier: MIT
"""The error that names a group whose scale is too large for the dtype that stores it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from bitmill import kernels
from bitmill._results import Grid, Range


class Scaled(Protocol):
    """A scheme that makes scales of ranges."""

    @property
    def grid(self) -> Grid:
        """The rule, and what stores scales."""

    @property
    def scale_name(self) -> str:
        """What an error calls them: "4-bit scale or offset"."""


class ScaleOverflowError(ValueError):
    """A group whose scale or offset is not finite in its storage dtype."""

    def __init__(self, index: tuple[int, ...], what: str) -> None:
        super().__init__(index, what)
        self.index = index
        """Of the group, among the parameters."""
        self.what = what

    def __str__(self) -> str:
        return f"x: group {self.index} {self.what}"

    def moved(self, origin: tuple[int, ...]) -> ScaleOverflowError:
        """The error for a tensor of which the one at hand is a piece that begins at `origin`."""
        pairs = zip(self.index, origin, strict=True)
        return ScaleOverflowError(tuple(i + start for i, start in pairs), self.what)


def overflow_error(scheme: Scaled, seen: Range) -> ScaleOverflowError:
    """The error for the first group, by the ranges of all, whose scale or offset overflows."""
    lo, hi = (r.reshape(1, -1) for r in seen)

    def overflows(part: slice, scales: str) -> bool:
        grid = scheme.grid._replace(scales=scales)._asdict()
        both = (np.ascontiguousarray(r[:, part]) for r in (lo, hi))
        return kernels.affine_params(*both, **grid).overflowed > 0

    start, stop = 0, lo.size  # the first one lies between them
    while stop - start > 1:
        middle = (start + stop) // 2
        if overflows(slice(start, middle), scheme.grid.scales):
            stop = middle
        else:
            start = middle
    index = tuple(int(i) for i in np.unravel_index(start, seen.min.shape))
    low, high = float(lo[0, start]), float(hi[0, start])
    wider = [repr(s) for s in ("float32", "bfloat16") if not overflows(slice(start, stop), s)]
    return ScaleOverflowError(
        index,
        f"spans {low:.9g} to {high:.9g} (absmax {max(-low, high):.9g}), whose "
        f"{scheme.scale_name} overflows {scheme.grid.scales}: "
        + (f"use scales={' or '.join(wider)}" if wider else "scale or clip x"),
    )
