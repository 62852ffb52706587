# SPDX-License-Identifier: MIT
"""Products of quantized activations and prepacked weights."""

from __future__ import annotations

from typing import Any

from bitmill import _check, kernels
from bitmill._dtypes import STORAGES, Array
from bitmill._dtypes import dtype as dtype_of
from bitmill.integer.packed import Prepacked, bytes_of


def matmul(
    x: Any,
    w: Prepacked,
    bias: Array | None = None,
    *,
    dtype: str = "float32",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """x·wᵀ + bias of codes, as values: a QTensor [..., K] and weights [N, K] give [..., N].

    `x` has 8 bits and one scale for each token (axis="row") or one in all; `w` is what `prepack`
    made; `bias` float32 [N]. The sums of products of codes are exact integers, whatever the
    instruction set and the number of threads; what is rounded, and when, says
    `bitmill.reference.matmul_w8a8`. `dtype` is float32, float16 or bfloat16.

    Raises TypeError and ValueError for operands that are none of these, or do not fit each other.

    >>> import bitmill as bm, numpy as np
    >>> x, w = np.eye(3, dtype=np.float32), np.arange(6, dtype=np.float32).reshape(2, 3)
    >>> packed = bm.integer.prepack(bm.quantize(w, bm.Affine(8)))
    >>> bm.integer.matmul(bm.quantize(x, bm.Affine(8, symmetric=False)), packed).round(1)
    array([[0., 3.],
           [1., 4.],
           [2., 5.]], dtype=float32)
    """
    codes, scale, zero_point = bytes_of(x, "x")
    if not isinstance(w, Prepacked):
        raise TypeError(f"w is a {type(w).__name__}; wanted what bm.integer.prepack returns")
    if w.layout != "w8a8":
        raise ValueError(f"w has the layout {w.layout!r}; wanted 'w8a8': weights of 8 bits")
    rows, length = w.shape
    if codes.shape[-1] != length:
        raise ValueError(f"x and w have shapes {x.shape} and {w.shape}; wanted rows of one length")
    shape = (*codes.shape[:-1], rows)
    out = _check.output(out, shape, dtype_of(_check.choice(dtype, "dtype", STORAGES)), codes)
    matrix = codes.reshape(len(scale), length)
    held = w.arrays
    kernels.matmul_w8a8(
        matrix,
        scale,
        zero_point,
        held["codes"],
        held["scale"],
        held["zero_point"],
        held["sum"],
        bias,
        dtype_name=dtype,
        out=out.reshape(len(scale), rows),
        num_threads=num_threads,
    )
    return out
