# SPDX-License-Identifier: MIT
"""How codes lie in memory: one little-endian bit stream per row, in uint32 words."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitmill import _arguments, _check, kernels
from bitmill._dtypes import Array
from bitmill._sizes import word_count
from bitmill.grid import rows_of
from bitmill.layouts.given import integers


def pack(
    codes: Any, bits: int, *, out: Array | None = None, num_threads: int | None = None
) -> Array:
    """Pack integer codes into fields of `bits`, row by row along the last axis.

    Field i of a row of n codes takes bits i·bits … (i+1)·bits − 1 of the row's little-endian bit
    stream, filled up with zeros to whole words: shape [..., n] becomes [..., ceil(n·bits/32)],
    uint32. These are the words of compressed-tensors' `weight_packed` and of MLX.

    `codes` is int8 (stored offset-binary, u = q + 2^(bits−1)) or uint8 (stored as it is), of any
    rank from 1 and any strides; `bits` is 1..8. Raises TypeError for another dtype and ValueError
    for codes out of range, a wrong `bits`, or an `out` that does not fit.

    >>> import bitmill as bm, numpy as np
    >>> bm.pack(np.array([0, 1, 2, 15], np.uint8), 4)
    array([61968], dtype=uint32)
    >>> hex(61968)
    '0xf210'
    """
    given, codes = codes, integers(codes, "codes", ("int8", "uint8"), "codes.astype(np.int8)")
    bits = _check.integer(bits, "bits", low=1, high=8)
    shape = (*codes.shape[:-1], word_count(codes.shape[-1], bits))
    out = _check.output(out, shape, np.dtype(np.uint32), given)
    kernels.pack(rows_of(codes), bits, out=rows_of(out), num_threads=num_threads)
    return out


def unpack(
    packed: Any,
    bits: int,
    length: int,
    *,
    signed: bool,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """The codes that `pack` made into words: [..., W] uint32 becomes [..., length].

    int8 if `signed` (offset-binary fields), else uint8. Raises TypeError for another dtype and
    ValueError if rows of `length` codes do not take just W words.

    >>> import bitmill as bm, numpy as np
    >>> bm.unpack(np.array([0xf210], np.uint32), 4, 4, signed=False)
    array([ 0,  1,  2, 15], dtype=uint8)
    """
    given, packed = packed, integers(packed, "packed", ("uint32",), "packed.view(np.uint32)")
    bits = _check.integer(bits, "bits", low=1, high=8)
    length = _arguments.packed_length(packed, bits, length)
    signed = _check.flag(signed, "signed")
    of = np.dtype(np.int8 if signed else np.uint8)
    out = _check.output(out, (*packed.shape[:-1], length), of, given)
    kernels.unpack(
        rows_of(packed), bits, length, signed=signed, out=rows_of(out), num_threads=num_threads
    )
    return out
