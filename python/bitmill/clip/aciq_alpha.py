# SPDX-License-Identifier: MIT
"""The clip that balances clipped tails against wider steps, for Gauss and Laplace, by equations."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from bitmill import _check

DISTRIBUTIONS = ("gauss", "laplace")

_BY_PRODUCT = 2.5  # below it erfcx is a product; above it 128 terms of the fraction are exact
_TERMS = 128
_DIGITS = 10  # after the point: what exp, log and erfc of another C library change is rounded away


def aciq_alpha(bits: int, distribution: str, one_sided: bool = False) -> float:
    """The clip of ACIQ in units of σ ("gauss") or b = E|x − μ| ("laplace").

    It minimizes E[clipping²] + α² / (3 · 4^bits): what 2^bits steps over −α … α lose, were the
    noise in each of them uniform (Banner et al., "Post training 4-bit quantization of convolutional
    networks for rapid-deployment", arXiv:1810.05723). The derivative vanishes at

    * Laplace, t = α/b: t + ln t = ln 3 + bits · ln 4;
    * Gauss, t = α/σ: t·erfcx(t/√2) − √(2/π) + (t/3)·exp(t²/2 − bits · ln 4) = 0,

    in which nothing cancels up to 32 bits. With `one_sided` the steps cover 0 … α, half of a
    symmetric density: α(bits + 1). The result is rounded to 10 digits after the point.

    Raises ValueError for `bits` beyond 1 to 32 and for another `distribution`.

    >>> aciq_alpha(4, "gauss"), aciq_alpha(4, "laplace")
    (2.559136462, 5.0286401362)
    >>> aciq_alpha(4, "gauss", one_sided=True) == aciq_alpha(5, "gauss")
    True
    """
    bits = _check.integer(bits, "bits", low=1, high=32)
    _check.choice(distribution, "distribution", DISTRIBUTIONS)
    return _alpha(bits + _check.flag(one_sided, "one_sided"), distribution)


@lru_cache(maxsize=128)
def _alpha(bits: int, distribution: str) -> float:
    return round(_laplace(bits) if distribution == "laplace" else _gauss(bits), _DIGITS)


def _laplace(bits: int) -> float:
    """The root of t + ln t − c by Newton's method: concave, so it converges from the left."""
    c = math.log(3) + bits * math.log(4)
    t = c - math.log(c)
    for _ in range(8):
        t -= (t + math.log(t) - c) * t / (t + 1)
    return t


def _gauss(bits: int) -> float:
    def slope(t: float) -> float:
        steps = t / 3 * math.exp(t * t / 2 - bits * math.log(4))
        return t * erfcx(t / math.sqrt(2)) - math.sqrt(2 / math.pi) + steps

    return _bisect(slope, 1e-3, math.sqrt(2 * (bits * math.log(4) + math.log(3) + 8)))


def _bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """Where `function` turns from negative to positive, to the last bit."""
    while low < (middle := (low + high) / 2) < high:
        if function(middle) < 0:
            low = middle
        else:
            high = middle
    return low


def erfcx(x: float) -> float:
    """exp(x²)·erfc(x) for x ≥ 0, to about 1e-15 of its value.

    Of small x by the product, with x² in two parts of which the greater is exact; else by the
    continued fraction 1/√π · 1/(x + (1/2)/(x + (2/2)/(x + (3/2)/(x + …)))).

    >>> erfcx(0.0), round(erfcx(1.0), 15)
    (1.0, 0.427583576155807)
    """
    if x < _BY_PRODUCT:
        coarse = math.ldexp(round(math.ldexp(x, 20)), -20)
        return math.erfc(x) * math.exp(coarse * coarse) * math.exp((x - coarse) * (x + coarse))
    denominator = x
    for term in range(_TERMS, 0, -1):
        denominator = x + term / 2 / denominator
    return 1 / math.sqrt(math.pi) / denominator
