# SPDX-License-Identifier: MIT
"""Lloyd-Max quantizers: the levels of least mean squared error for a known distribution."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array

_SQRT2, _SQRT_2PI = math.sqrt(2), math.sqrt(2 * math.pi)


class LloydMax(NamedTuple):
    """A quantizer for a distribution of mean 0 and variance 1."""

    levels: Array
    """float64 [2^bits], in ascending order: what a value is replaced by."""
    thresholds: Array
    """float64 [2^bits − 1]: half-way between neighbouring levels."""
    mse: float
    """The mean squared error, which is also one part of the variance."""
    entropy: float
    """Bits per value that an ideal code for the levels takes."""


class _Cell(NamedTuple):
    """The part of a density on a ≤ x < b: ∫p, ∫xp, and p at both ends."""

    mass: float
    first: float
    low: float
    high: float


def _gauss(a: float, b: float) -> _Cell:
    """φ(x) = exp(−x²/2)/√(2π), whose tail is erfc(x/√2)/2, for 0 ≤ a < b."""
    low, high = (math.exp(-t * t / 2) / _SQRT_2PI for t in (a, b))
    return _Cell((math.erfc(a / _SQRT2) - math.erfc(b / _SQRT2)) / 2, low - high, low, high)


def _laplace(a: float, b: float) -> _Cell:
    """exp(−√2·x)/√2, whose tail is exp(−√2·x)/2, for 0 ≤ a < b."""
    tails = [math.exp(-_SQRT2 * t) / 2 for t in (a, b)]
    moments = [(t + 1 / _SQRT2) * p if p else 0.0 for t, p in zip((a, b), tails, strict=True)]
    return _Cell(tails[0] - tails[1], moments[0] - moments[1], _SQRT2 * tails[0], _SQRT2 * tails[1])


_CELLS: dict[str, Callable[[float, float], _Cell]] = {"gauss": _gauss, "laplace": _laplace}


def lloyd_max(distribution: str, bits: int) -> LloydMax:
    """The 2^bits levels (1 … 8 bits) with the least mean squared error.

    `distribution` is "gauss" or "laplace", both of variance 1. Each level is the mean of its cell,
    each threshold half-way between two levels (Max 1960, Lloyd 1982). Both densities are
    log-concave, so that there is one such quantizer; Newton's method finds it. The result passes
    through exp, log and erfc of the C library and through LAPACK: it is not promised bit for bit,
    and other machines may give other last digits.

    >>> import bitmill as bm
    >>> q = bm.lloyd_max("gauss", 2)
    >>> q.levels.round(4), q.thresholds.round(4), round(q.mse, 6)
    (array([-1.5104, -0.4528,  0.4528,  1.5104]), array([-0.9816,  0.    ,  0.9816]), 0.117482)
    """
    distribution = _check.choice(distribution, "distribution", tuple(_CELLS))
    half = 1 << (_check.integer(bits, "bits", low=1, high=8) - 1)
    cell = _CELLS[distribution]
    levels = _start(distribution, half)
    for _ in range(100):
        step = _newton_step(cell, levels)
        while not _ascending(levels + step):
            step = step / 2
        levels = levels + step
        if np.abs(step).max() < 1e-15 * levels[-1]:
            break
    cells = _cells(cell, levels)
    mass = np.array([c.mass for c in cells])
    # ∫(x − y)²p = ∫x²p − y·∫xp where y is the mean.
    mse = 1 - 2 * math.fsum(y * c.first for y, c in zip(levels, cells, strict=True))
    entropy = -2 * math.fsum(m * math.log2(m) for m in mass)
    every = np.concatenate([-levels[::-1], levels])
    return LloydMax(every, (every[1:] + every[:-1]) / 2, mse, entropy)


def _start(distribution: str, half: int) -> Array:
    """Positive levels at the quantiles of p^(1/3), by which many levels are best spread."""
    shares = (np.arange(half) + 0.5) / half
    if distribution == "laplace":
        return -3 / _SQRT2 * np.log1p(-shares)
    cube_root = NormalDist(0, math.sqrt(3))
    return np.array([cube_root.inv_cdf(0.5 + share / 2) for share in shares])


def _ascending(levels: Array) -> bool:
    return bool(levels[0] > 0 and (np.diff(levels) > 0).all())


def _cells(cell: Callable[[float, float], _Cell], levels: Array) -> list[_Cell]:
    """The cells of positive levels, from 0 on."""
    ends = [0.0, *((levels[1:] + levels[:-1]) / 2).tolist(), math.inf]
    return [cell(a, b) for a, b in pairwise(ends)]


def _newton_step(cell: Callable[[float, float], _Cell], levels: Array) -> Array:
    """What Newton's method adds to the levels, whose equations are level = mean of its cell.

    A mean moves with the ends of its cell, each of which moves half as far as the levels beside it:
    d mean/d low = p(low)·(mean − low)/mass, d mean/d high = p(high)·(high − mean)/mass.
    """
    count = len(levels)
    ends = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [math.inf]])
    error, slopes = np.empty(count), np.eye(count)
    for i, c in enumerate(_cells(cell, levels)):
        mean = c.first / c.mass
        error[i] = mean - levels[i]
        if i > 0:
            by_low = c.low * (mean - ends[i]) / c.mass / 2
            slopes[i, i - 1] -= by_low
            slopes[i, i] -= by_low
        if i < count - 1:
            by_high = c.high * (ends[i + 1] - mean) / c.mass / 2
            slopes[i, i] -= by_high
            slopes[i, i + 1] -= by_high
    step: Array = np.linalg.solve(slopes, error)
    return step
