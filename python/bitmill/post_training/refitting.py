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
from bitmill.post_training.by_row import best_by_row, bias_of, mixed_bias
from bitmill.post_training.capture import Tokens
from bitmill.post_training.float_layer import FloatLayer
from bitmill.post_training.least_squares import moments_of, solved
from bitmill.post_training.parameters import factors_of, parameters_of, with_parameters
from bitmill.qtensor import QTensor
from bitmill.transform.values import matrix, vector


class Refitted(NamedTuple):
    """What takes the place of a layer's weights and bias."""

    weights: QTensor
    bias: Array | None
    kept: Array
    """Rows that took the fit, bool [N]; the others are as they were."""


@default_floats()
def refit(q: QTensor, bias: Any, fit: tuple[Any, Any], held_out: tuple[Any, Any]) -> Refitted:
    """The scales s, offsets m and bias b of `q` that come nearest to the outputs of a float layer.

        minimize over s, m, b of each row n:  Σ_t (Σ_g s_g·φ_g(t) + Σ_g m_g·ψ_g(t) + b − y_n(t))²
        φ_g(t) = Σ_{k in g} u_k·x_k(t),   ψ_g(t) = Σ_{k in g} x_k(t)

    u are the codes of row n less zero-points, or values of a table. `q` is [N, K], and `bias` [N]
    or None that of the layer so far. `fit` and `held_out` are pairs (x, y) of different tokens:
    x [T, K] is what the layer multiplies, activations as quantization leaves them; y [T, N] what
    the float layer gives for the same tokens, in the float network.

    The normal equations are float64, with a ridge that pulls towards the scales that there were,
    and no less where the inputs of a group are small here. Each row takes the ridge that is best on
    `held_out`, or stays as it was if that is better; a scale that would change its sign, or leave
    its dtype, stays. Scales and offsets are rounded to their dtype before the bias is found.

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
    (True, array([ True,  True, False,  True]))
    """
    if not isinstance(q, QTensor) or len(q.shape) != 2:
        raise TypeError(f"q is {q!r}; wanted a QTensor of 2 dimensions")
    seen, unseen = _tokens(fit, q, "fit"), _tokens(held_out, q, "held_out")
    given = None if bias is None else vector(bias, "bias", q.shape[0])
    first = Refitted(q, given, np.zeros(q.shape[0], bool))
    return best_by_row(first, _candidates(q, seen), _floats, _mixed, unseen)


def _tokens(given: tuple[Any, Any], q: QTensor, name: str) -> Tokens:
    if not isinstance(given, tuple) or len(given) != 2:
        raise TypeError(f"{name} is {type(given).__name__}; wanted a pair: inputs, outputs")
    x, y = (matrix(each, f"{what} of {name}") for each, what in zip(given, "xy", strict=True))
    rows, columns = q.shape
    if x.shape[1] != columns or y.shape != (len(x), rows) or not len(x):
        raise ValueError(
            f"{name} has x {x.shape} and y {y.shape}; wanted [T, {columns}] and [T, {rows}] of at "
            "least one token"
        )
    return Tokens(x, y)


def _floats(made: Refitted) -> FloatLayer:
    return FloatLayer(made.weights.dequantize(), made.bias)


def _candidates(q: QTensor, tokens: Tokens) -> Iterator[Refitted]:
    """Weights as they are with the bias that they need, then those by each ridge."""

    def with_bias(weights: QTensor) -> Refitted:
        return Refitted(weights, bias_of(weights.dequantize(), tokens), np.ones(q.shape[0], bool))

    yield with_bias(q)
    held = parameters_of(q)
    if held is None:
        return
    for changes in solved(q, factors_of(q, held), moments_of(q.dequantize(), tokens)):
        moved = {name: held[name] + change for name, change in zip(held, changes, strict=True)}
        yield with_bias(with_parameters(q, moved))


def _mixed(old: Refitted, new: Refitted, rows: Array) -> Refitted:
    arrays = dict(old.weights.arrays)
    for name, array in new.weights.arrays.items():
        if array is not arrays[name]:  # parameters, a row for each row of weights
            arrays[name] = np.where(rows[:, np.newaxis], array, arrays[name])
    weights = replace(old.weights, arrays=arrays)
    return Refitted(weights, mixed_bias(old.bias, new.bias, rows), old.kept | rows)
