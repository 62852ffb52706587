# SPDX-License-Identifier: MIT
"""Codes to bit streams and back."""

from __future__ import annotations

from bitmill import _arguments, _core
from bitmill._dtypes import Array
from bitmill._threads import resolve


def pack(
    codes: Array, bits: int, *, out: Array | None = None, num_threads: int | None = None
) -> Array:
    """`bitmill.reference.pack`, fast."""
    codes, bits, out = _arguments.pack(codes, bits, out)
    rows, length = codes.shape
    signed = codes.dtype.kind == "i"
    if not _core.pack(codes, rows, length, bits, signed, out, resolve(num_threads)):
        raise _arguments.code_error(codes, bits)
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
    packed, bits, length, signed, out = _arguments.unpack(packed, bits, length, signed, out)
    _core.unpack(packed, packed.shape[0], length, bits, signed, out, resolve(num_threads))
    return out
