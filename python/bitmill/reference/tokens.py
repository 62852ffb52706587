# SPDX-License-Identifier: MIT
"""Activations to codes of one byte, a row a token, with the sums that integer products need.

With x̂ = (q − zero_point)·scale for activations and weights alike, a product is

    Σ_k x̂_k·ŵ_k = scale_x·scale_w·(Σ_k q_x·(q_w − zero_w) − zero_x·Σ_k (q_w − zero_w)),

and where the zero-point of the weights is taken out of the sum too, zero_w·Σ_k q_x: the sum of a
row's codes (1712.05877, eq. 7).
"""

from __future__ import annotations

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array
from bitmill._results import TokenCodes, TokenSums
from bitmill.reference.affine import affine_encode, affine_quantize


def token_quantize(
    x: Array, *, symmetric: bool, out: Array | None = None, num_threads: int | None = None
) -> TokenCodes:
    """Codes of `x` [M, K], a scale for each row from its range, and the sums of each row's codes.

    `symmetric`: int8, the rule "absmax", codes −127 … 127 (1 row: scale = max |x| / 127). Else
    uint8, the rule "asymmetric", with a zero-point: see `affine_params`. Scales are float32
    [M, 1], zero-points uint8 [M, 1], sums int32 [M]. This is `affine_quantize` of whole rows, and
    Σ_k codes. Rows with NaN or infinity are counted in `nonfinite`; what else there is of them,
    codes, scales, zero-points and sums, is unspecified, and differs from kernel to kernel. Raises
    ValueError for rows of more than 8,421,504 values, whose sum may not fit.

    >>> made = token_quantize(np.float32([[0.5, -1.27]]), symmetric=True)
    >>> made.codes, made.sums
    (array([[  50, -127]], dtype=int8), array([-77], dtype=int32))
    """
    x, out = _arguments.token_quantize(x, symmetric, out)
    qmin, qmax = _arguments.token_grid(symmetric)
    rule = "absmax" if symmetric else "asymmetric"
    made = affine_quantize(x, qmin=qmin, qmax=qmax, rule=rule, out=out)
    counts = made.nonfinite, made.overflowed, made.underflowed
    return TokenCodes(out, made.scale, made.zero_point, _sums(out), *counts)


def token_encode(
    x: Array,
    scale: Array,
    zero_point: Array | None = None,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> TokenSums:
    """Codes of `x` [M, K] for given float32 scales [M, 1], and the sums of each row's codes.

    int8, −128 … 127, or, with `zero_point` uint8 [M, 1], uint8: see `affine_encode`. Codes of NaN
    are unspecified, and so are the sums of rows that hold some.
    """
    x, scale, zero_point, out = _arguments.token_encode(x, scale, zero_point, out)
    qmin, qmax = _arguments.token_grid(zero_point is None)
    affine_encode(x, scale, zero_point, qmin=qmin, qmax=qmax, out=out)
    return TokenSums(out, _sums(out))


def _sums(codes: Array) -> Array:
    sums: Array = codes.sum(axis=1, dtype=np.int32)
    return sums
