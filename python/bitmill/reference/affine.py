# SPDX-License-Identifier: MIT
"""Affine quantization of groups along rows: x ≈ (code − zero_point)·scale, or code·scale + offset.

The numbers follow the rules N1–N5 and N11 that `bitmill.Affine` documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array, dtype
from bitmill._results import AffineCodes, AffineParams, Params, each_param
from bitmill._sizes import code_dtype, zero_point_dtype
from bitmill.reference.convert import from_float32, to_float32
from bitmill.reference.pack import pack, unpack
from bitmill.reference.ranges import absmax, minmax

LIMIT = np.float32(1 << 24)  # quotients are limited to ±LIMIT, where every float32 is an integer


def affine_params(
    lo: Array, hi: Array, *, qmin: int, qmax: int, rule: str, scales: str = "float32"
) -> AffineParams:
    """Scale, and zero-point or offset, for groups whose values span lo … hi (float32, finite).

    Each rule is one float32 division, then rounded to the dtype `scales`:

    ==============  ===================================================================
    "absmax"        max(−lo, hi) / qmax
    "full_range"    max(−lo, hi) / ((qmax − qmin) / 2)
    "signed_max"    v / qmin, v = hi if hi > −lo else lo: the scale may be negative
    "asymmetric"    (hi − lo) / (qmax − qmin) with lo = min(lo, 0), hi = max(hi, 0), and
                    zero_point = clamp(rint(−lo / scale), 0, qmax), scale as stored
    "offset"        (hi − lo) / (qmax − qmin), and offset = lo rounded to `scales`
    ==============  ===================================================================

    A span of zero gives scale 1. A scale that underflows becomes the smallest positive value of
    its dtype, keeping its sign; what is not finite is counted in `overflowed`.
    """
    lo, hi = _arguments.affine_params(lo, hi, qmin, qmax, rule, scales)
    to = dtype(scales)
    span, divisor, lo = _span(lo, hi, qmin, qmax, rule)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        quotient = span / divisor
        scale = from_float32(quotient, scales)
        stored = to_float32(scale)
        smallest = np.array(1, f"uint{8 * to.itemsize}").view(to).astype(np.float32)
        underflow = (stored == 0) & (span != 0)
        stored = np.where(underflow, np.copysign(smallest, quotient), stored)
        stored = np.where(span == 0, np.float32(1), stored)
        scale[...] = stored.astype(to)
        overflow = ~np.isfinite(stored)
        zero_point = offset = None
        if rule == "asymmetric":
            zero_point = np.clip(np.rint(-lo / stored), 0, qmax)
            zero_point = np.where(overflow, 0, zero_point).astype(zero_point_dtype(qmax))
        elif rule == "offset":
            offset = (from_float32(lo, scales).astype(np.float32) + np.float32(0)).astype(to)
            overflow |= ~np.isfinite(offset.astype(np.float32))
    return AffineParams(scale, zero_point, offset, int(overflow.sum()), int(underflow.sum()))


def _span(lo: Array, hi: Array, qmin: int, qmax: int, rule: str) -> tuple[Array, np.float32, Array]:
    """What the rule divides, by what, and `lo` with zero forced into the range where it must be."""
    if rule == "signed_max":
        return np.where(hi > -lo, hi, lo), np.float32(qmin), lo
    if rule == "absmax":
        return np.maximum(-lo, hi), np.float32(qmax), lo
    if rule == "full_range":
        return np.maximum(-lo, hi), np.float32((qmax - qmin) / 2), lo
    if rule == "asymmetric":
        lo, hi = np.minimum(lo, np.float32(0)), np.maximum(hi, np.float32(0))
    with np.errstate(over="ignore", invalid="ignore"):
        return hi - lo, np.float32(qmax - qmin), lo


def affine_encode(
    x: Array,
    scale: Array,
    zero_point: Array | None = None,
    offset: Array | None = None,
    *,
    qmin: int,
    qmax: int,
    group_size: int | None = None,
    bits: int | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Codes of `x` [R, C] for given parameters [R, groups]; with `bits`, packed into uint32 words.

    q = clamp(rint(x / scale) + zero_point, qmin, qmax), or clamp(rint((x − offset) / scale), …):
    the IEEE float32 quotient limited to ±2^24, half to even. A scale of infinity gives code 0.
    `x` is taken to be finite; float64 is rounded to float32 first.
    """
    x, params, size, out = _arguments.affine_encode(
        x, (scale, zero_point, offset), qmin, qmax, group_size, bits, out
    )
    codes = np.empty(x.shape, code_dtype(qmin, qmax))
    for span, group in _each_group(size, params):
        codes[:, span] = encode(x[:, span], *group, qmin, qmax)
    if bits is not None:
        return pack(codes, bits, out=out)
    out[...] = codes
    return out


def _each_group(size: int | None, params: Params) -> Iterator[tuple[slice, Params]]:
    """The columns of every group, and its parameters as one column."""
    for group in range(params[0].shape[1]):
        span = slice(None) if size is None else slice(group * size, (group + 1) * size)
        column = itemgetter((slice(None), slice(group, group + 1)))
        yield span, each_param(column, params)


def encode(
    x: Array, scale: Array, zero_point: Array | None, offset: Array | None, qmin: int, qmax: int
) -> Array:
    """The rule of `affine_encode` with parameters that broadcast against `x`."""
    values = to_float32(np.ascontiguousarray(x))
    with np.errstate(all="ignore"):
        if offset is not None:
            values = values - offset.astype(np.float32)
        quotient = np.clip(values / scale.astype(np.float32), -LIMIT, LIMIT)
        codes = np.rint(quotient).astype(np.int32)
    if zero_point is not None:
        codes = codes + zero_point.astype(np.int32)
    return np.clip(codes, qmin, qmax)


def affine_quantize(
    x: Array,
    *,
    qmin: int,
    qmax: int,
    rule: str,
    scales: str = "float32",
    group_size: int | None = None,
    bits: int | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> AffineCodes:
    """Range, parameters and codes of each group of `x` [R, C]: `affine_params` ∘ `affine_encode`.

    The rules "absmax" and "full_range" read max |x|, the others min and max. With `bits` the codes
    are packed. `out`, if given, takes the codes or words. Groups with NaN or infinity are counted
    in `nonfinite`, not in `overflowed`.
    """
    x, _, _ = _arguments.affine_quantize(x, qmin, qmax, rule, scales, group_size, bits, out)
    if rule in ("absmax", "full_range"):
        hi = absmax(x, group_size)
        lo = -hi
    else:
        lo, hi = minmax(x, group_size)
    bad = ~(np.isfinite(lo) & np.isfinite(hi))
    lo, hi = np.where(bad, np.float32(0), lo), np.where(bad, np.float32(0), hi)
    params = affine_params(lo, hi, qmin=qmin, qmax=qmax, rule=rule, scales=scales)
    divisor = params.scale
    if rule == "offset":  # a constant group has codes 0: every value over infinity is 0
        divisor = np.where(lo == hi, dtype(scales).type(np.inf), divisor)
    codes = affine_encode(
        x,
        np.ascontiguousarray(divisor),
        params.zero_point,
        params.offset,
        qmin=qmin,
        qmax=qmax,
        group_size=group_size,
        bits=bits,
        out=out,
    )
    return AffineCodes(codes, *params[:3], int(bad.sum()), params.overflowed, params.underflowed)


def affine_decode(
    codes: Array,
    scale: Array,
    zero_point: Array | None = None,
    offset: Array | None = None,
    *,
    group_size: int | None = None,
    bits: int | None = None,
    length: int | None = None,
    signed: bool | None = None,
    dtype_name: str = "float32",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Values [R, C] of codes [R, C], or of packed words [R, W] (then `bits`, `length`, `signed`).

    fl(fl(q − zero_point)·scale), or fl(fl(q·scale) + offset), in float32, then rounded once to
    `dtype_name`. Any scale is multiplied as it is.
    """
    codes, params, size, length, out = _arguments.affine_decode(
        codes, (scale, zero_point, offset), group_size, (bits, length, signed), dtype_name, out
    )
    if bits is not None:
        codes = unpack(codes, bits, length, signed=bool(signed))
    for span, group in _each_group(size, params):
        out[:, span] = from_float32(decode(codes[:, span], *group), out.dtype.name)
    return out


def decode(codes: Array, scale: Array, zero_point: Array | None, offset: Array | None) -> Array:
    """The rule of `affine_decode`, in float32, with parameters that broadcast against `codes`."""
    steps = codes.astype(np.int32)
    if zero_point is not None:
        steps = steps - zero_point.astype(np.int32)
    with np.errstate(all="ignore"):
        values = steps.astype(np.float32) * scale.astype(np.float32)
        return values if offset is None else values + offset.astype(np.float32)
