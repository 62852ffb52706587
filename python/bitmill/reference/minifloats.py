# SPDX-License-Identifier: MIT
"""Values over a scale per group to floats of 4, 6 or 8 bits, and back."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array
from bitmill._minifloats import MINIFLOATS, Minifloat
from bitmill.reference.convert import from_float32, to_float32
from bitmill.reference.pack import pack, unpack


def float_encode(
    x: Array,
    scale: Array,
    *,
    format: str,
    group_size: int | None = None,
    packed: bool = False,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Codes, uint8 [R, C], of `x` [R, C] over `scale`, float32 [R, groups].

    The code of the float of `format` that is nearest to q = x / scale, the IEEE float32 quotient:
    half to even, and the largest value for all beyond it. The sign is that of q, also where q
    rounds to zero; −0.0 has the code 0. A code is sign | exponent | mantissa, in the low bits.

    `packed`, for formats of 4 and 6 bits, puts the codes into uint32 words [R, W], as `pack` does.
    `x` is taken to be finite; float64 is rounded to float32 first.

    >>> x = np.array([[0.3, -2.4, 100.0, -0.1]], np.float32)
    >>> codes = float_encode(x, np.float32([[1]]), format="float4_e2m1fn")
    >>> codes
    array([[ 1, 12,  7,  8]], dtype=uint8)
    >>> float_decode(codes, np.float32([[1]]), format="float4_e2m1fn")
    array([[ 0.5, -2. ,  6. , -0. ]], dtype=float32)
    """
    x, size, out = _arguments.float_encode(x, scale, format, group_size, packed, out)
    f = MINIFLOATS[format]
    with np.errstate(all="ignore"):
        q = to_float32(x) / _spread(scale, size, x.shape[1])
    codes = _codes(q, f)
    if packed:
        return pack(codes, f.bits, out=out)
    out[...] = codes
    return out


def _codes(q: Array, f: Minifloat) -> Array:
    """|q| = steps·2^(exponent − mantissa_bits), with 2^mantissa_bits steps or more if normal.

    Steps that fill the range of an exponent are the first ones of the next: so the code is the
    number of steps plus the exponent's distance from the least one, in its place.
    """
    size = np.fmin(np.abs(q), np.float32(f.max))
    exponent = np.frexp(np.maximum(size, np.float32(2.0**f.emin)))[1] - 1
    steps = np.rint(np.ldexp(size, f.mantissa_bits - exponent)).astype(np.int32)
    codes = (exponent - f.emin << f.mantissa_bits) + steps
    signed: Array = codes + ((q < 0) << f.bits - 1)
    return signed.astype(np.uint8)


def float_decode(
    codes: Array,
    scale: Array,
    *,
    format: str,
    group_size: int | None = None,
    length: int | None = None,
    dtype_name: str = "float32",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Values [R, C] of codes, uint8 [R, C], or of packed words, uint32 [R, W] (then `length`).

    fl(value·scale) in float32, then rounded once to `dtype_name`. Bits above those of the format
    are ignored. Codes of infinity and NaN, which no finite `x` has, give these.
    """
    codes, size, length, out = _arguments.float_decode(
        codes, scale, format, group_size, length, dtype_name, out
    )
    f = MINIFLOATS[format]
    if codes.dtype == np.uint32:
        codes = unpack(codes, f.bits, length, signed=False)
    with np.errstate(all="ignore"):
        values = _values(codes, f) * _spread(scale, size, length)
        out[...] = from_float32(values, out.dtype.name)
    return out


def _values(codes: Array, f: Minifloat) -> Array:
    """(1 + mantissa/2^mantissa_bits)·2^exponent, without the 1 where the exponent's field is 0."""
    size = codes.astype(np.int32) & (1 << f.bits - 1) - 1
    field, mantissa = size >> f.mantissa_bits, size & (1 << f.mantissa_bits) - 1
    steps = np.where(field == 0, mantissa, mantissa + (1 << f.mantissa_bits))
    exponent = f.emin - 1 + np.maximum(field, 1)
    values = np.ldexp(steps.astype(np.float32), exponent - f.mantissa_bits)
    values[size > f.top] = np.nan
    if f.has_infinity:
        values[size == f.top + 1] = np.inf
    signed: Array = np.where(codes >> f.bits - 1 & 1, -values, values)
    return signed


def _spread(scale: Array, size: int | None, length: int) -> Array:
    """The scale of every value [R, C], or of every row [R, 1]."""
    return scale if size is None else np.repeat(scale, size, axis=1)[:, :length]
