# SPDX-License-Identifier: MIT
"""Scales as 8-bit codes of a table of numbers of both signs: double quantization.

As bitsandbytes does it: of all scales their mean is taken away, and every 256 of what is left, in
the order of memory, share one float32 absmax. After Dettmers et al., "QLoRA" (2023).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array

BLOCK = 256
"""Scales that share an absmax."""


@lru_cache(maxsize=1)
def dynamic_map() -> Array:
    """256 numbers from −0.993 to 1, ascending: fewer digits the smaller they are.

    Seven powers of ten, the largest of which is 1, hold 1, 2, 4, … 64 numbers of each sign: the
    means of neighbours among evenly spaced ones from 0.1 to 1. Then 0 and 1 are added. After
    Dettmers, "8-Bit Approximations for Parallelism in Deep Learning" (2015).

    >>> [float(number) for number in dynamic_map()[[0, 127, 255]]]
    [-0.992968738079071, 0.0, 1.0]
    """
    made = [0.0, 1.0]
    for power in range(7):
        bounds = _evenly_spaced((1 << power) + 1)
        means = (bounds[:-1] + bounds[1:]) / np.float32(2)
        made += [*(np.float32(10.0 ** (power - 6)) * means)]
        made += [*(np.float32(-(10.0 ** (power - 6))) * means)]
    return np.sort(np.array(made, np.float32))


def _evenly_spaced(count: int) -> Array:
    """`count` float32 numbers from 0.1 to 1, each rounded once, counted from the nearer end."""
    first, last = np.float32(0.1), np.float32(1)
    step, at = float((last - first) / np.float32(count - 1)), np.arange(count)
    up, down = float(first) + step * at, float(last) - step * (count - 1 - at)
    return np.where(at < count // 2, up, down).astype(np.float32)


def mean_of(scale: Array) -> np.float32:
    """The mean of float32 scales, summed in float64, one after the other in blocks."""
    flat = scale.reshape(-1).astype(np.float64)
    padded = np.zeros(-(-max(1, flat.size) // BLOCK) * BLOCK)
    padded[: flat.size] = flat
    sums = np.add.accumulate(padded.reshape(-1, BLOCK), axis=1)[:, -1]
    return np.float32(np.add.accumulate(sums)[-1] / max(1, flat.size))


def encode(scale: Array, offset: np.float32) -> tuple[Array, Array]:
    """Codes, uint8 in the shape of `scale`, and an absmax for every 256 of them.

    The code of a scale s is that of the number nearest to (s − offset)/absmax.
    """
    rest = (scale.reshape(1, -1) - offset).astype(np.float32)
    made = kernels.table_quantize(rest, dynamic_map(), group_size=BLOCK)
    return made.codes.reshape(scale.shape), made.scale[0]


def decode(codes: Array, absmax: Array, offset: np.float32) -> Array:
    """number·absmax + offset, float32 in the shape of `codes`."""
    flat, absmax = codes.reshape(1, -1), absmax.reshape(1, -1)
    values = kernels.table_decode(flat, dynamic_map(), absmax, group_size=BLOCK)
    with np.errstate(over="ignore", invalid="ignore"):
        scale: Array = values + offset
    return scale.reshape(codes.shape)
