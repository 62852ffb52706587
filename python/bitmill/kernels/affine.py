# SPDX-License-Identifier: MIT
"""Affine quantization of groups along rows."""

from __future__ import annotations

import numpy as np

from bitmill import _check, _core
from bitmill._dtypes import STORAGES, Array, carrier, code, code_dtype, dtype, zero_point_dtype
from bitmill._results import AffineCodes, AffineParams, Params, each_param
from bitmill._threads import resolve

Quantizer = tuple[int, int, int, int, int]
"""(qmin, qmax, rule, scales, bits) as `csrc/bind/quantizer.hpp` reads it; bits 0 is unpacked."""


def affine_params(
    lo: Array, hi: Array, *, qmin: int, qmax: int, rule: str, scales: str = "float32"
) -> AffineParams:
    """`bitmill.reference.affine_params`, fast."""
    lo, hi = _check.matrix(lo, "lo", ("float32",)), _check.matrix(hi, "hi", ("float32",))
    _check.same_shape(lo, hi, "lo and hi")
    index = _check.rule(rule, qmin, qmax)
    params = _new_params(lo.shape, qmax, rule, _check.choice(scales, "scales", STORAGES))
    quantizer = (qmin, qmax, index, code(scales), 0)
    _, overflowed, underflowed = _core.affine_params(quantizer, lo, hi, *_carriers(params))
    return AffineParams(*params, overflowed, underflowed)


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
    """`bitmill.reference.affine_encode`, fast."""
    x = _check.matrix(x, "x")
    _check.code_range(qmin, qmax)
    _check.packed_width(bits, qmin, qmax)
    rows, length = x.shape
    groups, group = _groups(x.shape, group_size)
    params = _check.affine_params(groups, scale, zero_point, offset)
    out = _check.output(out, *_codes_of(x.shape, qmin, qmax, bits), x, *params)
    if x.size:
        quantizer = (qmin, qmax, 0, code(params[0].dtype.name), bits or 0)
        params = _widened(params, qmax)
        _core.affine_encode(
            quantizer, carrier(x), code(x.dtype.name), rows, length, group,
            *_carriers(params), out, resolve(num_threads),
        )  # fmt: skip
    return out


def affine_quantize(
    x: Array,
    *,
    qmin: int,
    qmax: int,
    rule: str,
    scales: str = "float32",
    group_size: int | None = None,
    bits: int | None = None,
    num_threads: int | None = None,
) -> AffineCodes:
    """`bitmill.reference.affine_quantize`, fast: each group is read from memory once."""
    x = _check.matrix(x, "x")
    index = _check.rule(rule, qmin, qmax)
    _check.packed_width(bits, qmin, qmax)
    rows, length = x.shape
    groups, group = _groups(x.shape, group_size)
    params = _new_params(groups, qmax, rule, _check.choice(scales, "scales", STORAGES))
    codes = np.empty(*_codes_of(x.shape, qmin, qmax, bits))
    if x.size == 0:  # rows of no values still have a scale: 1
        empty = np.zeros(groups, np.float32)
        made = affine_params(empty, empty, qmin=qmin, qmax=qmax, rule=rule, scales=scales)
        return AffineCodes(codes, *made[:3], 0, 0, 0)
    counts = _core.affine_quantize(
        (qmin, qmax, index, code(scales), bits or 0), carrier(x), code(x.dtype.name), rows, length,
        group, *_carriers(params), codes, resolve(num_threads),
    )  # fmt: skip
    return AffineCodes(codes, *params, *counts)


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
    """`bitmill.reference.affine_decode`, fast."""
    codes, length = _check.codes(codes, bits, length, signed)
    shape = (codes.shape[0], length)
    groups, group = _groups(shape, group_size)
    params = _check.affine_params(groups, scale, zero_point, offset)
    name = _check.float_dtype(dtype_name, "dtype_name")
    out = _check.output(out, shape, dtype(name), codes, *params)
    if out.size:
        quantizer = decoding(codes, bits, signed, params[0].dtype.name)
        params = _widened(params, quantizer[1])
        _core.affine_decode(
            quantizer, codes, *shape, group, *_carriers(params), carrier(out), code(name),
            resolve(num_threads),
        )  # fmt: skip
    return out


def decoding(codes: Array, bits: int | None, signed: bool | None, scales: str) -> Quantizer:
    """The widest quantizer whose codes are stored as these are: decoding needs no more."""
    width = bits or 8 * codes.dtype.itemsize
    if signed or (bits is None and codes.dtype.kind == "i"):
        qmax = max(1, (1 << width - 1) - 1)  # 1 bit would leave none above 0
        return -(1 << width - 1), qmax, 0, code(scales), bits or 0
    return 0, (1 << width) - 1, 0, code(scales), bits or 0


def _groups(shape: tuple[int, int], group_size: int | None) -> tuple[tuple[int, int], int]:
    """Shape of the parameters, and the group size that the compiled module is told."""
    size = _check.group_size(group_size)
    rows, length = shape
    return (rows, _check.group_count(length, size)), length if size is None else min(size, length)


def _codes_of(
    shape: tuple[int, int], qmin: int, qmax: int, bits: int | None
) -> tuple[tuple[int, int], np.dtype[np.generic]]:
    """Shape and dtype of the codes, or of the words they are packed into."""
    if bits is None:
        return shape, code_dtype(qmin, qmax)
    return (shape[0], _check.word_count(shape[1], bits)), np.dtype(np.uint32)


def _new_params(shape: tuple[int, ...], qmax: int, rule: str, scales: str) -> Params:
    scale = np.empty(shape, dtype(scales))
    zero_point = np.empty(shape, zero_point_dtype(qmax)) if rule == "asymmetric" else None
    return scale, zero_point, np.empty_like(scale) if rule == "offset" else None


def _widened(params: Params, qmax: int) -> Params:
    """Zero-points in the width that goes with qmax."""
    scale, zero_point, offset = params
    if zero_point is not None:
        zero_point = zero_point.astype(zero_point_dtype(qmax), copy=False)
    return scale, zero_point, offset


def _carriers(params: Params) -> Params:
    return each_param(carrier, params)
