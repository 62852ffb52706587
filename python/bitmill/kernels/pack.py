# SPDX-License-Identifier: MIT
"""Codes to bit streams and back."""

from __future__ import annotations

import numpy as np

from bitmill import _check, _core
from bitmill._dtypes import Array
from bitmill._threads import resolve


def pack(
    codes: Array, bits: int, *, out: Array | None = None, num_threads: int | None = None
) -> Array:
    """`bitmill.reference.pack`, fast."""
    codes = _check.matrix(codes, "codes", ("int8", "uint8"))
    bits = _check.integer(bits, "bits", low=1, high=8)
    rows, length = codes.shape
    out = _check.output(out, (rows, _check.word_count(length, bits)), np.dtype(np.uint32), codes)
    signed = codes.dtype == np.int8
    if not _core.pack(codes, rows, length, bits, signed, out, resolve(num_threads)):
        raise _check.code_error(codes, bits)
    return out


def unpack(
    packed: Array,
    bits: int,
    length: int,
    *,
    signed: bool,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """`bitmill.reference.unpack`, fast."""
    packed = _check.matrix(packed, "packed", ("uint32",))
    bits = _check.integer(bits, "bits", low=1, high=8)
    length = _check.packed_length(packed, bits, length)
    rows = packed.shape[0]
    out = _check.output(out, (rows, length), np.dtype(np.int8 if signed else np.uint8), packed)
    _core.unpack(packed, rows, length, bits, signed, out, resolve(num_threads))
    return out
