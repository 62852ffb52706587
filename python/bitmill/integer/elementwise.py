# SPDX-License-Identifier: MIT
"""Sums and means of quantized activations, in integers alone."""

from __future__ import annotations

import numpy as np

from bitmill._dtypes import Array
from bitmill.integer.factors import quantize_multiplier, requantize
from bitmill.integer.static import Static, static, static_tensor
from bitmill.qparams import QParams
from bitmill.qtensor import QTensor
from bitmill.reference.requantize import rescale

FINE_BITS = 20
"""How much finer than codes the common steps are in which two inputs are added."""


def add(
    a: QTensor, b: QTensor, to: QParams, *, activation: str = "none", rounding: str = "single"
) -> QTensor:
    """a + b, a residual connection, with the parameters `to` (1712.05877, A.2).

    `a` and `b` have one shape, 8 bits and one scale each. Both are brought to steps of
    2·max(scale)/2^20, added in int32, and the sum to codes of `to`. `activation` is "none", "relu"
    or "relu6".

    Raises TypeError and ValueError for operands that are none of these.

    >>> import bitmill as bm, numpy as np
    >>> half, one = (bm.QParams(bm.Affine(8, axis=None), np.float32([s])) for s in (0.5, 1))
    >>> a, b = half.quantize(np.float32([1.5, -4])), one.quantize(np.float32([3, 1]))
    >>> np.asarray(bm.integer.add(a, b, half))
    array([ 4.5, -3. ], dtype=float32)
    """
    given, target = (static_tensor(a, "a"), static_tensor(b, "b")), static(to, "to")
    if a.shape != b.shape:
        raise ValueError(f"a and b have shapes {a.shape} and {b.shape}; wanted equal ones")
    twice = 2 * max(each.scale for each in given)
    fine = [_fine(each, x.codes, twice, rounding) for each, x in zip(given, (a, b), strict=True)]
    return _codes(fine[0] + fine[1], twice / (1 << FINE_BITS), target, activation, rounding)


def average_pool(
    x: QTensor,
    to: QParams,
    *,
    window: tuple[int, int] | None = None,
    activation: str = "none",
    rounding: str = "single",
) -> QTensor:
    """Means over windows of images [..., H, W, C], with the parameters `to`: [..., H', W', C].

    `window` (h, w) is also the step from one window to the next: H' = H // h, W' = W // w, and what
    is left over is not used. Without a window the mean is over the whole image: [..., C]. The sum
    of codes is int32, and the division is part of the factor that makes codes of it.

    Raises TypeError and ValueError for operands that are none of these.

    >>> import bitmill as bm, numpy as np
    >>> one = bm.QParams(bm.Affine(8, axis=None), np.float32([1]))
    >>> x = one.quantize(np.float32([[1, 2, 9], [4, 5, 9]])[:, :, np.newaxis])
    >>> bm.integer.average_pool(x, one, window=(2, 2)).codes
    array([[[3]]], dtype=int8)
    """
    given, target = static_tensor(x, "x"), static(to, "to")
    if len(x.shape) < 3:
        raise ValueError(f"x has shape {x.shape}; wanted at least 3 dimensions: height, width, C")
    height, width = x.shape[-3:-1] if window is None else window
    if not (1 <= height <= x.shape[-3] and 1 <= width <= x.shape[-2]):
        raise ValueError(f"window={window} does not fit images of {x.shape[-3]} x {x.shape[-2]}")
    down, across, count = x.shape[-3] // height, x.shape[-2] // width, height * width
    if count > (1 << 31) // 256:
        raise ValueError(f"window={window} has {count:,} codes, whose sum may not fit int32")
    used = x.codes[..., : down * height, : across * width, :]
    cut = used.reshape(*x.shape[:-3], down, height, across, width, x.shape[-1])
    sums = cut.sum(axis=(-4, -2), dtype=np.int32) - np.int32(count * given.zero_point)
    if window is None:
        sums = sums.reshape(*x.shape[:-3], x.shape[-1])
    return _codes(sums, given.scale / count, target, activation, rounding)


def _fine(given: Static, codes: Array, twice: float, rounding: str) -> Array:
    """Values of codes in steps of twice / 2^20: a table of all codes, and a look at it."""
    every = np.arange(256, dtype=np.int32) - (128 if given.dtype == "int8" else given.zero_point)
    factor = quantize_multiplier(given.scale / twice)
    table = rescale(every << FINE_BITS, *factor, rounding).astype(np.int32)
    steps: Array = table[codes.view(np.uint8) ^ np.uint8(128 if given.dtype == "int8" else 0)]
    return steps


def _codes(sums: Array, scale: float, to: Static, activation: str, rounding: str) -> QTensor:
    """Sums in steps of `scale` as codes."""
    qmin, qmax = to.limits(activation)
    factor = quantize_multiplier(scale / to.scale)
    made = requantize(
        np.atleast_1d(sums), *factor, to.zero_point, qmin=qmin, qmax=qmax, rounding=rounding,
        dtype=to.dtype,
    )  # fmt: skip
    return to.tensor(made)
