# SPDX-License-Identifier: MIT
"""Float weights that make up for what the quantized layers before them changed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bitmill._dtypes import Array
from bitmill.post_training.by_row import best_by_row, bias_of, mixed_bias
from bitmill.post_training.capture import Tokens
from bitmill.post_training.float_layer import FloatLayer
from bitmill.post_training.least_squares import moments_of, ridged


def compensated(layer: FloatLayer, seen: Tokens, unseen: Tokens) -> FloatLayer:
    """The layer whose outputs, for inputs as they come, are nearest to those that are wanted.

        W + Δ,  Δ = argmin Σ_t ‖(W + Δ)·x(t) + b − y(t)‖² + ridge·Σ_nk d_k·Δ_nk²

    x and y are `seen` tokens less their means, d_k is the curvature Σ_t x_k(t)² of column k, or
    that of the median input if it is more. Each row takes the ridge of `RIDGES` that is best on
    `unseen` tokens, or stays as it was if that is better.
    """
    return best_by_row(layer, _fitted(layer, seen), lambda it: it, _mixed, unseen)


def _fitted(layer: FloatLayer, tokens: Tokens) -> Iterator[FloatLayer]:
    """By each ridge, with the bias that makes mean outputs right."""
    moments = moments_of(layer.weight, tokens)
    for curves in ridged(moments.of_x, moments.floor):
        change = np.linalg.solve(curves, moments.left.T).T
        weight = np.ascontiguousarray(layer.weight + change, np.float32)
        yield FloatLayer(weight, bias_of(weight, tokens))


def _mixed(old: FloatLayer, new: FloatLayer, rows: Array) -> FloatLayer:
    weight = np.where(rows[:, np.newaxis], new.weight, old.weight)
    return FloatLayer(weight, mixed_bias(old.bias, new.bias, rows))
