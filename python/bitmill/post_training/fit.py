# SPDX-License-Identifier: MIT
"""One layer, quantized step by step, and what each step did to its outputs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitmill._dtypes import Array
from bitmill._floats import default_floats
from bitmill.calibrate import calibrate
from bitmill.integer.activations import Activations
from bitmill.metrics import metrics
from bitmill.post_training.capture import Tokens
from bitmill.post_training.compensate import compensated
from bitmill.post_training.dequantized import restored
from bitmill.post_training.float_layer import FloatLayer
from bitmill.post_training.layer import QuantizedLayer
from bitmill.post_training.moved import Moved
from bitmill.post_training.policy import Policy
from bitmill.post_training.refitting import refit
from bitmill.post_training.report import Step
from bitmill.qparams import QParams
from bitmill.quantize import quantize
from bitmill.schemes import Affine

_NO_LOSS_DB = 100.0
"""From here on only the order of additions differs."""


class Fitted(NamedTuple):
    """A layer, and what its outputs were after each step to it."""

    layer: QuantizedLayer
    steps: list[Step]


@default_floats()
def fitted(floats: FloatLayer, policy: Policy, calls: list[Tokens], held_out: float) -> Fitted:
    """The layer `floats` by `policy`: rounded, transformed, refitted.

    `calls` are what the layer sees, and what it gave in the float network. A share `held_out` of
    tokens, the last of each call, is what steps are measured on, and nothing is fitted to.
    """
    return _Work(floats, policy, *_parted(calls, held_out)).run()


def _parted(calls: list[Tokens], held_out: float) -> tuple[Tokens, Tokens]:
    """The tokens to fit to, and those that are held out; at least one of each."""
    ends = np.cumsum([len(call.x) for call in calls])
    count = int(ends[-1])
    if count < 2:
        raise ValueError(f"calibration has {count} tokens; wanted at least 2, to hold one out")
    is_held = np.zeros(count, bool)
    begin = 0
    for end in ends:  # of calls with a few tokens, some have none to hold out
        wanted = round(float(end * held_out)) - int(is_held.sum())
        is_held[max(begin, end - max(0, wanted)) : end] = True
        begin = end
    is_held[-1] |= not is_held.any()
    is_held[0] &= not is_held.all()
    x, y = (np.concatenate(parts) for parts in zip(*calls, strict=True))
    return Tokens(x[~is_held], y[~is_held]), Tokens(x[is_held], y[is_held])


class _Work:
    """A layer on its way: the best so far, and the steps."""

    def __init__(self, floats: FloatLayer, policy: Policy, seen: Tokens, unseen: Tokens) -> None:
        self.floats, self.policy, self.seen, self.unseen = floats, policy, seen, unseen
        self.bias = floats.bias
        self.steps: list[Step] = []

    def run(self) -> Fitted:
        """All steps."""
        layer = self._rounded()
        layer = self._transformed(layer)
        if self.policy.refit:
            layer = self._refitted(layer)
        return Fitted(layer, self.steps)

    def _measured(self, name: str, outputs: Array, *, kept: bool = True) -> Step:
        """Outputs for held-out tokens beside those wanted, both without the bias of the layer."""
        bias = 0 if self.bias is None else self.bias
        found = metrics(self.unseen.y - bias, outputs - bias)
        return Step(name, found.sqnr_db, found.cosine, kept)

    def _rounded(self) -> QuantizedLayer:
        """Weights and activations quantized as they are."""
        as_they_come = self._measured("inputs", self.floats(self.unseen.x))
        if as_they_come.sqnr_db < _NO_LOSS_DB:
            self.steps.append(as_they_come)
            if self.policy.compensate:
                self.floats = compensated(self.floats, self.seen, self.unseen)
                self.steps.append(self._measured("compensate", self.floats(self.unseen.x)))
        layer = self._made(Moved())
        if self.policy.activations is not None:
            weights = QuantizedLayer(layer.weights, layer.bias, None, layer.moved)
            self.steps.append(self._measured("weights", weights(self.unseen.x)))
        last = "weights" if self.policy.activations is None else "activations"
        self.steps.append(self._measured(last, layer(self.unseen.x)))
        return layer

    def _transformed(self, plain: QuantizedLayer) -> QuantizedLayer:
        """The best of the plain layer and those of all transformations."""
        best, at = plain, len(self.steps) - 1
        for each in self.policy.candidates():
            moved = each.fit(self.floats.weight, self.seen.x)
            if moved is None:
                continue
            layer = self._made(moved)
            step = self._measured(each.name, layer(self.unseen.x), kept=False)
            if step.sqnr_db > self.steps[at].sqnr_db:
                best, at = layer, len(self.steps)
            self.steps.append(step)
        self.steps[at] = self.steps[at]._replace(kept=True)
        return best

    def _made(self, moved: Moved) -> QuantizedLayer:
        """The layer behind a transformation."""
        x = moved.inputs(self.seen.x)
        scheme = self.policy.weights
        importance = (
            np.square(x, dtype=np.float64).mean(axis=0) if scheme.takes_importance else None
        )
        weights = quantize(moved.weight(self.floats.weight), scheme, importance=importance)
        return QuantizedLayer(weights, self.floats.bias, self._activations(x), moved)

    def _activations(self, x: Array) -> Activations:
        """As the policy has them, or calibrated by what the layer sees."""
        given = self.policy.activations
        if not isinstance(given, Affine):
            return given
        params = calibrate([x], given)
        assert isinstance(params, QParams)  # one array has one
        return params

    def _refitted(self, layer: QuantizedLayer) -> QuantizedLayer:
        """The layer with scales and bias fitted to what is wanted, if that is better."""
        made = refit(
            layer.weights, layer.bias, *(self._met(layer, t) for t in (self.seen, self.unseen))
        )
        better = QuantizedLayer(made.weights, made.bias, layer.activations, layer.moved)
        before = next(step for step in reversed(self.steps) if step.kept)
        step = self._measured("refit", better(self.unseen.x))
        kept = step.sqnr_db > before.sqnr_db
        self.steps.append(step._replace(kept=kept))
        return better if kept else layer

    @staticmethod
    def _met(layer: QuantizedLayer, tokens: Tokens) -> Tokens:
        """What the quantized weights of a layer meet, and what their product should be."""
        beside = layer.moved.beside(tokens.x)
        y = tokens.y if beside is None else tokens.y - beside
        return Tokens(restored(layer.moved.inputs(tokens.x), layer.activations), y)
