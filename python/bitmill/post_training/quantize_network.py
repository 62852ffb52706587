# SPDX-License-Identifier: MIT
"""A network quantized after its training, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bitmill import _check
from bitmill.post_training.capture import Tokens, naming, quantize_in_order, run_of
from bitmill.post_training.fit import fitted
from bitmill.post_training.float_layer import FloatLayer
from bitmill.post_training.layer import QuantizedLayer
from bitmill.post_training.network import QuantizedNetwork
from bitmill.post_training.policy import Policy, by_layer
from bitmill.post_training.report import LayerReport
from bitmill.transform.values import matrix, vector


def ptq(
    layers: Mapping[str, Any],
    calibration: Any,
    policy: Policy | Mapping[str, Policy] | None = None,
    *,
    held_out: float = 0.2,
    progress: Callable[[LayerReport], object] | None = None,
) -> QuantizedNetwork:
    """Quantize the linear layers of a network, by what they see, and tell what each step did.

    Parameters
    ----------
    layers
        {name: weight [N, K]}, or {name: (weight, bias [N] or None)}.
    calibration
        A callable that runs the network on some data, with `linear(name, x)` in place of its linear
        layers: `def run(linear): ...`. It is called with float layers first, then with those that
        are quantized already: each layer is fitted to its inputs as the quantized layers before it
        leave them, and to its outputs in the float network. A run that takes each layer once, with
        all data at a time, is made twice in all; one that goes through batches, once for each
        layer. It must give the same each time.
        Or activations, {name: x [..., K]}, or an iterable of these as batches: then each layer
        sees what it saw in floats.
    policy
        A `Policy` for all layers, or {pattern: Policy}: a name, "re:" and a regex that matches from
        its start, or "Linear" for all. The first that matches decides; layers without one stay
        float32.
    held_out
        The share of tokens, the last of each call, on which steps are measured and chosen.
    progress
        Called with the report of each layer as it is done.

    The float outputs of all layers are held in memory, 4·T·ΣN bytes, and the inputs of one; a refit
    takes some 16·K·(K + N) bytes more. Products of floats go through the BLAS of NumPy, whose order
    of additions is its own.

    Raises TypeError and ValueError, with the layer in a note, for arguments that are none of these,
    layers that calibration does not call, NaN and infinity.

    >>> import bitmill as bm, numpy as np
    >>> rng = np.random.default_rng(0)
    >>> up, down = rng.standard_normal((2, 64, 64), np.float32) / 8
    >>> x = rng.standard_normal((200, 64), np.float32)
    >>> def run(linear):
    ...     return linear("down", np.maximum(linear("up", x), 0))
    >>> policy = bm.post_training.Policy(bm.Affine(4, group_size=32), refit=True)
    >>> network = bm.ptq({"up": up, "down": down}, run, policy)
    >>> [step.name for step in network.report["down"].steps]
    ['inputs', 'weights', 'activations', 'refit']
    >>> run(network.linear).shape
    (200, 64)
    """
    share = _check.between(held_out, "held_out", 0, 1)
    floats = _float_layers(layers)
    policies = by_layer(Policy() if policy is None else policy, floats)
    network = QuantizedNetwork(floats)

    def fit(name: str, calls: list[Tokens]) -> QuantizedLayer:
        done = fitted(floats[name], policies[name], calls, share)
        report = network.add(name, *done)
        if progress is not None:
            progress(report)
        return done.layer

    if policies:
        quantize_in_order(floats, set(policies), run_of(calibration), fit)
    return network


def _float_layers(layers: Any) -> dict[str, FloatLayer]:
    if not isinstance(layers, Mapping):
        raise TypeError(f"layers is a {type(layers).__name__}; wanted {{name: (weight, bias)}}")
    made = {}
    for name, given in layers.items():
        if not isinstance(name, str):
            raise TypeError(f"layers has a name {name!r}; wanted a string")
        with naming(name):
            weight, bias = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
            w = matrix(weight, "weight")
            made[name] = FloatLayer(w, None if bias is None else vector(bias, "bias", len(w)))
    return made
