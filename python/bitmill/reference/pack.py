# SPDX-License-Identifier: MIT
"""Codes to bit streams and back: one little-endian stream per row, in uint32 words."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array


def pack(
    codes: Array, bits: int, *, out: Array | None = None, num_threads: int | None = None
) -> Array:
    """Codes [R, C] as fields of `bits` (1..8): uint32 [R, ceil(C·bits/32)].

    int8 codes q are stored offset-binary, u = q + 2^(bits−1); uint8 codes as they are. Field i of
    a row takes bits i·bits … (i+1)·bits − 1 of its little-endian stream, which zeros fill up to
    whole words. A code out of range is a ValueError.
    """
    codes, bits, out = _arguments.pack(codes, bits, out)
    rows, length = codes.shape
    bias = 1 << bits - 1 if codes.dtype == np.int8 else 0
    fields = codes.astype(np.int16) + bias
    if ((fields < 0) | (fields >= 1 << bits)).any():
        raise _arguments.code_error(codes, bits)
    stream = fields[:, :, np.newaxis] >> np.arange(bits, dtype=np.int16) & 1
    padded = np.zeros((rows, out.shape[1] * 32), np.uint8)
    padded[:, : length * bits] = stream.reshape(rows, length * bits)
    out[...] = np.packbits(padded, axis=1, bitorder="little").view("<u4")
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
    """Codes [R, length] of packed words [R, W]: int8 if `signed` (offset-binary), else uint8."""
    packed, bits, length, signed, out = _arguments.unpack(packed, bits, length, signed, out)
    rows = packed.shape[0]
    stream = np.unpackbits(packed.astype("<u4").view(np.uint8), axis=1, bitorder="little")
    fields = stream[:, : length * bits].reshape(rows, length, bits)
    values = (fields.astype(np.int16) << np.arange(bits, dtype=np.int16)).sum(axis=2)
    out[...] = values - (1 << bits - 1 if signed else 0)
    return out
