# SPDX-License-Identifier: MIT
"""Percentiles, to the bit those of NumPy in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bitmill import _check, _core, kernels
from bitmill._dtypes import Array

_BLOCK = 1 << 18  # values looked at together


def percentile(
    x: Any,
    p: float | Sequence[float] | Array,
    axis: int | None = None,
    *,
    num_threads: int | None = None,
) -> Any:
    """The value below which `p` per cent of `x` lie.

    It has the bits of `np.percentile(x.astype(np.float64), p, axis)` and takes one pass over
    memory. With the n values in ascending order v₀ … vₙ₋₁, h = (n − 1) · p/100 and k = ⌊h⌋:
    vₖ + (h − k)(vₖ₊₁ − vₖ), rounded as NumPy rounds it.

    Parameters
    ----------
    x
        float32, float16, bfloat16 or float64, of any shape but 0-d and not empty. float64 that is
        not all float32 is handed to `np.percentile` itself, which takes many times as long.
    p
        A number from 0 to 100, or an array or sequence of them.
    axis
        Percentiles along this axis, which is left out of the result; None: of all values.

    Returns float64, of the shape of `p` followed by that of `x` without `axis`; a NumPy scalar
    where that leaves no dimensions. A result that equals zero is +0.0.

    Raises ValueError for NaN and infinity, TypeError for other dtypes.

    >>> import bitmill as bm, numpy as np
    >>> x = np.array([[1, 2, 3], [4, 5, 9]], np.float32)
    >>> float(bm.percentile(x, 50)), bm.percentile(x, 50, axis=1)
    (3.5, array([2., 5.]))
    """
    x = _check.array(x)
    wanted = _percentages(p)
    if x.size == 0:
        raise ValueError(f"x has shape {x.shape}; of no values there is no percentile")
    if axis is not None:
        axis = _check.integer(axis, "axis", low=-x.ndim, high=x.ndim - 1)
    if x.dtype == np.float64 and not _all_float32(x):
        if not (finite := np.isfinite(x)).all():  # float64 beyond float32 is welcome here
            raise _check.nonfinite_error(np.where(finite, 0.0, x))
        return (np.percentile(x, wanted, axis=axis) + 0.0)[()]
    if axis is None:
        rows = x.reshape(1, -1)
        shape: tuple[int, ...] = ()
    else:
        moved = _check.array(np.moveaxis(x, axis, -1))
        rows = moved.reshape(-1, x.shape[axis])
        shape = moved.shape[:-1]
    found = [of_rows(rows, float(each), x, num_threads=num_threads) for each in wanted.flat]
    return np.stack(found).reshape(wanted.shape + shape)[()]


def of_rows(
    rows: Array,
    p: float,
    x: Array,
    *,
    magnitude: bool = False,
    num_threads: int | None = None,
) -> Array:
    """Percentiles of the rows of a matrix [R, C], or of their magnitudes: float64 [R].

    Raises ValueError for NaN and infinity, by their places in `x`, whose values the rows hold.
    """
    # Not here: a floating-point mode that the caller has set would change the place.
    rank, weight = _core.percentile_place(p, rows.shape[1])
    found = kernels.order_statistics(rows, rank, magnitude=magnitude, num_threads=num_threads)
    if found.nonfinite:
        raise _check.nonfinite_error(x)
    out = np.empty(rows.shape[0])
    _core.interpolate(found.low, found.high, weight, out)
    return out


def percentage(value: Any, name: str = "p") -> float:
    """`value` as a float from 0 to 100."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; {name} takes a number")
    number = float(value)
    if not 0 <= number <= 100:
        raise ValueError(f"{name}={value} must be between 0 and 100")
    return number


def _percentages(p: Any) -> Array:
    """One or many of them as a float64 array, 0-d if there is one."""
    if isinstance(p, np.ndarray) or (isinstance(p, Sequence) and not isinstance(p, str)):
        given = np.asarray(p)
        if given.size:
            return np.array([percentage(each) for each in given.flat]).reshape(given.shape)
        raise ValueError(f"p={p!r} is empty; p takes a number, or a sequence of numbers")
    return np.array(percentage(p))


def _all_float32(x: Array) -> bool:
    """Whether every value of a float64 array is a float32, by its bits."""
    flat = x.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        part = flat[start : start + _BLOCK]
        back = kernels.from_float32(kernels.to_float32(part), "float64")
        if not np.array_equal(back.view(np.int64), part.view(np.int64)):
            return False
    return True
