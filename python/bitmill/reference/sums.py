# SPDX-License-Identifier: MIT
"""What the searches for scales sum over the values of a group, in float64 and a fixed order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitmill._dtypes import Array

LANES = 8
LEAST_SPREAD = 1e-12
"""Of n·Σq² − (Σq)², as a share of n·Σq²: what is less comes of rounding, and all codes are one."""


class Values(NamedTuple):
    """A group in float64: the values, their weights, and the products of both."""

    x: Array
    w: Array
    wx: Array

    @classmethod
    def of(cls, x: Array, importance: Array | None) -> Values:
        """A group of float32; without importance, every weight is 1."""
        values = x.astype(np.float64)
        weights = np.ones_like(values) if importance is None else importance.astype(np.float64)
        return cls(values, weights, weights * values)


def telling(importance: Array | None, x: Array, *, offset: bool) -> Array | None:
    """The weights of a group; None if no error counts by them: all are 0, or all w·x.

    With an offset values of 0 may have an error, without one they have none.
    """
    if importance is None:
        return None
    return importance if (importance if offset else importance * x).any() else None


class CodeSums(NamedTuple):
    """Σwxq, Σwq² and Σwq, one for each set of codes q."""

    xq: Array
    qq: Array
    q: Array


def in_lanes(terms: Array, count: int = LANES) -> Array:
    """The sum along the last axis: element i is added to lane i mod 8, then 4+4, 2+2, 1+1.

    Or, in the same way, of another `count` of lanes that is a power of two.
    """
    steps = max(1, -(-terms.shape[-1] // count))
    padded = np.zeros((*terms.shape[:-1], steps * count))
    padded[..., : terms.shape[-1]] = terms
    lanes = padded.reshape(*terms.shape[:-1], steps, count)
    lanes = np.add.accumulate(lanes, axis=-2)[..., -1, :]
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = lanes[..., :half] + lanes[..., half:]
    return lanes[..., 0]


def codes(values: Array, u: Array, lo: int, hi: int) -> Array:
    """clamp(rint(x·u), lo, hi) for each u: [len(u), len(x)]."""
    return np.clip(np.rint(np.multiply.outer(u, values)), lo, hi)


def code_sums(group: Values, q: Array) -> CodeSums:
    """The sums over the codes q [..., len(x)] of a group."""
    return CodeSums(in_lanes(group.wx * q), in_lanes(group.w * (q * q)), in_lanes(group.w * q))


def error(group: Values, q: Array, scale: Array, offset: Array) -> Array:
    """Σw·(x − offset − scale·q)² for each row of codes q, with its scale and offset."""
    d = (group.x - offset[:, None]) - scale[:, None] * q
    return in_lanes(group.w * (d * d))
