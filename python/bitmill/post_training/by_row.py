# SPDX-License-Identifier: MIT
"""The best of several layers for each output row, on tokens that nothing was fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from bitmill._dtypes import Array
from bitmill.post_training.capture import Tokens
from bitmill.post_training.float_layer import FloatLayer

L = TypeVar("L")
Floats = Callable[[L], FloatLayer]
"""A layer as its outputs are measured."""
Mixed = Callable[[L, L, Array], L]
"""mixed(old, new, rows): rows of the new layer where `rows`, bool [N], of the old one elsewhere."""


def best_by_row(
    first: L, others: Iterable[L], floats: Floats[L], mixed: Mixed[L], unseen: Tokens
) -> L:
    """`first`, with the rows of others whose squared error on `unseen` tokens is less."""
    best = first
    with np.errstate(over="ignore", invalid="ignore"):  # rows of which this is true stay
        least = _errors(floats(first), unseen)
        for made in others:
            error = _errors(floats(made), unseen)
            better = error < least
            if better.any():
                least, best = np.where(better, error, least), mixed(best, made, better)
    return best


def bias_of(weight: Array, tokens: Tokens) -> Array:
    """What makes the mean outputs right, float32 [N]."""
    mean_x, mean_y = (each.mean(axis=0, dtype=np.float64) for each in tokens)
    bias: Array = mean_y - weight.astype(np.float64) @ mean_x
    return bias.astype(np.float32)


def mixed_bias(old: Array | None, new: Array | None, rows: Array) -> Array:
    """The new biases for some rows; no bias is 0."""
    zeros = np.zeros(len(rows), np.float32)
    mixed: Array = np.where(rows, zeros if new is None else new, zeros if old is None else old)
    return mixed


def _errors(layer: FloatLayer, tokens: Tokens) -> Array:
    """Squared errors of each row, summed over tokens, float64."""
    sums: Array = np.square(layer(tokens.x) - tokens.y, dtype=np.float64).sum(axis=0)
    return sums
