# SPDX-License-Identifier: MIT
"""Other forms of the same numbers: packed codes, other dtypes, floats of few bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitmill import _check
from bitmill._arguments.shared import (
    packed_length,
    ranges,
)
from bitmill._dtypes import Array, dtype
from bitmill._minifloats import MINIFLOATS
from bitmill._sizes import (
    group_count,
    word_count,
)


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


def convert(x: Any, allowed: tuple[str, ...], dtype_name: Any, out: Any) -> tuple[Array, Array]:
    """For to_float32 and from_float32: x of any shape, out of dtype `dtype_name`."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"x is a {type(x).__name__}; kernels take a NumPy array")
    x = _check.contiguous(x, "x", allowed)
    to = dtype(_check.float_dtype(dtype_name, "dtype_name"))
    return x, _check.output(out, x.shape, to, x)


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
