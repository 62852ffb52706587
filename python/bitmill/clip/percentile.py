# SPDX-License-Identifier: MIT
"""A range that leaves out the largest values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bitmill import _check, _core, kernels
from bitmill._dtypes import Array
from bitmill._results import AffineParams, Range
from bitmill.clip.base import Clip
from bitmill.clip.extremes import ranges
from bitmill.clip.matrix import matrix_of
from bitmill.clip.minmax import MinMax
from bitmill.grid import Grid, View
from bitmill.percentile import of_rows, percentage


@dataclass(frozen=True)
class Percentile(Clip):
    """A range that keeps `p` per cent of the values of every group; as a string "percentile:99.9".

    For symmetric codes, with t the percentile p of |x|: [max(min x, −t), min(max x, t)]. For the
    others, the percentiles (100 − p)/2 and 100 − (100 − p)/2 of x. Percentiles are those of
    `bitmill.percentile`, rounded to float32. Then the scale rule applies as it does for `MinMax`,
    which `Percentile(100)` is the same as.

    A group that would have no range though its values are not all 0 (with an offset: not all equal)
    keeps its full range, and is counted as `unclipped` in `QTensor.health`.

    Raises ValueError unless 0 < p <= 100, TypeError for what is no number.

    >>> Percentile(99.9)
    Percentile(p=99.9)
    >>> import bitmill as bm, numpy as np
    >>> x = np.array([[1, 2, 3, 7, 100]], np.float32)
    >>> bm.quantize(x, bm.Affine(4, clip="percentile:75")).codes
    array([[1, 2, 3, 7, 7]], dtype=int8)
    """

    p: float
    name: ClassVar[str] = "percentile"

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", percentage(self.p))
        if self.p == 0:
            raise ValueError("p=0 leaves no range; p is what is kept, in per cent: 99.9")

    @classmethod
    def parse(cls, argument: str | None) -> Percentile:
        """The clip of "percentile:99.9"."""
        try:
            return cls(float(argument or ""))
        except ValueError:
            raise ValueError(
                f"clip 'percentile' takes what is kept in per cent, above 0 and up to 100, not "
                f"{argument!r}: 'percentile:99.9'"
            ) from None

    def __str__(self) -> str:
        return f"{self.name}:{repr(self.p).removesuffix('.0')}"

    def fit(
        self, x: Array, view: View, grid: Grid, *, num_threads: int | None = None
    ) -> AffineParams:
        """The scale rule of `grid` applied to the clipped range of every group."""
        if x.size == 0:
            return MinMax().fit(x, view, grid)

        def full() -> Range:
            magnitude = grid.rule in ("absmax", "full_range")
            return ranges(x, view, magnitude=magnitude, num_threads=num_threads)

        found = self._range(x, view, grid.rule, full, num_threads)
        empty = _is_empty(found, grid.rule)
        if not empty.any():
            return MinMax().fit_ranges(found, view, grid)
        seen = full()
        unclipped = empty & ~_is_empty(seen, grid.rule)
        lo, hi = (np.where(unclipped, *both) for both in zip(seen, found, strict=True))
        made = MinMax().fit_ranges(Range(lo, hi), view, grid)
        return made._replace(unclipped=int(np.count_nonzero(unclipped)))

    def _range(
        self,
        x: Array,
        view: View,
        rule: str,
        full: Callable[[], Range],
        num_threads: int | None,
    ) -> Range:
        """The clipped range of every group, in the shape `view.params`."""

        def percentiles(p: float, *, magnitude: bool = False) -> Array:
            found = _of_groups(x, view, p, magnitude=magnitude, num_threads=num_threads)
            return found.reshape(view.params)

        if rule in ("asymmetric", "offset"):
            below = _left_of_100(self.p) / 2
            return Range(percentiles(below), percentiles(_left_of_100(below)))
        most = percentiles(self.p, magnitude=True)
        if rule != "signed_max":  # no other rule asks at which end the value of most magnitude is
            return Range(-most, most)
        lo, hi = full()
        return Range(_extreme(lo, -most).max, _extreme(hi, most).min)


def _left_of_100(p: float) -> float:
    """100 − p, whatever floating-point mode the caller has set."""
    return _core.add_in_order(100.0, np.array([-p]))


def _of_groups(x: Array, view: View, p: float, **options: Any) -> Array:
    """Percentiles of all groups in their order, float32."""
    matrix, size = matrix_of(x, view)
    length = matrix.shape[1]
    size = min(size or length, length)
    whole = length // size * size
    parts = []
    for part, width in ((matrix[:, :whole], size), (matrix[:, whole:], length - whole)):
        if width:
            rows = _check.array(part).reshape(-1, width)
            parts.append(of_rows(rows, p, x, **options).reshape(matrix.shape[0], -1))
    return kernels.to_float32(np.concatenate(parts, axis=1))


def _extreme(a: Array, b: Array) -> Range:
    """Elementwise, by the kernel: NumPy's comparisons obey a mode that the caller has set."""
    lo, hi = kernels.column_minmax(np.stack([a.reshape(-1), b.reshape(-1)]))
    return Range(lo.reshape(a.shape), hi.reshape(a.shape))


def _is_empty(found: Range, rule: str) -> Array:
    """Which ranges hold one value, or without an offset nothing but zero; by their bits."""
    lo, hi = (end.view(np.int32) for end in found)
    empty: Array = lo == hi if rule == "offset" else (lo | hi) << 1 == 0
    return empty
