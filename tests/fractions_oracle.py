# SPDX-License-Identifier: MIT
"""The least squared error of a small group over all real scales, in rational arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from bitmill._dtypes import Array

HALF = Fraction(1, 2)


class Optimum(NamedTuple):
    """The least error, and the scale that has it."""

    error: Fraction
    scale: Fraction


class Group:
    """Values and weights of a group as fractions."""

    def __init__(self, x: Array, w: Array | None) -> None:
        self.x = [Fraction(float(v)) for v in x]
        weights = np.ones(len(x)) if w is None or not (w * x).any() else w
        self.w = [Fraction(float(v)) for v in weights]
        self.power = sum(w * x * x for w, x in zip(self.w, self.x, strict=True))

    def optimum(self, lo: int, hi: int) -> Optimum:
        """The best of all cells of 1/scale in which codes do not change, over positive scales."""
        best = Optimum(Fraction(self.power), Fraction(1))
        for u in self._cells(lo, hi):
            q = [min(max(round(x * u), lo), hi) for x in self.x]
            products = sum(w * x * k for w, x, k in zip(self.w, self.x, q, strict=True))
            squares = Fraction(sum(w * k * k for w, k in zip(self.w, q, strict=True)))
            if squares and self.power - products * products / squares < best.error:
                best = Optimum(self.power - products * products / squares, products / squares)
        return best

    def _cells(self, lo: int, hi: int) -> Iterator[Fraction]:
        """A value of 1/scale within each cell but the first, where all codes are 0."""
        caps = [(abs(x), hi if x > 0 else -lo) for x in self.x]
        ends = sorted({(k + HALF) / size for size, cap in caps if size for k in range(cap)})
        for i, end in enumerate(ends):
            yield (end + (ends[i + 1] if i + 1 < len(ends) else 2 * end)) / 2

    def _codes(self, scale: float, lo: int, hi: int) -> list[int]:
        return [min(max(round(x / Fraction(scale)), lo), hi) for x in self.x]

    def squares(self, scale: float, lo: int, hi: int) -> Fraction:
        """Σwq² of the nearest codes."""
        q = self._codes(scale, lo, hi)
        return Fraction(sum(w * k * k for w, k in zip(self.w, q, strict=True)))

    def error(self, scale: float, lo: int, hi: int) -> Fraction:
        """Σw·(x − scale·q)² of the nearest codes."""
        q, s = self._codes(scale, lo, hi), Fraction(scale)
        terms = (w * (x - s * k) ** 2 for w, x, k in zip(self.w, self.x, q, strict=True))
        return Fraction(sum(terms))
