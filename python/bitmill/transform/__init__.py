# SPDX-License-Identifier: MIT
"""Transformations of a layer that leave its float output as it is, and make it easier to quantize.

What is hard to represent is moved: from activations into weights (`smooth`), from all columns to
the few that hold outliers (`SplitLinear`), from single entries to all of them (`Hadamard`).
"""

from bitmill.transform.columns import ColumnSplit, SplitLinear, split_columns
from bitmill.transform.fold import Folded, fold_into_linear, fold_into_norm
from bitmill.transform.rotation import Hadamard
from bitmill.transform.smoothing import smooth, smooth_scales

__all__ = [
    "ColumnSplit",
    "Folded",
    "Hadamard",
    "SplitLinear",
    "fold_into_linear",
    "fold_into_norm",
    "smooth",
    "smooth_scales",
    "split_columns",
]
