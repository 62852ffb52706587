# SPDX-License-Identifier: MIT
"""Biases as the integers that are added to sums of products, and what keeps these in 32 bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitmill import _check
from bitmill._arguments import MOST_W8A8
from bitmill._dtypes import Array

MOST_PRODUCT = 255 * 128
"""Of a code of activations without its zero-point, and an int8 code of weights."""


def quantize_bias(bias: Any, x_scale: Any, w_scale: Any, *, length: int = 0) -> Array:
    """rint(bias / (x_scale·w_scale)), int32 [N]: a bias on the grid of the sums of products.

    `bias` is [N], `x_scale` a number, `w_scale` one or N. Quotients are float64. `length` is how
    many products of 8-bit codes each bias is added to: at most 65,793.

    Raises ValueError, naming the channel, where the bias and so many products may not fit int32: a
    channel whose weights are next to nothing has a scale to match (`bias_scale` finds a greater
    one).

    >>> import bitmill as bm
    >>> bm.integer.quantize_bias([0.5, -1.0], 0.1, [0.01, 0.02])
    array([ 500, -500], dtype=int32)
    """
    room = _room(length)
    wanted = np.asarray(bias, np.float64)
    if wanted.ndim != 1:
        raise ValueError(f"bias has shape {wanted.shape}; wanted one dimension")
    scale = _scales(x_scale, "x_scale", wanted.shape) * _scales(w_scale, "w_scale", wanted.shape)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        codes = np.rint(wanted / scale)
    bad = np.flatnonzero(~(np.abs(codes) <= room))
    if bad.size:
        at = int(bad[0])
        raise ValueError(
            f"bias has {bad.size} value{'s' if bad.size != 1 else ''} that may make sums of "
            f"{length} products overflow int32; the first, of channel {at}, is {wanted[at]:g}, "
            f"with a scale of {scale[at]:g}: wanted at most {room} steps of it"
        )
    whole: Array = codes.astype(np.int32)
    return whole


def bias_scale(bias: Any, x_scale: float, w_scale: Any, *, length: int = 0) -> Array:
    """`w_scale` [N], raised where `quantize_bias` could not do with it.

    max(w_scale, |bias| / (x_scale·2^30), 1e−30), with less than 2^30 where `length` products leave
    less. Weights are then to be quantized by these scales. Raises ValueError for biases that are
    not finite.

    >>> import bitmill as bm
    >>> bm.integer.bias_scale([0.5, 0.5], 0.1, [0.01, 1e-40])
    array([1.00000000e-02, 4.65661287e-09])
    """
    room = min(_room(length), 1 << 30)
    wanted = np.abs(np.asarray(bias, np.float64))
    bad = np.flatnonzero(~np.isfinite(wanted))
    if bad.size:
        raise ValueError(
            f"bias has {bad.size} value{'s' if bad.size != 1 else ''} that are not finite; the "
            f"first, of channel {bad[0]}, is {np.asarray(bias, np.float64).flat[bad[0]]}"
        )
    scales = _scales(w_scale, "w_scale", wanted.shape)
    x = _scales(x_scale, "x_scale", wanted.shape)
    least: Array = np.maximum(wanted / (x * max(room, 1)), 1e-30)
    return np.maximum(scales, least)


def _room(length: int) -> int:
    """What is left of int32 beside so many products."""
    length = _check.integer(length, "length", low=0, high=MOST_W8A8)
    return (1 << 31) - 1 - length * MOST_PRODUCT


def _scales(scale: Any, name: str, shape: tuple[int, ...]) -> Array:
    """One positive number for each channel."""
    given = np.asarray(scale, np.float64)
    if given.shape not in ((), (1,), shape):
        raise ValueError(f"{name} has shape {given.shape}; wanted one number, or {shape}")
    if not ((given > 0) & np.isfinite(given)).all():
        raise ValueError(f"{name} has values that are not above 0 and finite")
    return np.broadcast_to(given, shape)
