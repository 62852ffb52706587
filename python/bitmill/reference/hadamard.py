# SPDX-License-Identifier: MIT
"""Products with Hadamard matrices, by doubling."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array
from bitmill.reference.convert import to_float32


def hadamard(
    x: Array,
    *,
    sign: Array | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Rows of `x` [R, n] times diag(sign)·H / √n, float32: an orthogonal matrix.

    n is m·2^k with m = 1, 12 or 20, and H the Kronecker product of `_hadamard.sign_matrix(m)` and k
    times [[1, 1], [1, −1]]. It is symmetric: without signs a second product undoes the first.
    `sign`, int8 [n] of −1 and 1, is all 1 if there is none.

    All is in float32 and rounded in this order. First x is multiplied by sign·fl(1/√n). Then, for
    h = 1, 2, 4, … 2^(k−1), elements a and b that are h apart become a + b and a − b. Last, of the m
    pieces of a row, p_0 … p_(m−1), each becomes the sum of ±p_i, added in the order of i. Sums of
    values near the greatest float32 may overflow on the way: then the row has infinities or NaN, as
    it has if x has.

    Raises ValueError for another n, and for a sign that is not −1 or 1.

    >>> hadamard(np.float32([[1, 2, 3, 4]]))
    array([[ 5., -1., -2.,  0.]], dtype=float32)
    >>> hadamard(_, sign=np.int8([1, 1, 1, -1]))
    array([[1., 2., 3., 4.]], dtype=float32)
    """
    x, factors, signs, out = _arguments.hadamard(x, sign, out)
    rows, n = x.shape
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        y = to_float32(x) * factors
        h = 1
        while h < n // len(signs):
            pairs = y.reshape(rows, n // (2 * h), 2, h)
            a, b = pairs[:, :, 0], pairs[:, :, 1]
            y = np.stack([a + b, a - b], axis=2)
            h *= 2
        pieces = y.reshape(rows, len(signs), h)
        for to, row in enumerate(signs):
            total = pieces[:, 0]
            for piece, factor in zip(pieces.swapaxes(0, 1)[1:], row[1:], strict=True):
                total = total + factor * piece
            out[:, to * h : (to + 1) * h] = total
    return out
