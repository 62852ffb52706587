# SPDX-License-Identifier: MIT
"""PyTorch's observers, which it has announced to move out."""

from __future__ import annotations

import numpy as np
import torch
from torch.ao.quantization import HistogramObserver

from peers import Rival
from peers.torch import array, tensor


def histogram(batches, found, bins):
    """HistogramObserver: the same range and number; the counts are spread when the range grows."""
    given = [tensor(batch) for batch in batches]

    def run():
        observer = HistogramObserver(bins)
        for batch in given:
            observer(batch)
        return observer

    def check(answer):
        assert (float(answer.min_val), float(answer.max_val)) == (found.min, found.max)
        np.testing.assert_allclose(float(answer.histogram.sum()), found.total, rtol=1e-3)

    return Rival(run, check)


def histc(batches, found, bins):
    """histc over a range that is known before; counts in float32, bins of which may lie apart by
    one."""
    given = [tensor(batch) for batch in batches]
    lo, hi = found.edges[[0, -1]]

    def run():
        return sum(torch.histc(batch, len(found.counts), lo, hi) for batch in given)

    def check(answer):
        off = np.abs(np.cumsum(array(answer).astype(np.float64)) - np.cumsum(found.counts))
        assert off.max() <= 1e-3 * found.total

    return Rival(run, check)
