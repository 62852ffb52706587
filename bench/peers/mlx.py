# SPDX-License-Identifier: MIT
"""MLX on a CPU: asymmetric groups with a scale and a bias, x ≈ code · scale + bias."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from agree import CHECKED, within_half_a_step
from peers import Rival

mx.set_default_device(mx.cpu)


def int4_sym(x, group_size, ours):
    return int4_asym(x, group_size, ours)


def int4_asym(x, group_size, ours):
    """It moves the scale so that zero is exact, and cuts off the other end: within 1.05 steps."""
    given = mx.array(x)
    mx.eval(given)

    def run():
        made = mx.quantize(given, group_size=group_size, bits=4)
        mx.eval(*made)
        return made

    def check(answer):
        part = [made[CHECKED] for made in answer]
        values = np.array(mx.dequantize(*part, group_size=group_size, bits=4))
        step = np.abs(np.array(part[1])).reshape(-1, 1)
        shape = (-1, group_size)
        within_half_a_step(x[CHECKED].reshape(shape), values.reshape(shape), step, 0.55)

    return Rival(run, check)


def dequantize_int4(q, group_size, out, ours):
    """Our codes, with -8 · scale as the bias: within float32 rounding of ours."""
    made = [mx.array(part) for part in (q.packed, q.scale, -8 * q.scale)]
    mx.eval(*made)

    def run():
        values = mx.dequantize(*made, group_size=group_size, bits=4)
        mx.eval(values)
        return values

    def check(answer):
        np.testing.assert_allclose(np.array(answer[CHECKED]), ours[CHECKED], rtol=1e-6, atol=1e-7)

    return Rival(run, check)
