# SPDX-License-Identifier: MIT
"""Activations to codes of one byte, a row a token."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments, _core
from bitmill._arguments import RULES
from bitmill._dtypes import Array, carrier, code, name_of
from bitmill._results import TokenCodes, TokenSums
from bitmill._threads import resolve


def token_quantize(
    x: Array, *, symmetric: bool, out: Array | None = None, num_threads: int | None = None
) -> TokenCodes:
    """`bitmill.reference.token_quantize`, fast: each row is read from memory once."""
    x, out = _arguments.token_quantize(x, symmetric, out)
    threads = resolve(num_threads)
    rows, length = x.shape
    scale, sums = np.ones((rows, 1), np.float32), np.zeros(rows, np.int32)
    zero_point = None if symmetric else np.zeros((rows, 1), np.uint8)
    counts = 0, 0, 0
    if x.size:
        quantizer = _quantizer("absmax" if symmetric else "asymmetric", symmetric)
        counts = _core.token_quantize(
            quantizer, carrier(x), code(name_of(x.dtype)), rows, length, scale, zero_point, out,
            sums, threads,
        )  # fmt: skip
    return TokenCodes(out, scale, zero_point, sums, counts[0], counts[1], counts[2])


def token_encode(
    x: Array,
    scale: Array,
    zero_point: Array | None = None,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> TokenSums:
    """`bitmill.reference.token_encode`, fast."""
    x, scale, zero_point, out = _arguments.token_encode(x, scale, zero_point, out)
    threads = resolve(num_threads)
    rows, length = x.shape
    sums = np.zeros(rows, np.int32)
    if x.size:
        _core.token_encode(
            _quantizer("absmax", zero_point is None), carrier(x), code(name_of(x.dtype)), rows,
            length, scale, zero_point, out, sums, threads,
        )  # fmt: skip
    return TokenSums(out, sums)


def _quantizer(rule: str, symmetric: bool) -> tuple[int, int, int, int, int]:
    return (*_arguments.token_grid(symmetric), RULES.index(rule), code("float32"), 0)
