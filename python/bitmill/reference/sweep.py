# SPDX-License-Identifier: MIT
"""The scale of least squared error over all real scales, for codes around zero.

Codes change where |x|·u reaches k + ½, u = 1/scale. Between two such breakpoints they are constant
and the best scale for them is Σwxq / Σwq², with the error Σwx² − (Σwxq)² / Σwq². Rounding anew by
that scale can only lower the error, so the least of these over all breakpoints is the least there
is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bitmill._dtypes import Array
from bitmill.reference.sums import Values, code_sums, codes

BEYOND = 1 + 2.0**-40
"""Leads behind a breakpoint and not to the next one: two that differ do so by 2^-33 or more."""
_AT_ONCE = 1 << 20  # codes; bounds the memory of a long group


class Span(NamedTuple):
    """Codes from lo <= 0 to hi >= 0."""

    lo: int
    hi: int


class SpanScale(NamedTuple):
    """A scale for one of the spans."""

    span: int
    scale: float


def exact_scale(group: Values, spans: Sequence[Span]) -> SpanScale:
    """The best scale for the best of `spans`; of equal ones the first span and larger scale."""
    best, found = 0.0, SpanScale(0, 1.0)
    for index, (lo, hi) in enumerate(spans):
        for u in _breakpoints(group.x, lo, hi):
            sums = code_sums(group, codes(group.x, u, lo, hi))
            with np.errstate(invalid="ignore"):
                gain = np.where(sums.qq > 0, sums.xq * sums.xq / sums.qq, 0)
            top = int(gain.argmax())
            if gain[top] > best:
                best, found = gain[top], SpanScale(index, sums.xq[top] / sums.qq[top])
    return found


def _breakpoints(x: Array, lo: int, hi: int) -> Iterator[Array]:
    """1/scale just behind every change of a code, in ascending order."""
    found = [np.empty(0)]
    for values, cap in ((x[x > 0], hi), (-x[x < 0], -lo)):
        found.append(np.divide.outer(np.arange(cap) + 0.5, values).reshape(-1))
    u = np.unique(np.concatenate(found)) * BEYOND
    step = max(1, _AT_ONCE // max(1, len(x)))
    for start in range(0, len(u), step):
        yield u[start : start + step]
