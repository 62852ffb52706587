# SPDX-License-Identifier: MIT
"""What to add to scales and offsets so that outputs come nearest to others: least squares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bitmill._dtypes import Array
from bitmill.post_training.capture import Tokens
from bitmill.post_training.parameters import Parameters, group_size
from bitmill.qtensor import QTensor

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Pulls towards the scales that there were, as shares of the curvature along each."""

_TOKENS = 1024  # that are float64 at a time
_BYTES = 1 << 27  # of equations at a time


class Moments(NamedTuple):
    """Sums over tokens, float64, of inputs x and errors y − ŷ, both less their means."""

    of_x: Array
    """Σ x·xᵀ, [K, K]."""
    left: Array
    """Σ (y − ŷ)·xᵀ, [N, K]."""
    floor: float
    """Σ x² of the median input, means and all: of groups with less, texts to come may have more."""


def moments_of(weights: Array, tokens: Tokens) -> Moments:
    """Of weights [N, K] as they are."""
    mean = tokens.x.mean(axis=0, dtype=np.float64)
    rows, columns = weights.shape
    of_x, left, squares = np.zeros((columns, columns)), np.zeros((rows, columns)), np.zeros(columns)
    for start in range(0, len(tokens.x), _TOKENS):
        x, y = (each[start : start + _TOKENS] for each in tokens)
        lost = y - x @ weights.T
        centred = x - mean
        of_x += centred.T @ centred
        left += lost.T @ centred  # the mean of errors meets Σ x = 0
        squares += np.square(x, dtype=np.float64).sum(axis=0)
    some = squares[squares > 0]
    return Moments(of_x, left, float(np.median(some)) if len(some) else 0.0)


def solved(q: QTensor, factors: Parameters, moments: Moments) -> list[list[Array]]:
    """By ridge, then by factor: what to add to each parameter, [N, groups]."""
    starts = np.arange(0, q.shape[1], group_size(q))
    count = len(starts) * len(factors)
    step = max(1, _BYTES // (8 * count * count))
    parts = []
    for start in range(0, q.shape[0], step):
        rows = slice(start, start + step)
        some = [each[rows] for each in factors.values()]
        parts.append(_solved_rows(some, starts, moments.left[rows], moments))
    whole = np.concatenate(parts, axis=1)  # [ridges, N, factors·groups]
    return [np.split(one, len(factors), axis=1) for one in whole]


def _solved_rows(factors: list[Array], starts: Array, left: Array, moments: Moments) -> Array:
    """[ridges, rows, factors·groups] for some rows."""
    wanted = _by_group(factors, [left] * len(factors), starts)
    curves = _curves(factors, starts, moments.of_x)
    floor = moments.floor * _by_group(factors, factors, starts)
    return np.stack(
        [np.linalg.solve(each, wanted[..., np.newaxis])[..., 0] for each in ridged(curves, floor)]
    )


def ridged(curves: Array, floor: Array | float) -> Iterator[Array]:
    """Equations [..., P, P] with each ridge added to the diagonal, in place, one after the other.

    A ridge is a share of the curvature of a parameter, or of `floor` [..., P] if that is more.
    """
    diagonal = np.einsum("...pp->...p", curves)  # a view
    pull = np.maximum(diagonal, floor)
    pull[pull == 0] = 1.0  # of a parameter whose inputs, or weights, are 0
    pulled = 0.0
    for ridge in RIDGES:
        diagonal += (ridge - pulled) * pull
        pulled = ridge
        yield curves


def _curves(factors: list[Array], starts: Array, of_x: Array) -> Array:
    """The normal equations of each row: [rows, factors·groups, factors·groups]."""
    count = len(factors) * len(starts)
    curves = np.empty((len(factors[0]), count, count))
    at = 0
    for f in factors:
        for start, end in zip(starts, [*starts[1:], len(of_x)], strict=True):
            projected = f[:, start:end] @ of_x[start:end]
            curves[:, at] = _by_group(factors, [projected] * len(factors), starts)
            at += 1
    return curves


def _by_group(factors: list[Array], others: list[Array], starts: Array) -> Array:
    """Σ factor·other over each group, for each factor and its other: [rows, factors·groups]."""
    sums = [np.add.reduceat(f * o, starts, axis=1) for f, o in zip(factors, others, strict=True)]
    return np.concatenate(sums, axis=1)
