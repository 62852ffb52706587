# SPDX-License-Identifier: MIT
"""What a kernel and its twin check before they start, once for both.

Each function takes the arguments of the kernel of its name and gives them back prepared, with `out`
allocated if there was none.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from bitmill import _check
from bitmill._dtypes import FLOATS, STORAGES, Array, dtype, name_of
from bitmill._hadamard import order_of, sign_matrix
from bitmill._minifloats import MINIFLOATS
from bitmill._results import Params
from bitmill._sizes import (
    code_dtype,
    dot_tiles_shape,
    group_count,
    nibble_tiles_shape,
    word_count,
    zero_point_dtype,
)

MAX_BINS = 32767
"""Of a histogram; and its least and greatest exponent, and index of a bin."""
EXPONENTS, INDEXES = (-149, 128), (-(1 << 24), 1 << 24)

MAX_CLUSTERS = 4096
"""Of `kmeans_edges`."""

MOST_W4A8_ANY_ZERO = 33_025
"""The same of a byte and a code of 4 bits less any byte."""

MOST_INT8, MOST_W8A8 = 131_071, 65_793
"""Longest rows whose sums of products, of two int8, and of an int8 and a uint8, stay below 2^31."""

RULES = ("absmax", "full_range", "signed_max", "asymmetric", "offset")
"""How a range becomes a scale, in the order of `csrc/table.hpp`."""

TABLE_RULES = ("absmax", "signed_max")
"""How a range becomes the scale of a table."""


def ranges(x: Any, group_size: Any) -> tuple[Array, int | None]:
    """For absmax and minmax: x, group size."""
    return _check.matrix(x, "x"), _check.group_size(group_size)


def affine_params(
    lo: Any, hi: Any, qmin: Any, qmax: Any, rule: Any, scales: Any
) -> tuple[Array, Array]:
    """lo, hi."""
    lo, hi = _check.matrix(lo, "lo", ("float32",)), _check.matrix(hi, "hi", ("float32",))
    _check.same_shape(lo, hi, "lo and hi")
    _rule(rule, qmin, qmax)
    _check.choice(scales, "scales", STORAGES)
    return lo, hi


def affine_quantize(
    x: Any, qmin: Any, qmax: Any, rule: Any, scales: Any, group_size: Any, bits: Any, out: Any
) -> tuple[Array, int | None, Array]:
    """x, group size, out."""
    x = _check.matrix(x, "x")
    _rule(rule, qmin, qmax)
    _check.choice(scales, "scales", STORAGES)
    return x, _check.group_size(group_size), _codes_for(x, qmin, qmax, bits, out, ())


LONGEST_TOKEN = (2**31 - 1) // 255
"""Rows whose codes of one byte have a sum that fits int32."""


def token_grid(symmetric: bool) -> tuple[int, int]:
    """Least and greatest code of activations."""
    return (-128, 127) if symmetric else (0, 255)


def token_quantize(x: Any, symmetric: Any, out: Any) -> tuple[Array, Array]:
    """x, out."""
    x, grid = _tokens(x), token_grid(_check.flag(symmetric, "symmetric"))
    return x, _codes_for(x, *grid, None, out, ())


def token_encode(
    x: Any, scale: Any, zero_point: Any, out: Any
) -> tuple[Array, Array, Array | None, Array]:
    """x, scale, zero_point, out."""
    x = _tokens(x)
    scale = _check.shaped(scale, "scale", (len(x), 1), ("float32",))
    if zero_point is not None:
        zero_point = _check.shaped(zero_point, "zero_point", (len(x), 1), ("uint8",))
    grid = token_grid(zero_point is None)
    return x, scale, zero_point, _codes_for(x, *grid, None, out, (scale, zero_point))


def _tokens(x: Any) -> Array:
    tokens = _check.matrix(x, "x")
    if tokens.shape[1] > LONGEST_TOKEN:
        raise ValueError(
            f"x has rows of {tokens.shape[1]:,} values; beyond {LONGEST_TOKEN:,} the sum of their "
            "codes may not fit int32"
        )
    return tokens


def mse_params(
    x: Any, importance: Any, qmin: Any, qmax: Any, rule: Any, scales: Any, group_size: Any
) -> tuple[Array, Array | None, int | None]:
    """x, importance [R or 1, C], group size."""
    x, size = ranges(x, group_size)
    _rule(rule, qmin, qmax)
    _check.choice(scales, "scales", STORAGES)
    if qmax - qmin > 255:
        raise ValueError(f"codes from {qmin} to {qmax}: scales are searched for up to 8 bits")
    return x, _importance(importance, x), size


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
    _code_range(*codes)
    bits, signed, super_groups = storage
    _check.integer(bits, "bits", low=2, high=8)
    _check.flag(signed, "signed")
    _check.integer(super_groups, "super_groups", low=1, high=sys.maxsize)
    _check.choice(scales, "scales", STORAGES)
    shape = (x.shape[0], group_count(x.shape[1], size))
    given = _params(params, shape, zero_point_dtype(codes[1]))
    for array, name in ((given[0], "scale"), (given[2], "offset")):
        if array is not None:
            _check.contiguous(array, name, ("float32",))
    if not signed and (given[0] < 0).any():
        raise ValueError("scale has values below 0: signed=True")
    return x, given, _importance(importance, x), size


def _importance(given: Any, x: Array, name: str = "importance") -> Array | None:
    """[R or 1, C], if there is one."""
    if given is None:
        return None
    importance: Array = _check.matrix(np.atleast_2d(given), name, ("float32",))
    if importance.shape not in ((1, x.shape[1]), x.shape):
        raise ValueError(
            f"{name} has the shape {importance.shape}; wanted {x.shape[1:]} or {x.shape}"
        )
    if not ((importance == 0) | (importance >= 2.0**-40) & (importance <= 1)).all():
        raise ValueError(f"{name} is not 0 or from 2^-40 to 1 everywhere: divide it by its maximum")
    return importance


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
    return x, given, size, _codes_for(x, qmin, qmax, bits, out, given)


def affine_error(
    x: Any, params: tuple[Any, Any, Any], qmin: Any, qmax: Any, group_size: Any
) -> tuple[Array, Params, int | None]:
    """x, scale with zero_point and offset, group size."""
    x, size = ranges(x, group_size)
    _code_range(qmin, qmax)
    shape = (x.shape[0], group_count(x.shape[1], size))
    return x, _params(params, shape, zero_point_dtype(qmax)), size


def affine_decode(
    codes: Any,
    params: tuple[Any, Any, Any],
    group_size: Any,
    words: tuple[Any, Any, Any],
    dtype_name: Any,
    out: Any,
) -> tuple[Array, Params, int | None, int, Array]:
    """codes or words, parameters, group size, row length, out; `words` is bits, length, signed."""
    codes, length = _stored(codes, *words)
    size = _check.group_size(group_size)
    width = np.dtype(np.uint16) if codes.dtype.itemsize == 2 else np.dtype(np.uint8)
    given = _params(params, (codes.shape[0], group_count(length, size)), width)
    to = dtype(_check.float_dtype(dtype_name, "dtype_name"))
    out = _check.output(out, (codes.shape[0], length), to, codes, *given)
    return codes, given, size, length, out


def column_encode(
    x: Any, params: tuple[Any, Any, Any], qmin: Any, qmax: Any, out: Any
) -> tuple[Array, Params, Array]:
    """x, parameters, out."""
    x = _check.matrix(x, "x")
    _code_range(qmin, qmax)
    given = _params(params, x.shape[1:], zero_point_dtype(qmax))
    return x, given, _codes_for(x, qmin, qmax, None, out, given)


def column_decode(
    codes: Any, params: tuple[Any, Any, Any], dtype_name: Any, out: Any
) -> tuple[Array, Params, Array]:
    """codes, parameters, out."""
    codes, _ = _stored(codes, None, None, None)
    width = np.dtype(f"u{codes.dtype.itemsize}")
    given = _params(params, codes.shape[1:], width)
    to = dtype(_check.float_dtype(dtype_name, "dtype_name"))
    return codes, given, _check.output(out, codes.shape, to, codes, *given)


def table_quantize(
    x: Any, values: Any, rule: Any, scales: Any, group_size: Any, bits: Any, out: Any
) -> tuple[Array, Array, int | None, Array]:
    """x, values [1, n], group size, out."""
    x, size = ranges(x, group_size)
    values = _tables(values, x.shape[0], None)
    _check.choice(rule, "rule", TABLE_RULES)
    _check.choice(scales, "scales", STORAGES)
    if not values.any():
        raise ValueError("values are all 0: no scale makes anything of them")
    return x, values, size, _table_codes(x, values, bits, out)


def table_encode(
    x: Any,
    values: Any,
    scale: Any,
    group_size: Any,
    rows_per_table: Any,
    bits: Any,
    out: Any,
) -> tuple[Array, Array, Array | None, int | None, Array]:
    """x, values [T, n], scale, group size, out."""
    x, size = ranges(x, group_size)
    values = _tables(values, x.shape[0], rows_per_table)
    if scale is not None:
        shape = (x.shape[0], group_count(x.shape[1], size))
        scale = _check.shaped(scale, "scale", shape, STORAGES)
    return x, values, scale, size, _table_codes(x, values, bits, out, values, scale)


def table_decode(
    codes: Any,
    values: Any,
    scale: Any,
    group_size: Any,
    rows_per_table: Any,
    words: tuple[Any, Any],
    dtype_name: Any,
    out: Any,
) -> tuple[Array, Array, Array | None, int | None, int, Array]:
    """codes or words, values [T, n], scale, group size, row length, out.

    `words` is bits and length.
    """
    bits, length = words
    if bits is None and isinstance(codes, np.ndarray):
        _check.contiguous(codes, "codes", ("uint8",))
    codes, length = _stored(codes, bits, length, None if bits is None else False)
    size, rows = _check.group_size(group_size), codes.shape[0]
    values = _tables(values, rows, rows_per_table)
    if scale is not None:
        scale = _check.shaped(scale, "scale", (rows, group_count(length, size)), STORAGES)
    to = dtype(_check.float_dtype(dtype_name, "dtype_name"))
    out = _check.output(out, (rows, length), to, codes, values, scale)
    return codes, values, scale, size, length, out


def table_sums(
    x: Any, values: Any, scales: Any, importance: Any, group_size: Any
) -> tuple[Array, Array, Array, Array | None, int | None]:
    """x, values [1, n], scales, importance, group size."""
    x, size = ranges(x, group_size)
    values = _tables(values, x.shape[0], None)
    shape = (x.shape[0], group_count(x.shape[1], size))
    count = scales.shape[-1] if isinstance(scales, np.ndarray) and scales.ndim == 3 else 1
    scales = _check.shaped(scales, "scales", (*shape, count), ("float32",))
    return x, values, scales, _importance(importance, x), size


def _tables(values: Any, rows: int, rows_per_table: Any) -> Array:
    """[T, n]: as many tables of 2 to 256 finite values as those rows take."""
    if isinstance(values, np.ndarray) and values.ndim == 1:
        values = values.reshape(1, -1)
    tables = _check.matrix(values, "values", ("float32",))
    if not 2 <= tables.shape[1] <= 256:
        raise ValueError(f"values has {tables.shape[1]} entries in a table; wanted 2 to 256")
    if not np.isfinite(tables).all():
        raise ValueError("values are not all finite")
    wanted = 1
    if rows_per_table is not None:
        per = _check.integer(rows_per_table, "rows_per_table", low=1, high=sys.maxsize)
        wanted = -(-rows // per)
    if len(tables) != wanted:
        raise ValueError(
            f"values has {len(tables)} tables; {rows} rows take {wanted} at "
            f"rows_per_table={rows_per_table}"
        )
    return tables


def _table_codes(x: Array, values: Array, bits: Any, out: Any, *inputs: Array | None) -> Array:
    """`out`, or a new array, for the codes of x, or for the words they are packed into."""
    if bits is None:
        return _check.output(out, x.shape, np.dtype(np.uint8), x, *inputs)
    bits = _check.integer(bits, "bits", low=1, high=8)
    if values.shape[1] > 1 << bits:
        raise ValueError(f"the codes of {values.shape[1]} values do not fit {bits} bits")
    shape = (x.shape[0], word_count(x.shape[1], bits))
    return _check.output(out, shape, np.dtype(np.uint32), x, *inputs)


def pack(codes: Any, bits: Any, out: Any) -> tuple[Array, int, Array]:
    """codes, bits, out."""
    codes = _check.matrix(codes, "codes", ("int8", "uint8"))
    bits = _check.integer(bits, "bits", low=1, high=8)
    shape = (codes.shape[0], word_count(codes.shape[1], bits))
    return codes, bits, _check.output(out, shape, np.dtype(np.uint32), codes)


def unpack(
    packed: Any, bits: Any, length: Any, signed: Any, out: Any
) -> tuple[Array, int, int, bool, Array]:
    """packed, bits, length, signed, out."""
    packed = _check.matrix(packed, "packed", ("uint32",))
    bits = _check.integer(bits, "bits", low=1, high=8)
    length = packed_length(packed, bits, length)
    signed = _check.flag(signed, "signed")
    of = np.dtype(np.int8 if signed else np.uint8)
    return packed, bits, length, signed, _check.output(out, (packed.shape[0], length), of, packed)


def float_encode(
    x: Any, scale: Any, format: Any, group_size: Any, packed: Any, out: Any
) -> tuple[Array, int | None, Array]:
    """x, group size, out."""
    x, size = ranges(x, group_size)
    _check.choice(format, "format", tuple(MINIFLOATS))
    shape = (x.shape[0], group_count(x.shape[1], size))
    _check.shaped(scale, "scale", shape, ("float32",))
    bits = MINIFLOATS[format].bits
    if not _check.flag(packed, "packed"):
        return x, size, _check.output(out, x.shape, np.dtype(np.uint8), x, scale)
    if bits == 8:
        raise ValueError(f"packed=True goes with formats below 8 bits, not with {format}")
    words = (x.shape[0], word_count(x.shape[1], bits))
    return x, size, _check.output(out, words, np.dtype(np.uint32), x, scale)


def float_decode(
    codes: Any,
    scale: Any,
    format: Any,
    group_size: Any,
    length: Any,
    dtype_name: Any,
    out: Any,
) -> tuple[Array, int | None, int, Array]:
    """codes or words, group size, row length, out."""
    bits = MINIFLOATS[_check.choice(format, "format", tuple(MINIFLOATS))].bits
    size = _check.group_size(group_size)
    if length is None:
        codes = _check.matrix(codes, "codes", ("uint8",))
        length = codes.shape[1]
    elif bits == 8:
        raise ValueError(f"length goes with packed words, which {format} has none of")
    else:
        codes = _check.matrix(codes, "codes", ("uint32",))
        length = packed_length(codes, bits, length)
    _check.shaped(scale, "scale", (codes.shape[0], group_count(length, size)), ("float32",))
    to = dtype(_check.float_dtype(dtype_name, "dtype_name"))
    return codes, size, length, _check.output(out, (codes.shape[0], length), to, codes, scale)


def hadamard(x: Any, sign: Any, out: Any) -> tuple[Array, Array, Array, Array]:
    """x, what its columns are multiplied by, float32 [n], the matrix of the order of n, out."""
    x = _check.matrix(x, "x")
    length = x.shape[1]
    order = order_of(length)
    if order is None:
        raise ValueError(
            f"x has rows of {length:,}; wanted a power of two, or 12 or 20 times one: split rows"
        )
    factors = np.full(length, 1 / np.sqrt(float(length)), np.float32)
    if sign is not None:
        sign = _check.shaped(sign, "sign", (length,), ("int8",))
        if not (np.abs(sign) == 1).all():
            raise ValueError("sign has values other than -1 and 1")
        factors *= sign
    out = _check.output(out, x.shape, np.dtype(np.float32), x, sign)
    return x, factors, sign_matrix(order), out


def convert(x: Any, allowed: tuple[str, ...], dtype_name: Any, out: Any) -> tuple[Array, Array]:
    """For to_float32 and from_float32: x of any shape, out of dtype `dtype_name`."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"x is a {type(x).__name__}; kernels take a NumPy array")
    x = _check.contiguous(x, "x", allowed)
    to = dtype(_check.float_dtype(dtype_name, "dtype_name"))
    return x, _check.output(out, x.shape, to, x)


def error_sums(x: Any, y: Any) -> tuple[Array, Array]:
    """x, y."""
    x, y = _check.matrix(x, "x", FLOATS), _check.matrix(y, "y", ("float32",))
    _check.same_shape(x, y, "x and y")
    return x, y


def weighed_error(x: Any, y: Any, importance: Any) -> tuple[Array, Array, Array]:
    """x, y, importance [R or 1, C]."""
    x, y = error_sums(x, y)
    if importance is None:
        raise TypeError("importance is None; wanted a NumPy array, or error_sums without it")
    weights = _importance(importance, x)
    assert weights is not None
    return x, y, weights


def histogram(x: Any, exponent: Any, first: Any, bins: Any) -> tuple[Array, int]:
    """x, bins."""
    x = _check.matrix(x, "x")
    for given, name, (low, high) in ((exponent, "exponent", EXPONENTS), (first, "first", INDEXES)):
        _check.shaped(given, name, x.shape[:1], ("int32",))
        if given.size and not (low <= given.min() and given.max() <= high):
            raise ValueError(f"{name} has values outside {low}..{high}")
    return x, _check.integer(bins, "bins", low=1, high=MAX_BINS)


def order_statistics(x: Any, rank: Any, magnitude: Any) -> tuple[Array, int, bool]:
    """x, rank, magnitude."""
    x = _check.matrix(x, "x")
    if x.shape[1] == 0:
        raise ValueError(f"x has shape {x.shape}: rows without values have no ranks")
    rank = _check.integer(rank, "rank", low=0, high=x.shape[1] - 1)
    return x, rank, _check.flag(magnitude, "magnitude")


def pinned_values(k: int) -> int:
    """How many values may have k clusters of which one is that of 0: they take memory for each.

    >>> pinned_values(16), pinned_values(4096)
    (65535, 16384)
    """
    return min(65535, (1 << 26) // k)


def kmeans_edges(
    values: Any, weights: Any, k: Any, pin_zero: Any
) -> tuple[Array, Array | None, int, bool]:
    """values, weights, k, pin_zero."""
    values = _check.matrix(values, "values", ("float64",))
    if values.shape[1] == 0:
        raise ValueError(f"values has shape {values.shape}: rows without values have no clusters")
    if not (np.abs(values) <= 2.0**128).all() or (values[:, 1:] < values[:, :-1]).any():
        raise ValueError(
            "values are not finite float32 in ascending order: np.sort(values, axis=1)"
        )
    if weights is not None:
        _check.shaped(weights, "weights", values.shape, ("float64",))
        if not ((weights >= 0) & (weights <= 2.0**64)).all():
            raise ValueError("weights are not all from 0 to 2^64: divide them by their maximum")
    k = _check.integer(k, "k", low=1, high=MAX_CLUSTERS)
    pin_zero, length = _check.flag(pin_zero, "pin_zero"), values.shape[1]
    if pin_zero and length > pinned_values(k):
        raise ValueError(f"pin_zero with k={k} takes at most {pinned_values(k)} values")
    return values, weights, k, pin_zero


def value_counts(x: Any, weights: Any) -> tuple[Array, Array | None]:
    """x, weights [R or 1, C]."""
    x = _check.matrix(x, "x", ("float16", "bfloat16"))
    return x, _importance(weights, x, "weights")


def distinct_values(x: Any, weights: Any) -> tuple[Array, Array | None]:
    """x, weights [R or 1, C]."""
    x = _check.matrix(x, "x", ("float32",))
    return x, _importance(weights, x, "weights")


def bucket_sums(
    x: Any, slots: Any, shift: Any, weights: Any
) -> tuple[Array, int, int, Array | None]:
    """x, shift, how many buckets there are, weights [R or 1, C]."""
    x = _check.matrix(x, "x", ("float32",))
    shift = _check.integer(shift, "shift", low=0, high=16)
    _check.shaped(slots, "slots", (65536,), ("int32",))
    return x, shift, max(0, int(slots.max()) + (65536 >> shift)), _importance(weights, x, "weights")


def assign_codes(
    x: Any, thresholds: Any, rows_per_table: Any, bits: Any, out: Any
) -> tuple[Array, Array, int, Array]:
    """x, thresholds, rows per table, out."""
    x = _check.matrix(x, "x")
    thresholds = _check.matrix(thresholds, "thresholds", ("float32",))
    per_table = max(1, x.shape[0])
    if rows_per_table is not None:
        per_table = _check.integer(rows_per_table, "rows_per_table", low=1, high=sys.maxsize)
    tables = group_count(x.shape[0], per_table)
    if thresholds.shape[0] != tables or thresholds.shape[1] > 65535:
        raise ValueError(
            f"thresholds has shape {thresholds.shape}; wanted {tables} rows of at most 65535"
        )
    if np.isnan(thresholds).any() or (thresholds[:, 1:] < thresholds[:, :-1]).any():
        raise ValueError("thresholds are not in ascending order: np.sort(thresholds, axis=1)")
    return x, thresholds, per_table, _codes_for(x, 0, thresholds.shape[1], bits, out, (thresholds,))


def packed_length(packed: Array, bits: int, length: object) -> int:
    """`length`, if rows of that many codes take just the words that `packed` has."""
    count = _check.integer(length, "length", low=0, high=sys.maxsize)
    words = word_count(count, bits)
    if packed.shape[-1] != words:
        raise ValueError(
            f"packed has {packed.shape[-1]} words per row; length={count} at bits={bits} "
            f"takes {words}"
        )
    return count


def code_error(codes: Array, bits: int) -> ValueError:
    """The error for codes of which some do not fit fields of `bits`."""
    low, high = _field_range(bits, signed=codes.dtype == np.int8)
    flat = codes.reshape(-1)
    bad = np.flatnonzero((flat < low) | (flat > high))
    return ValueError(
        f"codes has {bad.size} value{'s' if bad.size != 1 else ''} outside {low}..{high}, the "
        f"range of {bits} bits; the first, codes.flat[{bad[0]}], is {flat[bad[0]]}: clip codes or "
        "use more bits"
    )


def _rule(rule: Any, qmin: Any, qmax: Any) -> None:
    _check.choice(rule, "rule", RULES)
    _code_range(qmin, qmax)
    if (qmin == 0) != (rule in ("asymmetric", "offset")):
        raise ValueError(
            f"rule={rule!r} does not go with codes {qmin}..{qmax}: 'asymmetric' and 'offset' take "
            "codes from 0, the others codes around 0"
        )


def matmul_int8(x: Any, w: Any, out: Any) -> tuple[Array, Array, Array]:
    """x, w, out."""
    x, w = _check.matrix(x, "x", ("int8",)), _check.matrix(w, "w", ("int8",))
    if x.shape[1] != w.shape[1]:
        raise ValueError(f"x and w have shapes {x.shape} and {w.shape}; wanted rows of one length")
    _summable(x, MOST_INT8)
    return x, w, _check.output(out, (len(x), len(w)), np.dtype(np.int32), x, w)


def matmul_w8a8(
    x: Any,
    x_scale: Any,
    x_zero_point: Any,
    w: Any,
    w_scale: Any,
    w_zero_point: Any,
    w_sum: Any,
    bias: Any,
    dtype_name: Any,
    out: Any,
) -> Array:
    """out."""
    _check.matrix(x, "x", ("int8", "uint8"))
    _summable(x, MOST_W8A8)
    _check.choice(dtype_name, "dtype_name", STORAGES)
    tokens, rows = (len(x), 1), (len(_check.matrix(w_scale, "w_scale", ("float32",))), 1)
    _check.shaped(x_scale, "x_scale", tokens, ("float32",))
    if x_zero_point is not None:
        _check.shaped(x_zero_point, "x_zero_point", tokens, (name_of(x.dtype),))
    _check.shaped(w, "w", dot_tiles_shape(rows[0], x.shape[1]), ("uint8",))
    _check.shaped(w_scale, "w_scale", rows, ("float32",))
    _check.shaped(w_zero_point, "w_zero_point", rows, ("uint8",))
    _check.shaped(w_sum, "w_sum", rows, ("int32",))
    if bias is not None:
        _check.shaped(bias, "bias", rows[:1], ("float32",))
    inputs = x, x_scale, x_zero_point, w, w_scale, w_zero_point, w_sum, bias
    return _check.output(out, (len(x), rows[0]), dtype(dtype_name), *inputs)


ROUNDINGS = ("single", "double")
"""How `requantize` rounds."""

LEAST_SHIFT, MOST_SHIFT = -31, 30
"""Of a factor multiplier·2^(shift − 31)."""


def requantize(
    acc: Any,
    multiplier: Any,
    shift: Any,
    zero_point: Any,
    qmin: Any,
    qmax: Any,
    rounding: Any,
    dtype_name: Any,
    out: Any,
) -> Array:
    """out."""
    columns = _check.matrix(acc, "acc", ("int32",)).shape[1:]
    _check.shaped(multiplier, "multiplier", columns, ("int32",))
    _check.shaped(shift, "shift", columns, ("int32",))
    if ((multiplier < 1 << 30) & (multiplier != 0)).any():
        raise ValueError(
            "multiplier has values other than 0 and 2^30 to 2^31 - 1: "
            "take those of bm.integer.quantize_multiplier"
        )
    if ((shift < LEAST_SHIFT) | (shift > MOST_SHIFT)).any():
        raise ValueError(f"shift has values outside {LEAST_SHIFT}..{MOST_SHIFT}")
    codes_between(zero_point, qmin, qmax, dtype_name)
    _check.choice(rounding, "rounding", ROUNDINGS)
    return _check.output(out, acc.shape, np.dtype(dtype_name), acc, multiplier, shift)


def codes_between(zero_point: Any, qmin: Any, qmax: Any, dtype_name: Any) -> None:
    """Raise unless these are codes of int8 or uint8."""
    limits = np.iinfo(_check.choice(dtype_name, "dtype_name", ("int8", "uint8")))
    _check.integer(zero_point, "zero_point", low=int(limits.min), high=int(limits.max))
    _check.integer(qmin, "qmin", low=int(limits.min), high=int(limits.max))
    _check.integer(qmax, "qmax", low=qmin, high=int(limits.max))


def matmul_w4a8(
    x: Any,
    x_scale: Any,
    x_zero_point: Any,
    w: Any,
    w_scale: Any,
    w_zero_point: Any,
    values: Any,
    bias: Any,
    rows: Any,
    group_size: Any,
    dtype_name: Any,
    out: Any,
) -> Array:
    """out."""
    _check.matrix(x, "x", ("int8", "uint8"))
    _summable(x, MOST_W8A8)
    _check.shaped(x_scale, "x_scale", (len(x), 1), ("float32",))
    if x_zero_point is not None:
        _check.shaped(x_zero_point, "x_zero_point", (len(x), 1), (name_of(x.dtype),))
    _nibbles(x, w, w_scale, w_zero_point, values, "int8", bias, rows, group_size)
    if w_zero_point is not None and x.shape[1] > MOST_W4A8_ANY_ZERO and (w_zero_point > 15).any():
        raise ValueError(
            f"w_zero_point has values above 15; with rows beyond {MOST_W4A8_ANY_ZERO:,} a sum of "
            "products may not fit int32"
        )
    inputs = x, x_scale, x_zero_point, w, w_scale, w_zero_point, values, bias
    _check.choice(dtype_name, "dtype_name", STORAGES)
    return _check.output(out, (len(x), rows), dtype(dtype_name), *inputs)


def matmul_w4a16(
    x: Any,
    w: Any,
    w_scale: Any,
    w_zero_point: Any,
    values: Any,
    bias: Any,
    rows: Any,
    group_size: Any,
    dtype_name: Any,
    out: Any,
) -> Array:
    """out."""
    _check.matrix(x, "x", ("float32",))
    _nibbles(x, w, w_scale, w_zero_point, values, "float32", bias, rows, group_size)
    inputs = x, w, w_scale, w_zero_point, values, bias
    _check.choice(dtype_name, "dtype_name", STORAGES)
    return _check.output(out, (len(x), rows), dtype(dtype_name), *inputs)


def _nibbles(
    x: Array,
    w: Any,
    w_scale: Any,
    w_zero_point: Any,
    values: Any,
    value_dtype: str,
    bias: Any,
    rows: Any,
    group_size: Any,
) -> None:
    """Raise unless these are weights of 4 bits, [rows, K], for rows of x."""
    count, length = _check.integer(rows, "rows", low=0, high=sys.maxsize), x.shape[1]
    if group_size is not None:
        _check.group_size(group_size)
        if group_size % 8:
            raise ValueError(
                f"group_size={group_size} is no multiple of 8 (or None for whole rows)"
            )
    _check.shaped(w, "w", nibble_tiles_shape(count, length), ("uint8",))
    params = -(-count // 16), group_count(length, group_size or max(length, 1)), 16
    _check.shaped(w_scale, "w_scale", params, STORAGES)
    if w_zero_point is not None:
        _check.shaped(w_zero_point, "w_zero_point", params, ("uint8",))
    if values is not None:
        _check.shaped(values, "values", (16,), (value_dtype,))
        if not np.isfinite(values).all():
            raise ValueError("values has entries that are not finite")
        if w_zero_point is not None:
            raise ValueError("w_zero_point goes with codes that stand for themselves, not values")
    if bias is not None:
        _check.shaped(bias, "bias", (count,), ("float32",))


def _summable(x: Array, most: int) -> None:
    """Raise if sums over the rows of x may not fit 32 bits."""
    if x.shape[1] > most:
        raise ValueError(
            f"x has rows of {x.shape[1]:,}; beyond {most:,} a sum of products may not fit int32: "
            "multiply parts of the rows, and add"
        )


def _code_range(qmin: Any, qmax: Any) -> None:
    """Raise unless qmin..qmax is 0..2^b−1, or lies around 0, and is at most 16 bits wide."""
    _check.integer(qmin, "qmin", low=-32768, high=0)
    _check.integer(qmax, "qmax", low=1, high=65535)
    if qmax - qmin > 65535:
        raise ValueError(f"codes {qmin}..{qmax} are more than 65536; wanted at most 16 bits")


def _field_range(bits: int, *, signed: bool) -> tuple[int, int]:
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def _codes_for(
    x: Array, qmin: int, qmax: int, bits: Any, out: Any, params: tuple[Array | None, ...]
) -> Array:
    """`out`, or a new array, for the codes of x, or for the words they are packed into."""
    if bits is None:
        return _check.output(out, x.shape, code_dtype(qmin, qmax), x, *params)
    bits = _check.integer(bits, "bits", low=1, high=8)
    low, high = _field_range(bits, signed=qmin < 0)
    if qmin < low or qmax > high:
        raise ValueError(f"codes {qmin}..{qmax} do not fit {bits} bits ({low}..{high})")
    shape = (x.shape[0], word_count(x.shape[1], bits))
    return _check.output(out, shape, np.dtype(np.uint32), x, *params)


def _params(
    params: tuple[Any, Any, Any], shape: tuple[int, ...], zero_points: np.dtype[Any]
) -> Params:
    """Parameters, all of this shape; at most one of the last two."""
    scale, zero_point, offset = params
    if zero_point is not None and offset is not None:
        raise ValueError("zero_point and offset exclude each other; pass one")
    scale = _check.shaped(scale, "scale", shape, STORAGES)
    if zero_point is not None:
        zero_point = _check.shaped(zero_point, "zero_point", shape, (zero_points.name,))
    if offset is not None:
        offset = _check.shaped(offset, "offset", shape, (name_of(scale.dtype),))
    return scale, zero_point, offset


def _stored(codes: Any, bits: Any, length: Any, signed: Any) -> tuple[Array, int]:
    """Codes [R, C], or words with their `bits`, `length` and `signed`; and the row length."""
    if bits is None:
        if length is not None or signed is not None:
            raise ValueError("length and signed go with bits (packed words); codes carry both")
        codes = _check.matrix(codes, "codes", ("int8", "uint8", "int16", "uint16"))
        return codes, codes.shape[1]
    bits = _check.integer(bits, "bits", low=1, high=8)
    if length is None or signed is None:
        raise ValueError("packed words (bits=) need length and signed")
    _check.flag(signed, "signed")
    codes = _check.matrix(codes, "codes", ("uint32",))
    return codes, packed_length(codes, bits, length)
