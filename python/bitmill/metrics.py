# SPDX-License-Identifier: MIT
"""What quantization lost: error measures between values and their reconstruction."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from bitmill import _check, _core, kernels
from bitmill._dtypes import Array
from bitmill._results import ErrorSums
from bitmill._threads import resolve
from bitmill.grid import rows_of
from bitmill.qtensor import QTensor

_ROWS = 1 << 16  # rows whose sums are held at a time
_BLOCK = 1 << 18  # values that are looked at one by one at a time


@dataclass(frozen=True)
class Metrics:
    """Error measures of a tensor x and its reconstruction x̂.

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
    """

    mse: float
    sqnr_db: float
    cosine: float
    max_abs: float

    def to_dict(self) -> dict[str, float | None]:
        """As JSON can hold it. Infinities are null: with a max_abs of 0, nothing was lost."""
        return {k: v if math.isfinite(v) else None for k, v in asdict(self).items()}


def metrics(x: Any, q: Any, *, num_threads: int | None = None) -> Metrics:
    """Compare `x` with `q`, a QTensor or an array of reconstructed values.

    Values are compared as float32 (float64 is rounded to it) and summed in double in a fixed order,
    so the result depends neither on threads nor on the instruction set; the measures pass through
    sqrt and log10 at the end.

    Raises TypeError for integer arrays (codes are not values: dequantize them), ValueError for
    different shapes, NaN or infinity.

    >>> import bitmill as bm, numpy as np
    >>> x = np.array([0.4, -1.0, 7.0], np.float32)
    >>> m = bm.metrics(x, bm.quantize(x, bm.Affine(4)))
    >>> round(m.sqnr_db, 2), round(m.max_abs, 2)
    (24.96, 0.4)
    """
    num_threads = resolve(num_threads)
    x = _check.array(x)
    given = q.dequantize(num_threads=num_threads) if isinstance(q, QTensor) else _values(q)
    y = kernels.to_float32(given, num_threads=num_threads)
    if y.shape != x.shape:
        raise ValueError(f"x has shape {x.shape} and q has shape {y.shape}; wanted equal ones")
    total = _total(rows_of(x), rows_of(y), num_threads)
    if not math.isfinite(total.xx):
        raise _check.nonfinite_error(x, "x")
    if not math.isfinite(total.yy):
        raise _check.nonfinite_error(given, "q")
    return total.metrics(x.size)


def count_nonfinite(x: Array) -> int:
    """How many values of a float array are NaN or infinite.

    >>> count_nonfinite(np.array([1.0, np.nan, -np.inf], np.float32))
    2
    """
    flat, is_double = x.reshape(-1), x.dtype == np.float64
    # Rounding to float32 would make infinities of some doubles.
    if x.size == 0 or (not is_double and np.isfinite(kernels.absmax(flat[None]).max())):
        return 0
    count = 0
    for start in range(0, flat.size, _BLOCK):
        part = flat[start : start + _BLOCK]
        part = part if is_double else kernels.to_float32(part)
        count += part.size - int(np.count_nonzero(np.isfinite(part)))
    return count


def _values(q: Any) -> Array:
    """Reconstructed values."""
    if isinstance(q, np.ndarray) and q.dtype.kind in "iu":
        raise TypeError(
            f"q has dtype {q.dtype}: these are codes, not values; "
            "pass the QTensor or its dequantize()"
        )
    return _check.array(q, "q")


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

    def metrics(self, size: int) -> Metrics:
        """The measures of a tensor of `size` values."""
        mse = self.dd / size if size else 0.0
        cosine = _cosine(self.xx, self.yy, self.xy)
        return Metrics(mse, _sqnr_db(self.xx, self.dd), cosine, self.max_abs)


def _total(x: Array, y: Array, num_threads: int | None) -> ErrorTotal:
    """Of all rows."""
    total = ErrorTotal()
    for start in range(0, x.shape[0], _ROWS):
        part = slice(start, start + _ROWS)
        total = total.plus(kernels.error_sums(x[part], y[part], num_threads=num_threads))
    return total


def _sqnr_db(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def _cosine(xx: float, yy: float, xy: float) -> float:
    if xx == 0 or yy == 0:
        return float(xx == yy)
    return max(-1.0, min(1.0, xy / math.sqrt(xx * yy)))
