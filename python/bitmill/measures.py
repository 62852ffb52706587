# SPDX-License-Identifier: MIT
"""The records of error measures, and how sums of errors become them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from bitmill import _core
from bitmill._dtypes import Array
from bitmill._results import ErrorSums


@dataclass(frozen=True)
class Metrics:
    """Error measures of a tensor x and its reconstruction x̂.

    Two are equal if their first four measures are; all others tell more about the same error, as
    far as it was asked for or can be told (else they are None).

    Attributes
    ----------
    mse
        Mean of (x − x̂)².
    sqnr_db
        Signal to quantization noise, 10·log10(Σx² / Σ(x − x̂)²) dB: inf where x̂ equals x (also where
        both are all zero), −inf where x is all zero and x̂ is not.
    cosine
        Σx·x̂ / (‖x‖·‖x̂‖): 1 where both are all zero, 0 where just one of them is.
    max_abs
        Largest |x − x̂|.
    max_at
        Index of the first value with that error; None where nothing is lost.
    clip_rate
        Share of the values that lie beyond the range of their codes. This and what follows can only
        be told of a QTensor.
    levels_used
        Number of distinct codes; log2 of it by the width of a code is its "bit utilization".
    code_entropy
        −Σ p·log2(p) over the shares p of the codes: the bits per code that would do.
    zero_groups
        Groups whose values are all 0.
    underflowed_scales
        Scales that are the least positive value of their dtype, to which smaller ones are raised.
    bits_per_weight
        Bits per value, all included.
    output_error
        tr(ΔW·H·ΔWᵀ), with ΔW = x − x̂ and H = Σaaᵀ over the activations: Σ‖ΔW·a‖².
    output_sqnr_db
        10·log10(tr(W·H·Wᵀ) / output_error) dB, with the limits of `sqnr_db`.
    """

    mse: float
    sqnr_db: float
    cosine: float
    max_abs: float
    max_at: tuple[int, ...] | None = field(default=None, compare=False)
    clip_rate: float | None = field(default=None, compare=False)
    levels_used: int | None = field(default=None, compare=False)
    code_entropy: float | None = field(default=None, compare=False)
    zero_groups: int | None = field(default=None, compare=False)
    underflowed_scales: int | None = field(default=None, compare=False)
    bits_per_weight: float | None = field(default=None, compare=False)
    output_error: float | None = field(default=None, compare=False)
    output_sqnr_db: float | None = field(default=None, compare=False)

    @property
    def rmse(self) -> float:
        """Root of the mean of (x − x̂)²."""
        return math.sqrt(self.mse)

    @property
    def relative_error(self) -> float:
        """‖x − x̂‖ / ‖x‖ = 10^(−sqnr_db/20): 0 where nothing is lost, inf where x is all zero."""
        return float(10.0 ** (-self.sqnr_db / 20))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it, without what is None.

        Infinities are null: with a max_abs of 0, nothing was lost.
        """
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: _json(value) for name, value in found.items() if value is not None}


@dataclass(frozen=True, eq=False)
class ChannelMetrics:
    """The measures of `Metrics`, of every row or channel: arrays of one shape.

    float64, and int64 what counts. `max_at` has one more axis, for the index in the tensor: −1 all
    along it where nothing is lost. Measures that cannot be told of each channel alone are None.
    """

    mse: Array
    sqnr_db: Array
    cosine: Array
    max_abs: Array
    max_at: Array
    clip_rate: Array | None = None
    levels_used: Array | None = None
    code_entropy: Array | None = None
    zero_groups: Array | None = None
    underflowed_scales: Array | None = None
    bits_per_weight: Array | None = None
    output_error: Array | None = None
    output_sqnr_db: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """One entry per row or channel."""
        return self.mse.shape

    @property
    def rmse(self) -> Array:
        """Roots of the means of (x − x̂)²."""
        return np.sqrt(self.mse)

    @property
    def relative_error(self) -> Array:
        """‖x − x̂‖ / ‖x‖."""
        found: Array = 10.0 ** (-self.sqnr_db / 20)
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it, without what is None: lists, with null for infinities."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: _json(array.tolist()) for name, array in found.items() if array is not None}


class ErrorTotal(NamedTuple):
    """The sums of `kernels.error_sums` over all rows so far, added in index order."""

    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0
    dd: float = 0.0
    max_abs: float = 0.0

    def plus(self, rows: ErrorSums) -> ErrorTotal:
        """With the rows that follow."""
        xx, yy, xy, dd = (_core.add_in_order(self[k], rows[k]) for k in range(4))
        return ErrorTotal(xx, yy, xy, dd, max(self.max_abs, float(rows.max_abs.max(initial=0))))

    def metrics(self, size: int, **more: Any) -> Metrics:
        """The measures of a tensor of `size` values, and what `more` is known of it."""
        mse = self.dd / size if size else 0.0
        cosine = _cosine(self.xx, self.yy, self.xy)
        return Metrics(mse, ratio_db(self.xx, self.dd), cosine, self.max_abs, **more)


def of_channels(sums: ErrorSums, size: int) -> dict[str, Array]:
    """The measures of each of R channels of `size` values: float64 [R], of the bits of `Metrics`.

    >>> one = np.ones(1)
    >>> of_channels(ErrorSums(25 * one, 13 * one, 17 * one, 4 * one, 2 * one, one), 2)["mse"]
    array([2.])
    """
    rows = map(ErrorTotal._make, np.stack(sums[:5], axis=1).tolist())
    found = [total.metrics(size) for total in rows]
    names = ("mse", "sqnr_db", "cosine", "max_abs")
    return {name: numbers(getattr(one, name) for one in found) for name in names}


def numbers(values: Iterable[float]) -> Array:
    """They as float64."""
    return np.fromiter(values, np.float64)


def ratio_db(signal: float, noise: float) -> float:
    """10·log10(signal / noise): inf without noise, −inf without signal."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def _cosine(xx: float, yy: float, xy: float) -> float:
    if xx == 0 or yy == 0:
        return float(xx == yy)
    return max(-1.0, min(1.0, xy / math.sqrt(xx * yy)))


def _json(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_json(each) for each in value]
    return value if math.isfinite(value) else None
