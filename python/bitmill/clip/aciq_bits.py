# SPDX-License-Identifier: MIT
"""Bits for each channel out of a common quota of bins."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array

_LEAST, _MOST = 1, 8


def aciq_bits(alphas: Any, bits: int) -> Array:
    """Widths of n channels with ranges ±alphas that share n · 2^bits bins: int64 [n], 1 to 8.

    The noise Σ alphas² / 4^widths is least where a channel's bins go as alphas^(2/3) (Banner et
    al., arXiv:1810.05723). Widths are integers, so channels begin at 1 bit, and the one that has
    fewest bins for its range (the largest alphas^(2/3) / 2^width, the first among equals) gets
    another bit, as long as that fits into the quota, which is never exceeded. Equal ranges all get
    `bits`; a range of 0 stays at 1. The quota is one of bins, not of bits: the mean width is at
    most `bits`.

    `alphas` are float, finite and at least 0. Raises TypeError for another dtype, ValueError for
    other values, for more than one dimension, and for `bits` beyond 1 to 8.

    >>> aciq_bits(np.array([1.0, 1.0, 1.0, 1.0]), 4).tolist()
    [4, 4, 4, 4]
    >>> aciq_bits(np.array([8.0, 1.0, 1.0, 0.0]), 4).tolist()
    [5, 4, 3, 1]
    """
    bits = _check.integer(bits, "bits", low=_LEAST, high=_MOST)
    ranges = _ranges(alphas)
    widths = np.full(ranges.size, _LEAST, np.int64)
    left = ranges.size * ((1 << bits) - (1 << _LEAST))
    # alphas² / 8^width is the cube of what is compared: the same order, without a root.
    largest = ranges.max(initial=0)
    needs = [(-((a / largest) ** 2), k) for k, a in enumerate(ranges.tolist()) if a > 0]
    heapq.heapify(needs)
    while needs:
        need, channel = heapq.heappop(needs)
        price = 1 << int(widths[channel])  # the bins double
        if price > left:
            continue  # it never fits again: the quota only shrinks
        left -= price
        widths[channel] += 1
        if widths[channel] < _MOST:
            heapq.heappush(needs, (need / 8, channel))
    return widths


def _ranges(alphas: Any) -> Array:
    given = _check.array(alphas, "alphas").astype(np.float64)
    if given.ndim != 1:
        raise ValueError(f"alphas has shape {given.shape}; wanted one value per channel")
    wrong = np.flatnonzero(~(np.isfinite(given) & (given >= 0)))
    if wrong.size:
        at = int(wrong[0])
        raise ValueError(f"alphas[{at}] is {given[at]}; wanted finite values of at least 0")
    return given
