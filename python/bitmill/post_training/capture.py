# SPDX-License-Identifier: MIT
"""What the layers of a network see: once in floats, then with the layers before them quantized."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array
from bitmill.metrics import metrics
from bitmill.post_training.float_layer import FloatLayer

Linear = Callable[[str, Any], Array]
"""linear(name, x) gives the outputs of a layer."""
Run = Callable[[Linear], object]
"""Runs the network on all calibration data, with `linear` for its linear layers."""
Layer = Callable[[Any], Array]


class Tokens(NamedTuple):
    """Inputs of a layer [T, K], and the outputs that are wanted [T, N]; float32."""

    x: Array
    y: Array


Fit = Callable[[str, list[Tokens]], Layer]
"""fit(name, calls) quantizes a layer, by its inputs and float outputs in each call."""

_SAME_DB = 60.0
"""From here on outputs are the same but for the order of additions."""


def run_of(calibration: Any) -> Run:
    """Calibration as a callable that runs layers.

    Raises TypeError for what is neither callable, nor a mapping {name: x}, nor an iterable of such,
    nor a callable without arguments that returns one of them.
    """
    if callable(calibration) and _takes_one(calibration):

        def run(linear: Linear) -> None:
            made = calibration(linear)
            if isinstance(made, Iterator):  # a function that yields runs as it is asked for more
                for _ in made:
                    pass

        return run
    named = _joined(calibration() if callable(calibration) else calibration)

    def run_named(linear: Linear) -> None:
        for name, x in named.items():
            linear(name, x)

    return run_named


def _takes_one(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # it has no signature to look at
        return True
    return True


def _joined(batches: Any) -> dict[str, Array]:
    """Activations by name, those of all batches as rows of one array."""
    if isinstance(batches, Mapping):
        batches = [batches]
    parts: dict[str, list[Array]] = {}
    for batch in batches if isinstance(batches, Iterable) else [batches]:
        if not isinstance(batch, Mapping):
            raise TypeError(
                f"calibration has a {type(batch).__name__}; wanted {{name: activations}}, batches "
                "of these, or a callable that runs the network"
            )
        for name, x in batch.items():
            with naming(name):
                parts.setdefault(name, []).append(_rows(x))
    return {name: np.concatenate(some) for name, some in parts.items()}


def quantize_in_order(
    floats: Mapping[str, FloatLayer], names: set[str], run: Run, fit: Fit
) -> None:
    """Quantize layers in the order in which the network calls them, each by what it sees then.

    `floats` are all layers, `names` those to quantize. The network runs once in floats. Then it
    runs with the layers that are quantized already, and the next one is quantized by its inputs
    once it got them all: if each layer is called once, all are done in one run, else in one each.
    """
    outputs = _float_outputs(floats, names, run)
    counts = {name: len(calls) for name, calls in outputs.items()}
    done: dict[str, Layer] = {}
    while outputs:
        now = _Pass(floats, outputs, done, fit)
        run(now)
        for name, count in counts.items():
            if now.calls[name] != count:
                raise ValueError(
                    f"calibration called layer {name!r} {count} times at first, and "
                    f"{now.calls[name]} now: it must give the same each time"
                )


def _float_outputs(
    floats: Mapping[str, FloatLayer], names: set[str], run: Run
) -> dict[str, list[Array]]:
    """The outputs of each call of layers `names`, in the order of their first calls."""
    found: dict[str, list[Array]] = {}

    def linear(name: str, x: Any) -> Array:
        with naming(name):
            y = _known(floats, name)(x)
        if name in names:
            found.setdefault(name, []).append(_rows(y))
        return y

    run(linear)
    missing = sorted(names - found.keys())
    if missing:
        raise ValueError(f"calibration has nothing for {', '.join(map(repr, missing))}")
    return found


class _Pass:
    """A run of the network with layers that are `done`; it does more of them as their turn comes.

    `outputs` holds the float outputs of those that are not done, the next one first.
    """

    def __init__(
        self,
        floats: Mapping[str, FloatLayer],
        outputs: dict[str, list[Array]],
        done: dict[str, Layer],
        fit: Fit,
    ) -> None:
        self._floats, self._outputs, self._done, self._fit = floats, outputs, done, fit
        self._next: str | None = next(iter(outputs))
        self._inputs: list[Array] = []
        self.calls: Counter[str] = Counter()

    def __call__(self, name: str, x: Any) -> Array:
        with naming(name):
            self.calls[name] += 1
            if name == self._next:
                self._inputs.append(_rows(x))
                if len(self._inputs) == len(self._outputs[name]):
                    self._quantize(name)
            return self._done.get(name, _known(self._floats, name))(x)

    def _quantize(self, name: str) -> None:
        wanted = self._outputs.pop(name)
        calls = [Tokens(x, y) for x, y in zip(self._inputs, wanted, strict=True)]
        self._check(name, calls)
        self._done[name] = self._fit(name, calls)
        self._inputs = []
        # What came before the last of several calls went through the float layer: what others see
        # in this run is neither here nor there. So is what one saw before it was its turn.
        after = next(iter(self._outputs), None)
        self._next = None if len(calls) > 1 or self.calls[after or ""] else after

    def _check(self, name: str, calls: list[Tokens]) -> None:
        """Raise unless these inputs are of the tokens that the outputs are of."""
        for x, y in calls:
            same = len(x) == len(y)
            if same and not self._done:  # nothing before it is quantized
                same = metrics(y, self._floats[name](x)).sqnr_db >= _SAME_DB
            if not same:
                raise ValueError(
                    f"calibration gave {len(y)} tokens at first, and {len(x)} others now: it must "
                    "give the same each time, in the same order"
                )


def _known(floats: Mapping[str, FloatLayer], name: str) -> FloatLayer:
    if name not in floats:
        raise ValueError(f"calibration calls a layer {name!r}, which layers has not")
    return floats[name]


def _rows(x: Any) -> Array:
    """Activations [..., K] as float32 rows that are no views of what the network may reuse."""
    values = kernels.to_float32(_check.array(x))
    return np.array(values.reshape(math.prod(values.shape[:-1]), values.shape[-1]))


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Adds to errors the layer that they are about."""
    try:
        yield
    except Exception as error:
        note = f"in layer {name!r}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        raise
