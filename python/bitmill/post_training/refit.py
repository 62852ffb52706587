# SPDX-License-Identifier: MIT
"""Scales and bias of a quantized layer, by least squares against the outputs of the float one.

This is the layer-wise distillation of ZeroQuant (arXiv:2206.01861) in closed form: codes stay, so
outputs are linear in scales, offsets and bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from bitmill._dtypes import Array
from bitmill._floats import default_floats
from bitmill.post_training.parameters import (
    Parameters,
    factors_of,
    group_size,
    parameters_of,
    with_parameters,
)
from bitmill.qtensor import QTensor
from bitmill.transform.values import matrix, vector

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Pulls towards the scales that there were, as shares of the curvature along each."""

_TOKENS, _ROWS = 4096, 256  # that are float64 at a time; whose equations are held at a time


class Refitted(NamedTuple):
    """What takes the place of a layer's weights and bias."""

    weights: QTensor
    bias: Array | None
    kept: Array
    """Rows that took the fit, bool [N]; the others are as they were."""


class Tokens(NamedTuple):
    """Inputs of a layer [T, K], and the outputs that are wanted [T, N]; float32."""

    x: Array
    y: Array


@default_floats()
def refit(q: QTensor, bias: Any, fit: tuple[Any, Any], held_out: tuple[Any, Any]) -> Refitted:
    """The scales s, offsets m and bias b of `q` that come nearest to the outputs of a float layer.

        minimize over s, m, b of each row n:  Σ_t (Σ_g s_g·φ_g(t) + Σ_g m_g·ψ_g(t) + b − y_n(t))²
        φ_g(t) = Σ_{k in g} u_k·x_k(t),   ψ_g(t) = Σ_{k in g} x_k(t)

    u are the codes of row n less zero-points, or values of a table. `q` is [N, K], and `bias` [N]
    or None that of the layer so far. `fit` and `held_out` are pairs (x, y) of different tokens:
    x [T, K] is what the layer multiplies, activations as quantization leaves them; y [T, N] what
    the float layer gives for the same tokens, in the float network.

    The normal equations are float64, with a ridge that pulls towards the scales that there were:
    that of `RIDGES` which is best on `held_out`. A row keeps its fit only where its squared error
    on those falls; a scale that would change its sign, or leave its dtype, stays. Scales and
    offsets are rounded to their dtype before the bias is found.

    Two-level scales are found as floats, then stored as their nearest codes. Schemes that have no
    scale for each row or group, or none that is a float, get the bias alone. Products go through
    the BLAS of NumPy, whose order of additions is its own.

    Raises TypeError for other dtypes, ValueError for shapes that do not fit, NaN and infinity.

    >>> import bitmill as bm
    >>> rng = np.random.default_rng(0)
    >>> w, x = rng.standard_normal((4, 32), np.float32), rng.standard_normal((400, 32), np.float32)
    >>> q, y = bm.quantize(w, bm.Affine(3)), x @ w.T
    >>> made = refit(q, None, (x[:300], y[:300]), (x[300:], y[300:]))
    >>> error = [np.square(x @ np.asarray(each).T - y).sum() for each in (q, made.weights)]
    >>> bool(error[1] < error[0]), made.kept
    (True, array([False,  True, False,  True]))
    """
    seen, unseen = _tokens(fit, q, "fit"), _tokens(held_out, q, "held_out")
    given = None if bias is None else vector(bias, "bias", q.shape[0])
    best = Refitted(q, given, np.zeros(q.shape[0], bool))
    before = least = _errors(q, given, unseen)
    moments = _moments(seen)
    for weights in _candidates(q, moments):
        bias = _bias(weights, moments)
        after = _errors(weights, bias, unseen)
        kept = after < before
        after = np.where(kept, after, before)
        if after.sum() < least.sum():
            least, best = after, _mixed(Refitted(q, given, ~kept), Refitted(weights, bias, kept))
    return best


def _tokens(given: tuple[Any, Any], q: QTensor, name: str) -> Tokens:
    x, y = (matrix(each, f"{what} of {name}") for each, what in zip(given, "xy", strict=True))
    rows, columns = q.shape
    if x.shape[1] != columns or y.shape != (len(x), rows) or not len(x):
        raise ValueError(
            f"{name} has x {x.shape} and y {y.shape}; wanted [T, {columns}] and [T, {rows}] of at "
            "least one token"
        )
    return Tokens(x, y)


def _errors(q: QTensor, bias: Array | None, tokens: Tokens) -> Array:
    """Squared errors of each row, summed over tokens, float64."""
    lost = tokens.x @ q.dequantize().T - tokens.y
    if bias is not None:
        lost += bias
    sums: Array = np.square(lost, dtype=np.float64).sum(axis=0)
    return sums


def _bias(q: QTensor, moments: Moments) -> Array:
    """What makes the mean outputs right."""
    bias: Array = moments.mean_y - q.dequantize().astype(np.float64) @ moments.mean_x
    return bias.astype(np.float32)


def _candidates(q: QTensor, moments: Moments) -> Iterator[QTensor]:
    """Weights as they are, for the bias alone, and by each ridge."""
    yield q
    held = parameters_of(q)
    if held is None:
        return
    for changes in _solved(q, factors_of(q, held), moments):
        moved = {name: held[name] + change for name, change in zip(held, changes, strict=True)}
        yield with_parameters(q, moved)


def _mixed(old: Refitted, new: Refitted) -> Refitted:
    """The new weights and bias for rows that are kept, the old for all others."""
    rows = new.kept[:, np.newaxis]
    arrays = dict(old.weights.arrays)
    for name, array in new.weights.arrays.items():
        if array is not arrays[name]:  # parameters, a row for each row of weights
            arrays[name] = np.where(rows, array, arrays[name])
    assert new.bias is not None
    bias = np.where(new.kept, new.bias, np.float32(0) if old.bias is None else old.bias)
    return Refitted(replace(old.weights, arrays=arrays), bias, new.kept)


class Moments(NamedTuple):
    """Means of inputs x and outputs y; of both less their means, sums over tokens; float64."""

    mean_x: Array
    mean_y: Array
    of_x: Array
    """Σ x·xᵀ, [K, K]."""
    of_both: Array
    """Σ y·xᵀ, [N, K]."""


def _moments(tokens: Tokens) -> Moments:
    mean_x, mean_y = (each.mean(axis=0, dtype=np.float64) for each in tokens)
    of_x = np.zeros((len(mean_x), len(mean_x)))
    of_both = np.zeros((len(mean_y), len(mean_x)))
    for start in range(0, len(tokens.x), _TOKENS):
        part = slice(start, start + _TOKENS)
        x, y = tokens.x[part] - mean_x, tokens.y[part] - mean_y
        of_x += x.T @ x
        of_both += y.T @ x
    return Moments(mean_x, mean_y, of_x, of_both)


def _solved(q: QTensor, factors: Parameters, moments: Moments) -> list[list[Array]]:
    """By ridge, then by feature: what to add to each array, [N, groups]."""
    starts = np.arange(0, q.shape[1], group_size(q))
    left = moments.of_both - q.dequantize().astype(np.float64) @ moments.of_x
    parts = []
    for start in range(0, q.shape[0], _ROWS):
        rows = slice(start, start + _ROWS)
        some = [each[rows] for each in factors.values()]
        parts.append(_solved_rows(some, starts, left[rows], moments.of_x))
    whole = np.concatenate(parts, axis=1)  # [ridges, N, features·groups]
    return [np.split(one, len(factors), axis=1) for one in whole]


def _solved_rows(features: list[Array], starts: Array, left: Array, of_x: Array) -> Array:
    """[ridges, rows, features·groups] for some rows; `left` is Σ (y − ŷ)·xᵀ."""
    wanted = np.concatenate([np.add.reduceat(f * left, starts, axis=1) for f in features], axis=1)
    curves = np.stack(
        [
            _products(f[:, start:end] @ of_x[start:end], features, starts)
            for f in features
            for start, end in zip(starts, [*starts[1:], of_x.shape[0]], strict=True)
        ],
        axis=1,
    )
    diagonal = np.einsum("npp->np", curves)
    diagonal = np.where(diagonal > 0, diagonal, 1.0)  # of a group whose inputs are constant
    unit = np.eye(diagonal.shape[1])
    return np.stack(
        [
            np.linalg.solve(
                curves + ridge * diagonal[:, np.newaxis] * unit, wanted[..., np.newaxis]
            )
            for ridge in RIDGES
        ]
    )[..., 0]


def _products(projected: Array, features: list[Array], starts: Array) -> Array:
    """Of one parameter of each row, projected on all columns, and all parameters of the row."""
    return np.concatenate(
        [np.add.reduceat(projected * f, starts, axis=1) for f in features], axis=1
    )
