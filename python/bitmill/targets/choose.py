# SPDX-License-Identifier: MIT
"""Which width and which group size are nearest to those that are wanted. Of two, the larger."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from bitmill.layouts.base import whole


def nearest_width(wanted: int, supported: Iterable[int]) -> int:
    """The supported width nearest to `wanted` bits; the wider of two as near.

    >>> nearest_width(6, (4, 8)), nearest_width(5, (4, 8)), nearest_width(2, (4, 8))
    (8, 4, 4)
    """
    return min(supported, key=lambda bits: (abs(bits - wanted), -bits))


def nearest_size(wanted: int, sizes: Iterable[int]) -> int:
    """The size nearest to `wanted` by ratio; the larger of two as near.

    >>> nearest_size(128, (32, 64, 256)), nearest_size(100, (64, 128))
    (256, 128)
    """
    return min(sizes, key=lambda size: (_ratio(size, wanted), -size))


def _ratio(a: int, b: int) -> Fraction:
    return Fraction(max(a, b), max(1, min(a, b)))


def multiples_near(wanted: int, alignment: int, least: int) -> list[int]:
    """The multiples of `alignment` below and above `wanted`, or the first from `least` on.

    >>> multiples_near(100, 32, 0), multiples_near(100, 32, 300), multiples_near(10, 32, 0)
    ([96, 128], [320, 320], [32, 32])
    """
    first = max(whole(least, alignment), alignment)
    return [max(first, wanted // alignment * alignment), max(first, whole(wanted, alignment))]


def divisors(length: int, alignment: int, least: int) -> list[int]:
    """The multiples of `alignment` from `least` on that divide a row of `length`.

    >>> divisors(96, 16, 0), divisors(100, 16, 0), divisors(96, 16, 40)
    ([16, 32, 48, 96], [], [48, 96])
    """
    if length % alignment:
        return []
    steps = length // alignment
    small = [n for n in range(1, int(steps**0.5) + 1) if steps % n == 0]
    sizes = {alignment * n for part in small for n in (part, steps // part)}
    return sorted(size for size in sizes if size >= least)
