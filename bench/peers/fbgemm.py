# SPDX-License-Identifier: MIT
"""FBGEMM: rows of asymmetric codes with their scale and bias behind them, for embedding tables.

x ≈ code · scale + bias, with bias the least value. The 4-bit rows store both as float16, so a value
may lie as far off as the least one is rounded, on top of half a step. Groups are made rows.
"""

from __future__ import annotations

import fbgemm_gpu  # noqa: F401  (registers the operators)
import numpy as np
import torch

from agree import CHECKED, within_half_a_step
from peers import Rival
from peers.torch import array, tensor

ops = torch.ops.fbgemm


def values4(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and steps of 4-bit rows: low nibble first, then scale and bias."""
    codes, params = rows[:, :-4], np.ascontiguousarray(rows[:, -4:]).view(np.float16)
    scale, bias = params[:, :1].astype(np.float32), params[:, 1:].astype(np.float32)
    fields = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(rows), -1)
    return fields * scale + bias, scale


def values8(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and steps of 8-bit rows: a byte each, then scale and bias in float32."""
    params = np.ascontiguousarray(rows[:, -8:]).view(np.float32)
    return rows[:, :-8] * params[:, :1] + params[:, 1:], params[:, :1]


def int4_sym(x, group_size, ours):
    return int4_asym(x, group_size, ours)


def int4_asym(x, group_size, ours):
    """Within 0.52 steps and the rounding of the bias, 2^-11 of it or a twentieth of a step."""
    given = tensor(x.reshape(-1, group_size))

    def check(answer):
        values, step = values4(array(answer[: x[CHECKED].size // group_size]))
        within_half_a_step(x[CHECKED].reshape(-1, group_size), values, step, 0.1)

    return Rival(lambda: ops.FloatToFusedNBitRowwiseQuantizedSBHalf(given, 4), check)


def int8_row(x, ours):
    """float32, or float16 in the place of bfloat16, which it does not take; within 0.51 steps."""
    if x.dtype == np.float32:
        given, quantize = tensor(x), ops.FloatToFused8BitRowwiseQuantized
    else:
        given, quantize = tensor(x.astype(np.float16)), ops.HalfToFused8BitRowwiseQuantized

    def check(answer):
        values, step = values8(array(answer[CHECKED]))
        within_half_a_step(array(given)[CHECKED].astype(np.float32), values, step, 0.01)

    return Rival(lambda: quantize(given), check)


def dequantize_int8(q, out, ours):
    """Of its own rows, made of our values; float32 rounding apart from its own formula."""
    rows = ops.FloatToFused8BitRowwiseQuantized(tensor(ours))

    def check(answer):
        values, _ = values8(array(rows)[CHECKED])
        np.testing.assert_allclose(array(answer)[CHECKED], values, rtol=1e-5, atol=1e-6)

    return Rival(lambda: ops.Fused8BitRowwiseQuantizedToFloat(rows), check)


def dequantize_int4(q, group_size, out, ours):
    """Of its own rows, made of our values; float32 rounding apart from its own formula."""
    rows = ops.FloatToFusedNBitRowwiseQuantizedSBHalf(tensor(ours.reshape(-1, group_size)), 4)

    def check(answer):
        part = slice(0, ours[CHECKED].size // group_size)
        values, _ = values4(array(rows)[part])
        np.testing.assert_allclose(array(answer)[part], values, rtol=1e-5, atol=1e-6)

    return Rival(lambda: ops.FusedNBitRowwiseQuantizedSBHalfToFloat(rows, 4), check)
