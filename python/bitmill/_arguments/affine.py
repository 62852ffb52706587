# SPDX-License-Identifier: MIT
"""Affine quantization of groups and columns, and its ranges."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from bitmill import _check
from bitmill._arguments.shared import (
    check_code_range,
    check_rule,
    codes_for,
    group_params,
    ranges,
    row_importance,
    stored_codes,
)
from bitmill._dtypes import STORAGES, Array, dtype
from bitmill._results import Params
from bitmill._sizes import (
    group_count,
    zero_point_dtype,
)


def affine_params(
    lo: Any, hi: Any, qmin: Any, qmax: Any, rule: Any, scales: Any
) -> tuple[Array, Array]:
    """lo, hi."""
    lo, hi = _check.matrix(lo, "lo", ("float32",)), _check.matrix(hi, "hi", ("float32",))
    _check.same_shape(lo, hi, "lo and hi")
    check_rule(rule, qmin, qmax)
    _check.choice(scales, "scales", STORAGES)
    return lo, hi


def affine_quantize(
    x: Any, qmin: Any, qmax: Any, rule: Any, scales: Any, group_size: Any, bits: Any, out: Any
) -> tuple[Array, int | None, Array]:
    """x, group size, out."""
    x = _check.matrix(x, "x")
    check_rule(rule, qmin, qmax)
    _check.choice(scales, "scales", STORAGES)
    return x, _check.group_size(group_size), codes_for(x, qmin, qmax, bits, out, ())


def affine_encode(
    x: Any,
    params: tuple[Any, Any, Any],
    qmin: Any,
    qmax: Any,
    group_size: Any,
    bits: Any,
    out: Any,
) -> tuple[Array, Params, int | None, Array]:
    """x, scale with zero_point and offset, group size, out."""
    x, given, size = affine_error(x, params, qmin, qmax, group_size)
    return x, given, size, codes_for(x, qmin, qmax, bits, out, given)


def affine_error(
    x: Any, params: tuple[Any, Any, Any], qmin: Any, qmax: Any, group_size: Any
) -> tuple[Array, Params, int | None]:
    """x, scale with zero_point and offset, group size."""
    x, size = ranges(x, group_size)
    check_code_range(qmin, qmax)
    shape = (x.shape[0], group_count(x.shape[1], size))
    return x, group_params(params, shape, zero_point_dtype(qmax)), size


def affine_decode(
    codes: Any,
    params: tuple[Any, Any, Any],
    group_size: Any,
    words: tuple[Any, Any, Any],
    dtype_name: Any,
    out: Any,
) -> tuple[Array, Params, int | None, int, Array]:
    """codes or words, parameters, group size, row length, out; `words` is bits, length, signed."""
    codes, length = stored_codes(codes, *words)
    size = _check.group_size(group_size)
    width = np.dtype(np.uint16) if codes.dtype.itemsize == 2 else np.dtype(np.uint8)
    given = group_params(params, (codes.shape[0], group_count(length, size)), width)
    to = dtype(_check.float_dtype(dtype_name, "dtype_name"))
    out = _check.output(out, (codes.shape[0], length), to, codes, *given)
    return codes, given, size, length, out


def column_encode(
    x: Any, params: tuple[Any, Any, Any], qmin: Any, qmax: Any, out: Any
) -> tuple[Array, Params, Array]:
    """x, parameters, out."""
    x = _check.matrix(x, "x")
    check_code_range(qmin, qmax)
    given = group_params(params, x.shape[1:], zero_point_dtype(qmax))
    return x, given, codes_for(x, qmin, qmax, None, out, given)


def column_decode(
    codes: Any, params: tuple[Any, Any, Any], dtype_name: Any, out: Any
) -> tuple[Array, Params, Array]:
    """codes, parameters, out."""
    codes, _ = stored_codes(codes, None, None, None)
    width = np.dtype(f"u{codes.dtype.itemsize}")
    given = group_params(params, codes.shape[1:], width)
    to = dtype(_check.float_dtype(dtype_name, "dtype_name"))
    return codes, given, _check.output(out, codes.shape, to, codes, *given)


def mse_params(
    x: Any, importance: Any, qmin: Any, qmax: Any, rule: Any, scales: Any, group_size: Any
) -> tuple[Array, Array | None, int | None]:
    """x, importance [R or 1, C], group size."""
    x, size = ranges(x, group_size)
    check_rule(rule, qmin, qmax)
    _check.choice(scales, "scales", STORAGES)
    if qmax - qmin > 255:
        raise ValueError(f"codes from {qmin} to {qmax}: scales are searched for up to 8 bits")
    return x, row_importance(importance, x), size


def two_level_params(
    x: Any,
    params: tuple[Any, Any, Any],
    importance: Any,
    codes: tuple[Any, Any],
    storage: tuple[Any, Any, Any],
    scales: Any,
    group_size: Any,
) -> tuple[Array, Params, Array | None, int | None]:
    """x, scale with zero_point and offset, importance, group size.

    `codes` is qmin and qmax; `storage` bits, signed, and groups in a super-block.
    """
    x, size = ranges(x, group_size)
    check_code_range(*codes)
    bits, signed, super_groups = storage
    _check.integer(bits, "bits", low=2, high=8)
    _check.flag(signed, "signed")
    _check.integer(super_groups, "super_groups", low=1, high=sys.maxsize)
    _check.choice(scales, "scales", STORAGES)
    shape = (x.shape[0], group_count(x.shape[1], size))
    given = group_params(params, shape, zero_point_dtype(codes[1]))
    for array, name in ((given[0], "scale"), (given[2], "offset")):
        if array is not None:
            _check.contiguous(array, name, ("float32",))
    if not signed and (given[0] < 0).any():
        raise ValueError("scale has values below 0: signed=True")
    return x, given, row_importance(importance, x), size
