# SPDX-License-Identifier: MIT
"""Hadamard matrices: signs whose rows are orthogonal, H·Hᵀ = n·I."""

from __future__ import annotations

from functools import cache

import numpy as np

from bitmill._dtypes import Array

_ORDERS = {1: 1, 3: 12, 5: 20}
"""The order of the matrix that is not doubled, by the odd part of n."""


def order_of(n: int) -> int | None:
    """1, 12 or 20, if n is that times a power of two.

    >>> [order_of(n) for n in (1, 256, 1536, 2560, 6, 28)]
    [1, 1, 12, 20, None, None]
    """
    order = _ORDERS.get(n // (n & -n)) if n > 0 else None
    return order if order is not None and n % order == 0 else None


@cache
def sign_matrix(order: int) -> Array:
    """The symmetric Hadamard matrix of order 1, 12 or 20, float32, read-only.

    Paley's first: q = order − 1 is a prime, 3 modulo 4, and χ(a) is 1 where a is a square modulo q,
    else −1. H is 1 in its first row and column; elsewhere, counting from 0, it is χ(i + j), and −1
    where i + j is 0 modulo q. Being symmetric, it is its own inverse but for the factor n.

    >>> sign_matrix(12)[:4].astype(int)
    array([[ 1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1],
           [ 1, -1,  1, -1,  1,  1,  1, -1, -1, -1,  1, -1],
           [ 1,  1, -1,  1,  1,  1, -1, -1, -1,  1, -1, -1],
           [ 1, -1,  1,  1,  1, -1, -1, -1,  1, -1, -1,  1]])
    """
    signs = np.ones((order, order), np.float32)
    q = order - 1
    if q:
        index = np.arange(q)
        squares = index[1:] ** 2 % q
        signs[1:, 1:] = np.where(np.isin((index[:, np.newaxis] + index) % q, squares), 1, -1)
    signs.setflags(write=False)
    return signs
