# SPDX-License-Identifier: MIT
"""What quantization lost: error measures between values and their reconstruction."""

from __future__ import annotations

import math
from typing import Any, overload

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array
from bitmill._results import ErrorSums
from bitmill._threads import resolve
from bitmill.channels import Channel, channel, index_of, matrix_of, shape_of
from bitmill.code_usage import code_usage
from bitmill.grid import Axis, rows_of
from bitmill.measures import ChannelMetrics, ErrorTotal, Metrics, numbers, of_channels, ratio_db
from bitmill.output_error import OutputSums, output_sums
from bitmill.qtensor import QTensor
from bitmill.quantized_facts import Facts, channel_facts, facts

__all__ = ["ChannelMetrics", "ErrorTotal", "Metrics", "count_nonfinite", "metrics"]

_ROWS = 1 << 16  # rows whose sums are held at a time
_BLOCK = 1 << 18  # values that are looked at one by one at a time


@overload
def metrics(
    x: Any,
    q: Any,
    *,
    axis: None = None,
    activations: Any = None,
    hessian: Any = None,
    num_threads: int | None = None,
) -> Metrics: ...


@overload
def metrics(
    x: Any,
    q: Any,
    *,
    axis: int | str,
    activations: Any = None,
    hessian: Any = None,
    num_threads: int | None = None,
) -> ChannelMetrics: ...


def metrics(
    x: Any,
    q: Any,
    *,
    axis: Axis = None,
    activations: Any = None,
    hessian: Any = None,
    num_threads: int | None = None,
) -> Metrics | ChannelMetrics:
    """Compare `x` with `q`, a QTensor or an array of reconstructed values.

    Values are compared as float32 (float64 is rounded to it) and summed in double in a fixed order,
    so the result depends neither on threads nor on the instruction set; the measures pass through
    sqrt, log10 and log2 at the end.

    Parameters
    ----------
    x, q
        The values, and what stands for them. Codes, shapes and scales are told of a QTensor alone.
    axis
        None: of the tensor, `Metrics`. "row": of everything along the last axis, `ChannelMetrics`
        of shape `x.shape[:-1]`, or (1,) for one row. An int: of each channel of that axis, as if
        its values were one row, `ChannelMetrics` of shape `(x.shape[axis],)`. Scales and clipped
        values are told of each channel where the scheme can be cut between them.
    activations
        Inputs [..., C] of the layer whose weights `x` [..., C] are: measures the error of its
        outputs, Σ‖ΔW·a‖² over them. Not by channels of the last axis. It goes through the BLAS of
        NumPy, in float64.
    hessian
        Instead of activations, H = Σaaᵀ [C, C], whatever its scale: tr(ΔW·H·ΔWᵀ). Only its
        symmetric part matters.

    Raises TypeError for integer arrays (codes are not values: dequantize them), ValueError for
    different shapes, for NaN or infinity, for both activations and a Hessian, for a Hessian under
    which a row of `x` or of its error has a negative square, and for outputs whose squares overflow
    float64.

    >>> import bitmill as bm, numpy as np
    >>> x = np.array([0.4, -1.0, 7.0], np.float32)
    >>> m = bm.metrics(x, bm.quantize(x, bm.Affine(4)))
    >>> round(m.sqnr_db, 2), round(m.max_abs, 2), m.max_at, m.levels_used
    (24.96, 0.4, (0,), 3)
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    >>> bm.metrics(x, x + np.float32([[0, 1], [2, 2]]), axis="row").max_at.tolist()
    [[0, 1], [1, 0]]
    """
    num_threads = resolve(num_threads)
    x = _check.array(x)
    given = q.dequantize(num_threads=num_threads) if isinstance(q, QTensor) else _values(q)
    is_float32 = given.dtype == np.float32  # a copy would take longer than the sums
    y = given if is_float32 else kernels.to_float32(given, num_threads=num_threads)
    if y.shape != x.shape:
        raise ValueError(f"x has shape {x.shape} and q has shape {y.shape}; wanted equal ones")
    along = channel(axis, x.ndim)
    outputs = _outputs(x, y, along, activations, hessian)
    quantized = q if isinstance(q, QTensor) else None
    if along is not None:
        rows, values = matrix_of(x, along), matrix_of(y, along)
        sums = kernels.error_sums(rows, values, num_threads=num_threads)
        _check_finite(float(sums.xx.sum()), float(sums.yy.sum()), x, given)
        return _of_channels(x, along, sums, quantized, outputs)
    total, most = _total(rows_of(x), rows_of(y), num_threads)
    _check_finite(total.xx, total.yy, x, given)
    more = {} if quantized is None else _of_codes(x, quantized, num_threads)
    if total.max_abs:
        more["max_at"] = tuple(map(int, np.unravel_index(most, x.shape)))
    if outputs is not None:
        signal, noise = (float(rows.sum()) for rows in outputs)
        more |= {"output_error": noise, "output_sqnr_db": ratio_db(signal, noise)}
    return total.metrics(x.size, **more)


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


def _check_finite(xx: float, yy: float, x: Array, given: Array) -> None:
    """Raise unless these sums of squares, of `x` and of what was given for it, are finite."""
    if not math.isfinite(xx):
        raise _check.nonfinite_error(x, "x")
    if not math.isfinite(yy):
        raise _check.nonfinite_error(given, "q")


def _outputs(
    x: Array, y: Array, along: Channel | None, activations: Any, hessian: Any
) -> OutputSums | None:
    """Signal and noise in the outputs: of each row, or of each channel; None if not asked for."""
    if activations is None and hessian is None:
        return None
    if activations is not None and hessian is not None:
        raise ValueError("activations and hessian exclude each other: H = Σaaᵀ of the activations")
    if along == x.ndim - 1:
        raise ValueError(
            f"axis={along} is that of the inputs: outputs are sums along it; leave out activations "
            "or hessian, or take another axis"
        )
    rows = output_sums(rows_of(x), rows_of(y), activations=activations, hessian=hessian)
    if not isinstance(along, int):
        return rows
    others = tuple(k for k in range(x.ndim - 1) if k != along)
    return OutputSums._make(sums.reshape(x.shape[:-1]).sum(axis=others) for sums in rows)


# Of a tensor


def _total(x: Array, y: Array, num_threads: int | None) -> tuple[ErrorTotal, int]:
    """Of all rows, and the first place, laid flat, of the largest error."""
    total, most = ErrorTotal(), 0
    for start in range(0, x.shape[0], _ROWS):
        part = slice(start, start + _ROWS)
        sums = kernels.error_sums(x[part], y[part], num_threads=num_threads)
        if sums.max_abs.max() > total.max_abs:
            row = int(sums.max_abs.argmax())
            most = (start + row) * x.shape[1] + int(sums.max_at[row])
        total = total.plus(sums)
    return total, most


def _of_codes(x: Array, q: QTensor, num_threads: int | None) -> dict[str, Any]:
    levels, entropy = code_usage(q.codes.reshape(1, -1))
    found = facts(x, q, num_threads=num_threads)._asdict()
    return {**found, "levels_used": int(levels[0]), "code_entropy": float(entropy[0])}


# Of channels


def _of_channels(
    x: Array,
    along: Channel,
    sums: ErrorSums,
    q: QTensor | None,
    outputs: OutputSums | None,
) -> ChannelMetrics:
    length = x.size // max(1, len(sums.xx))
    found = of_channels(sums, length)
    at = index_of(np.arange(len(sums.xx)) * length + sums.max_at, x.shape, along)
    found["max_at"] = np.where(sums.max_abs[:, np.newaxis] > 0, at, -1)
    if q is not None:
        found["levels_used"], found["code_entropy"] = code_usage(matrix_of(q.codes, along))
        told = channel_facts(x, q, along)
        found |= {} if told is None else _columns(told)
    if outputs is not None:
        signal, noise = outputs
        decibels = map(ratio_db, signal.tolist(), noise.tolist())
        found |= {"output_error": noise, "output_sqnr_db": numbers(decibels)}
    shape = shape_of(x.shape, along)
    return ChannelMetrics(**{n: a.reshape(shape + a.shape[1:]) for n, a in found.items()})


def _columns(told: list[Facts]) -> dict[str, Array]:
    types = (np.float64, np.int64, np.int64, np.float64)
    return {
        name: np.array([getattr(one, name) for one in told], of)
        for name, of in zip(Facts._fields, types, strict=True)
    }
