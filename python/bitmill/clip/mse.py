# SPDX-License-Identifier: MIT
"""The scale of least squared error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array
from bitmill._results import AffineParams, Range, each_param
from bitmill.clip.base import Clip
from bitmill.clip.extremes import finite_ranges
from bitmill.clip.matrix import matrix_of
from bitmill.clip.minmax import MinMax
from bitmill.clip.mse_range import mse_range
from bitmill.grid import Grid, View
from bitmill.summaries import Bins

MODES = ("fast", "exact")


@dataclass(frozen=True)
class MSE(Clip):
    """The parameters that minimize Σ w·(x − x̂)² over each group, w = 1 or an importance.

    Parameters
    ----------
    mode
        "fast" tries 32 to 64 scales in 16-bit integer arithmetic and fits the best one anew by
        least squares, within 0.03 dB of the optimum for normal groups of 32 and more: a few
        milliseconds per million weights. "exact" finds the optimum over all real scales (not with
        an offset), then the best of that scale as stored and its neighbours in the storage dtype.
        As strings "mse" and "mse-exact".

    Between two breakpoints |x|/scale = k + ½ the codes q are constant, and the best scale for them
    is Σwxq / Σwq², with error Σwx² − (Σwxq)²/Σwq². The optimum is the least of these; most are
    left out by a lower bound on the error between two scales (`csrc/kernels/sweep.hpp`).

    With `scale_rule="signed_max"` both signs of the scale are tried; of the other rules only the
    kind counts. Asymmetric codes: the zero-point of the range and its neighbours, or if "exact" all
    of them. With an offset, scale and offset come from alternating regressions and roundings from
    32 starts, in both modes. No group is worse than with `MinMax`, whose parameters it keeps where
    nothing is better. A group whose importances are all 0 is fitted as if all were 1.

    For up to 8 bits. Raises ValueError for another mode.

    >>> import bitmill as bm, numpy as np
    >>> x = np.random.default_rng(0).standard_normal((16, 4096), np.float32)
    >>> for clip in ("minmax", "mse", "mse-exact"):
    ...     q = bm.quantize(x, bm.Affine(4, group_size=128, clip=clip))
    ...     print(clip, round(bm.metrics(x, q).sqnr_db, 2))
    minmax 18.69
    mse 20.0
    mse-exact 20.0
    """

    mode: str = "fast"
    name: ClassVar[str] = "mse"
    by_histograms: ClassVar[bool] = True
    takes_importance: ClassVar[bool] = True
    bytes_per_group: ClassVar[int] = 32
    most_bits: ClassVar[int] = 8

    def __post_init__(self) -> None:
        _check.choice(self.mode, "mode", MODES)

    def fit(
        self,
        x: Array,
        view: View,
        grid: Grid,
        *,
        importance: Array | None = None,
        num_threads: int | None = None,
    ) -> AffineParams:
        """The best parameters of every group."""
        finite_ranges(x, view, magnitude=True, num_threads=num_threads)
        matrix, group_size = matrix_of(x, view)
        if importance is not None and not view.whole_rows:
            importance, _ = matrix_of(np.broadcast_to(importance, x.shape), view)
        elif importance is not None and importance.ndim > 1:
            importance = importance.reshape(matrix.shape)
        made = kernels.mse_params(
            matrix,
            importance,
            **grid._asdict(),
            group_size=group_size,
            exact=self.mode == "exact",
            num_threads=num_threads,
        )
        shaped = each_param(lambda p: p.reshape(view.params), made[:3])
        return AffineParams(*shaped, *made[3:])

    def fit_histograms(self, bins: Iterable[Bins], view: View, grid: Grid) -> AffineParams:
        """Nearly the best parameters, those of `mse_range`: in both modes, which bins cannot tell.

        At 8 bits it takes 1 to 3 ms for a channel, for asymmetric grids 7 ms.
        """
        ends = np.array([mse_range(one, grid) for one in bins], np.float64).reshape(-1, 2)
        lo, hi = kernels.to_float32(np.ascontiguousarray(ends.T)).reshape(2, *view.params)
        return MinMax().fit_ranges(Range(lo, hi), view, grid)

    @classmethod
    def parse_exact(cls, argument: str | None) -> MSE:
        """The clip of "mse-exact"."""
        if argument is not None:
            raise ValueError(f"clip 'mse-exact' takes no argument, not {argument!r}")
        return cls("exact")

    def __str__(self) -> str:
        return "mse-exact" if self.mode == "exact" else "mse"
