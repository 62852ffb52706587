# SPDX-License-Identifier: MIT
"""Float weights that make up for what the quantized layers before them changed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bitmill._dtypes import Array
from bitmill.post_training.capture import FloatLayer, Tokens
from bitmill.post_training.least_squares import RIDGES, moments_of


def compensated(layer: FloatLayer, seen: Tokens, unseen: Tokens) -> FloatLayer:
    """The layer whose outputs, for inputs as they come, are nearest to those that are wanted.

        W + Δ,  Δ = argmin Σ_t ‖(W + Δ)·x(t) + b − y(t)‖² + ridge·Σ_nk d_k·Δ_nk²

    x and y are `seen` tokens less their means, d_k is the curvature Σ_t x_k(t)² of column k, or
    that of the median input if it is more. Each row takes the ridge of `RIDGES` that is best on
    `unseen` tokens, or stays as it was if that is better.
    """
    best, least = layer, _errors(layer, unseen)
    with np.errstate(over="ignore", invalid="ignore"):  # rows of which this is true stay
        for made in _fitted(layer, seen):
            error = _errors(made, unseen)
            better = error < least
            least = np.where(better, error, least)
            best = _mixed(best, made, better)
    return best


def _fitted(layer: FloatLayer, tokens: Tokens) -> Iterator[FloatLayer]:
    """By each ridge, with the bias that makes mean outputs right."""
    moments = moments_of(layer.weight, tokens)
    mean_x, mean_y = (each.mean(axis=0, dtype=np.float64) for each in tokens)
    curves, diagonal = moments.of_x, np.einsum("kk->k", moments.of_x)  # a view
    pull = np.maximum(diagonal, moments.floor)
    pull[pull == 0] = 1.0
    pulled = 0.0
    for ridge in RIDGES:
        diagonal += (ridge - pulled) * pull
        pulled = ridge
        weight = layer.weight + np.linalg.solve(curves, moments.left.T).T
        bias = mean_y - weight @ mean_x
        yield FloatLayer(np.ascontiguousarray(weight, np.float32), bias.astype(np.float32))


def _errors(layer: FloatLayer, tokens: Tokens) -> Array:
    """Squared errors of each row, summed over tokens, float64."""
    sums: Array = np.square(layer(tokens.x) - tokens.y, dtype=np.float64).sum(axis=0)
    return sums


def _mixed(old: FloatLayer, new: FloatLayer, kept: Array) -> FloatLayer:
    """The new rows where they are kept, the old elsewhere."""
    if not kept.any():
        return old
    assert new.bias is not None
    weight = np.where(kept[:, np.newaxis], new.weight, old.weight)
    return FloatLayer(weight, np.where(kept, new.bias, 0 if old.bias is None else old.bias))
