# SPDX-License-Identifier: MIT
"""Values over a scale per group to floats of 4, 6 or 8 bits, and back."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments, _core
from bitmill._dtypes import Array, carrier, code, name_of
from bitmill._minifloats import MINIFLOATS
from bitmill._threads import resolve


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
    """`bitmill.reference.float_encode`, fast."""
    x, size, out = _arguments.float_encode(x, scale, format, group_size, packed, out)
    threads = resolve(num_threads)
    if x.size:
        rows, length = x.shape
        _core.float_encode(
            MINIFLOATS[format], carrier(x), code(name_of(x.dtype)), rows, length,
            min(size or length, length), scale, packed, out, threads,
        )  # fmt: skip
    return out


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
    """`bitmill.reference.float_decode`, fast."""
    codes, size, length, out = _arguments.float_decode(
        codes, scale, format, group_size, length, dtype_name, out
    )
    threads = resolve(num_threads)
    if out.size:
        packed = codes.dtype == np.uint32
        _core.float_decode(
            MINIFLOATS[format], codes, codes.shape[0], length, min(size or length, length), scale,
            packed, carrier(out), code(name_of(out.dtype)), threads,
        )  # fmt: skip
    return out
