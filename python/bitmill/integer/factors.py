# SPDX-License-Identifier: MIT
"""Real factors as an integer and a shift, and what multiplies sums of products by them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bitmill import _check, kernels
from bitmill._arguments import LEAST_SHIFT, MOST_SHIFT, codes_between
from bitmill._dtypes import Array


class Factor(NamedTuple):
    """multiplier·2^(shift − 31): int32, a multiplier of 0 or 2^30 … 2^31 − 1, a shift −31 … 30."""

    multiplier: Array
    shift: Array


def quantize_multiplier(m: Any) -> Factor:
    """The factors nearest to positive numbers `m`, in the shape of `m` (1712.05877, eq. 5–6).

    m = m0·2^shift with m0 in [1/2, 1), and multiplier = floor(m0·2^31 + 1/2); where that is 2^31,
    half of it and one more as the shift. Below 2^−32, both are 0: no int32 times that rounds to 1.

    Raises ValueError for numbers that are not above 0, and from 2^30 on.

    >>> import bitmill as bm
    >>> bm.integer.quantize_multiplier(0.007247427341846)
    Factor(multiplier=array(1992157658, dtype=int32), shift=array(-7, dtype=int32))
    >>> bm.integer.quantize_multiplier([1.5, 1 / 3, 0.9999999999]).multiplier
    array([1610612736, 1431655765, 1073741824], dtype=int32)
    """
    factors = np.asarray(m, np.float64)
    bad = factors[~((factors > 0) & (factors < 2.0**MOST_SHIFT))]
    if bad.size:
        raise ValueError(
            f"m has the value {bad[0]}; wanted numbers above 0 and below 2^{MOST_SHIFT}"
        )
    fraction, exponent = np.frexp(factors)
    multiplier = np.floor(fraction * 2.0**31 + 0.5).astype(np.int64)
    full = multiplier == 1 << 31
    multiplier, exponent = np.where(full, 1 << 30, multiplier), exponent + full
    if (exponent > MOST_SHIFT).any():
        raise ValueError(f"m is 2^{MOST_SHIFT} when rounded to 31 bits; wanted less")
    small = exponent < LEAST_SHIFT
    parts = np.where(small, 0, multiplier), np.where(small, 0, exponent)
    return Factor(*(np.asarray(part, np.int32) for part in parts))


def requantize(
    acc: Any,
    multiplier: Any,
    shift: Any,
    zero_point: int = 0,
    *,
    qmin: int | None = None,
    qmax: int | None = None,
    rounding: str = "single",
    dtype: str = "int8",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Codes of int32 sums: clamp(round(acc·multiplier·2^(shift − 31)) + zero_point, qmin, qmax).

    `acc` is int32 [..., N]; multiplier and shift, one or N of each, are what `quantize_multiplier`
    gives. `qmin` and `qmax` are the limits of `dtype`, "int8" or "uint8", unless given: a ReLU is
    qmin = zero_point, a ReLU6 has also qmax = zero_point + 6/scale. `rounding` is "single" (once,
    halves up) or "double" (as TensorFlow Lite): see `bitmill.reference.requantize`. Integers only,
    the same on every instruction set.

    Raises TypeError and ValueError for arguments that are none of these.

    >>> import bitmill as bm, numpy as np
    >>> third = bm.integer.quantize_multiplier(1 / 3)
    >>> bm.integer.requantize(np.int32([100, -100, 9999]), *third)
    array([ 33, -33, 127], dtype=int8)
    >>> bm.integer.requantize(np.int32([100, -100]), *third, qmin=0, rounding="double")
    array([34,  0], dtype=int8)
    """
    sums = np.asarray(acc)
    if sums.dtype != np.int32:
        raise TypeError(f"acc has dtype {sums.dtype}; wanted int32")
    if sums.ndim == 0:
        raise ValueError("acc has 0 dimensions; at least 1 is needed: np.atleast_1d(acc)")
    limits = np.iinfo(_check.choice(dtype, "dtype", ("int8", "uint8")))
    low, high = int(limits.min) if qmin is None else qmin, int(limits.max) if qmax is None else qmax
    codes_between(zero_point, low, high, dtype)
    columns = sums.shape[-1]
    out = _check.output(out, sums.shape, np.dtype(dtype), sums)
    kernels.requantize(
        np.ascontiguousarray(sums).reshape(-1, columns) if sums.size else sums.reshape(0, columns),
        _each(multiplier, "multiplier", columns),
        _each(shift, "shift", columns),
        zero_point,
        qmin=low,
        qmax=high,
        rounding=rounding,
        dtype_name=dtype,
        out=out.reshape(-1, columns) if sums.size else out.reshape(0, columns),
        num_threads=num_threads,
    )
    return out


def _each(values: Any, name: str, columns: int) -> Array:
    """One integer, or one for each column, as int32 for each column."""
    given = np.asarray(values)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {given.dtype}; wanted integers")
    if given.shape not in ((), (1,), (columns,)):
        raise ValueError(f"{name} has shape {given.shape}; wanted one, or {columns}")
    if given.size and not (given.min() >= -(1 << 31) and given.max() < 1 << 31):
        raise ValueError(f"{name} has values beyond int32")
    return np.ascontiguousarray(np.broadcast_to(given.astype(np.int32), columns))
