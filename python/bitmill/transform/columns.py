# SPDX-License-Identifier: MIT
"""LLM.int8() (arXiv:2208.07339): the few columns with outliers in float, the others in int8."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array
from bitmill._floats import default_floats
from bitmill.grid import rows_of
from bitmill.integer import Prepacked, matmul, prepack
from bitmill.quantize import quantize
from bitmill.schemes import Affine
from bitmill.transform.values import finite, matrix, vector


class ColumnSplit(NamedTuple):
    """Indices of columns, int64, ascending: those with outliers, and all others."""

    outliers: Array
    rest: Array


@default_floats()
def split_columns(x: Any, threshold: float = 6.0) -> ColumnSplit:
    """Which columns of activations [..., K] hold a value of magnitude `threshold` or more.

    Raises TypeError for other dtypes; ValueError for NaN and infinity, and for a threshold that is
    not above 0 and finite.

    >>> split_columns(np.array([[0.5, -7.0, 1.0], [6.0, 0.0, 5.9]], np.float32))
    ColumnSplit(outliers=array([0, 1]), rest=array([2]))
    """
    least = _check.positive(threshold, "threshold")
    large = kernels.column_absmax(rows_of(finite(x, "x"))) >= least
    return ColumnSplit(np.flatnonzero(large), np.flatnonzero(~large))


class SplitLinear:
    """x·Wᵀ + bias with the columns of outliers in float32, and the rest in 8-bit integers.

    `weight` is [N, K], `outliers` the columns to keep, as `split_columns` finds them in calibration
    activations: they are those of the model, and change little from text to text. Other columns of
    W are int8 with a scale a row; of x, quantized as it comes, int8 with a scale a token. Their
    products are exact integers; the others, and the sum, go through the BLAS of NumPy, whose order
    of additions is its own.

    Raises TypeError for other dtypes; ValueError for shapes that do not fit, NaN and infinity, and
    for indices that are not different columns.

    >>> w = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    >>> x = np.array([[1, 1000, 1], [0, 999, 1]], np.float32)
    >>> SplitLinear(w, outliers=split_columns(x).outliers)(x).round()
    array([[2004., 5010.],
           [2001., 5001.]], dtype=float32)
    """

    def __init__(self, weight: Any, bias: Any = None, *, outliers: Any) -> None:
        weights = matrix(weight, "weight")
        rows, columns = weights.shape
        self.shape = (rows, columns)
        self.split = _split(outliers, columns)
        self.kept: Array = np.ascontiguousarray(weights[:, self.split.outliers])
        self.packed: Prepacked = prepack(quantize(weights[:, self.split.rest], Affine(8)))
        self.bias = None if bias is None else vector(bias, "bias", rows)

    @property
    def nbytes(self) -> int:
        """Bytes of weights, kept and packed, and of the indices of those kept."""
        return self.kept.nbytes + self.packed.nbytes + self.split.outliers.nbytes

    @default_floats()
    def __call__(self, x: Any) -> Array:
        """Outputs [..., N], float32, for activations [..., K]."""
        values = finite(x, "x")
        if values.shape[-1] != self.shape[1]:
            raise ValueError(f"x has shape {values.shape}; wanted rows of {self.shape[1]}")
        rest = quantize(values[..., self.split.rest], Affine(8))
        out = matmul(rest, self.packed, self.bias)
        out += values[..., self.split.outliers] @ self.kept.T
        return out

    def __repr__(self) -> str:
        kept = len(self.split.outliers)
        return f"SplitLinear({kept} of {self.shape[1]} columns in float32, {self.nbytes:,} bytes)"


def _split(outliers: Any, columns: int) -> ColumnSplit:
    """The columns of these indices, and all others."""
    given = np.asarray(outliers)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise TypeError("outliers takes a 1-D array of integers: split_columns(x).outliers")
    if given.size and not (given.min() >= 0 and given.max() < columns):
        raise ValueError(f"outliers has indices that are not in 0..{columns - 1}")
    large = np.zeros(columns, bool)
    large[given.astype(np.int64)] = True
    if large.sum() != given.size:
        raise ValueError("outliers has an index twice: np.unique(outliers)")
    return ColumnSplit(np.flatnonzero(large), np.flatnonzero(~large))
