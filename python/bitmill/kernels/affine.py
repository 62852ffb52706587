# SPDX-License-Identifier: MIT
"""Affine quantization of groups along rows."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments, _core
from bitmill._arguments import RULES
from bitmill._dtypes import Array, carrier, code, dtype, name_of
from bitmill._results import AffineCodes, AffineParams, Params, each_param
from bitmill._sizes import group_count, zero_point_dtype
from bitmill._threads import resolve

Quantizer = tuple[int, int, int, int, int]
"""(qmin, qmax, rule, scales, bits) as `csrc/bind/quantizer.hpp` reads it; bits 0 is unpacked."""


def affine_params(
    lo: Array, hi: Array, *, qmin: int, qmax: int, rule: str, scales: str = "float32"
) -> AffineParams:
    """`bitmill.reference.affine_params`, fast."""
    lo, hi = _arguments.affine_params(lo, hi, qmin, qmax, rule, scales)
    params = _new_params(lo.shape, qmax, rule, scales)
    quantizer = (qmin, qmax, RULES.index(rule), code(scales), 0)
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
    x, params, size, out = _arguments.affine_encode(
        x, (scale, zero_point, offset), qmin, qmax, group_size, bits, out
    )
    threads = resolve(num_threads)
    if x.size:
        rows, length = x.shape
        quantizer = (qmin, qmax, 0, code(name_of(params[0].dtype)), bits or 0)
        _core.affine_encode(
            quantizer, carrier(x), code(name_of(x.dtype)), rows, length,
            min(size or length, length), *_carriers(params), out, threads,
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
    out: Array | None = None,
    num_threads: int | None = None,
) -> AffineCodes:
    """`bitmill.reference.affine_quantize`, fast: each group is read from memory once."""
    x, size, codes = _arguments.affine_quantize(x, qmin, qmax, rule, scales, group_size, bits, out)
    threads = resolve(num_threads)
    rows, length = x.shape
    shape = (rows, group_count(length, size))
    if x.size == 0:  # rows of no values still have a scale: 1
        empty = np.zeros(shape, np.float32)
        made = affine_params(empty, empty, qmin=qmin, qmax=qmax, rule=rule, scales=scales)
        return AffineCodes(codes, *made[:3], 0, 0, 0)
    params = _new_params(shape, qmax, rule, scales)
    counts = _core.affine_quantize(
        (qmin, qmax, RULES.index(rule), code(scales), bits or 0), carrier(x),
        code(name_of(x.dtype)), rows, length, min(size or length, length), *_carriers(params),
        codes, threads,
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
    codes, params, size, length, out = _arguments.affine_decode(
        codes, (scale, zero_point, offset), group_size, (bits, length, signed), dtype_name, out
    )
    threads = resolve(num_threads)
    if out.size:
        _core.affine_decode(
            decoding(codes, bits, signed, name_of(params[0].dtype)), codes, codes.shape[0], length,
            min(size or length, length), *_carriers(params), carrier(out), code(name_of(out.dtype)),
            threads,
        )  # fmt: skip
    return out


def decoding(codes: Array, bits: int | None, signed: bool | None, scales: str) -> Quantizer:
    """The widest quantizer whose codes are stored as these are: decoding needs no more."""
    width = bits or 8 * codes.dtype.itemsize
    if signed or (bits is None and codes.dtype.kind == "i"):
        qmax = max(1, (1 << width - 1) - 1)  # 1 bit would leave none above 0
        return -(1 << width - 1), qmax, 0, code(scales), bits or 0
    return 0, (1 << width) - 1, 0, code(scales), bits or 0


def _new_params(shape: tuple[int, ...], qmax: int, rule: str, scales: str) -> Params:
    scale = np.empty(shape, dtype(scales))
    zero_point = np.empty(shape, zero_point_dtype(qmax)) if rule == "asymmetric" else None
    return scale, zero_point, np.empty_like(scale) if rule == "offset" else None


def _carriers(params: Params) -> Params:
    return each_param(carrier, params)
