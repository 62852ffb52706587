# SPDX-License-Identifier: MIT
"""Statistics of data that come in batches: they stream, merge, and become parameters."""

from bitmill.observers.base import Observer
from bitmill.observers.batch_percentile import BatchPercentile
from bitmill.observers.histogram import Histogram
from bitmill.observers.importance import Importance
from bitmill.observers.minmax import MinMax
from bitmill.observers.moments import Moments
from bitmill.observers.moving_average import MovingAverage
from bitmill.observers.written import from_dict

__all__ = [
    "BatchPercentile",
    "Histogram",
    "Importance",
    "MinMax",
    "Moments",
    "MovingAverage",
    "Observer",
    "from_dict",
]
