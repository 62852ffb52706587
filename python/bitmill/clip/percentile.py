# SPDX-License-Identifier: MIT
"""A range that leaves out the largest values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bitmill import _check, _core, kernels
from bitmill._dtypes import Array
from bitmill._results import AffineParams, Range
from bitmill.clip.base import Clip
from bitmill.clip.clipped import fit_or_full, towards_greater
from bitmill.clip.extremes import ranges
from bitmill.clip.matrix import matrix_of
from bitmill.clip.minmax import MinMax
from bitmill.grid import Grid, View
from bitmill.percentile import of_rows, percentage
from bitmill.summaries import Bins, full_ranges


@dataclass(frozen=True)
class Percentile(Clip):
    """A range that keeps `p` per cent of the values of every group; as a string "percentile:99.9".

    For symmetric codes −t … t, with t the percentile p of |x|; "signed_max" has its extra code on
    the side on which the values reach further. For the others, from the percentile (100 − p)/2 of x
    to that of 100 − (100 − p)/2. Percentiles are those of `bitmill.percentile`, rounded to float32.
    Then the scale rule applies as it does for `MinMax`, which `Percentile(100)` is the same as.

    A group that would have no range though its values are not all 0 (with an offset: not all equal)
    keeps its full range, and is counted as `unclipped` in `QTensor.health`.

    It is not for the activations of transformers, which have a few large values that matter most:
    with static int8 ranges, one for each input of a linear layer, the embeddings of MiniLM have a
    cosine of 0.868 to those of the float model by "percentile:99.9" and of 0.994 by "minmax"
    (`bench/static_activations.py`).

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
    by_histograms: ClassVar[bool] = True

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

        def percentiles(p: float, magnitude: bool) -> Array:
            found = _of_groups(x, view, p, magnitude=magnitude, num_threads=num_threads)
            return found.reshape(view.params)

        return fit_or_full(self._range(percentiles, grid.rule, full), full, view, grid)

    def fit_histograms(self, bins: Iterable[Bins], view: View, grid: Grid) -> AffineParams:
        """The same rule by percentiles that are right to within a bin."""
        known = list(bins)
        seen = full_ranges(known, view.params)

        def percentiles(p: float, magnitude: bool) -> Array:
            of = (one.magnitudes() if magnitude else one for one in known)
            found = kernels.to_float32(np.array([one.percentile(p) for one in of]))
            return found.reshape(view.params)

        def full() -> Range:
            return seen

        return fit_or_full(self._range(percentiles, grid.rule, full), full, view, grid)

    def _range(
        self, percentiles: Callable[[float, bool], Array], rule: str, full: Callable[[], Range]
    ) -> Range:
        """The clipped range of every group, by percentiles of its values or magnitudes."""
        if rule in ("asymmetric", "offset"):
            below = _left_of_100(self.p) / 2
            return Range(percentiles(below, False), percentiles(_left_of_100(below), False))
        most = percentiles(self.p, True)
        if rule != "signed_max":  # no other rule asks at which end the value of most magnitude is
            return Range(-most, most)
        return towards_greater(Range(-most, most), full())


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
