# SPDX-License-Identifier: MIT
"""Activations: rows of tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitmill import _check
from bitmill._arguments.shared import (
    codes_for,
)
from bitmill._dtypes import Array
from bitmill._hadamard import order_of, sign_matrix

LONGEST_TOKEN = (2**31 - 1) // 255
"""Rows whose codes of one byte have a sum that fits int32."""


def token_grid(symmetric: bool) -> tuple[int, int]:
    """Least and greatest code of activations."""
    return (-128, 127) if symmetric else (0, 255)


def token_quantize(x: Any, symmetric: Any, out: Any) -> tuple[Array, Array]:
    """x, out."""
    x, grid = _tokens(x), token_grid(_check.flag(symmetric, "symmetric"))
    return x, codes_for(x, *grid, None, out, ())


def token_encode(
    x: Any, scale: Any, zero_point: Any, out: Any
) -> tuple[Array, Array, Array | None, Array]:
    """x, scale, zero_point, out."""
    x = _tokens(x)
    scale = _check.shaped(scale, "scale", (len(x), 1), ("float32",))
    if zero_point is not None:
        zero_point = _check.shaped(zero_point, "zero_point", (len(x), 1), ("uint8",))
    grid = token_grid(zero_point is None)
    return x, scale, zero_point, codes_for(x, *grid, None, out, (scale, zero_point))


def _tokens(x: Any) -> Array:
    tokens = _check.matrix(x, "x")
    if tokens.shape[1] > LONGEST_TOKEN:
        raise ValueError(
            f"x has rows of {tokens.shape[1]:,} values; beyond {LONGEST_TOKEN:,} the sum of their "
            "codes may not fit int32"
        )
    return tokens


def hadamard(x: Any, sign: Any, out: Any) -> tuple[Array, Array, Array, Array]:
    """x, what its columns are multiplied by, float32 [n], the matrix of the order of n, out."""
    x = _check.matrix(x, "x")
    length = x.shape[1]
    order = order_of(length)
    if order is None:
        raise ValueError(
            f"x has rows of {length:,}; wanted a power of two, or 12 or 20 times one: split rows"
        )
    factors = np.full(length, 1 / np.sqrt(float(length)), np.float32)
    if sign is not None:
        sign = _check.shaped(sign, "sign", (length,), ("int8",))
        if not (np.abs(sign) == 1).all():
            raise ValueError("sign has values other than -1 and 1")
        factors *= sign
    out = _check.output(out, x.shape, np.dtype(np.float32), x, sign)
    return x, factors, sign_matrix(order), out
