# SPDX-License-Identifier: MIT
"""What the layers of a network see: once in floats, then with the layers before them quantized."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array

Linear = Callable[[str, Any], Array]
"""linear(name, x) gives the outputs of a layer."""
Run = Callable[[Linear], object]
"""Runs the network on all calibration data, with `linear` for its linear layers."""
Layer = Callable[[Any], Array]
Fit = Callable[[str, Array, Array], Layer]
"""fit(name, x, y) quantizes a layer, by its inputs [T, K] and float outputs [T, N]."""


class FloatLayer:
    """x·Wᵀ + bias in float32, in the order of NumPy's BLAS."""

    def __init__(self, weight: Array, bias: Array | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Any) -> Array:
        """For x [..., K]."""
        made: Array = kernels.to_float32(_check.array(x)) @ self.weight.T
        return made if self.bias is None else made + self.bias


def run_of(calibration: Any) -> Run:
    """Calibration as a callable that runs layers.

    Raises TypeError for what is neither callable, nor a mapping {name: x}, nor an iterable of such.
    """
    if callable(calibration):
        given: Run = calibration
        return given
    named = _joined(calibration)

    def run(linear: Linear) -> None:
        for name, x in named.items():
            linear(name, x)

    return run


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
    done: dict[str, Layer] = {}
    while outputs:
        count = len(outputs)
        run(_Pass(floats, outputs, done, fit))
        if len(outputs) == count:
            raise ValueError(
                f"calibration called layer {next(iter(outputs))!r} less often than at first"
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
        self._too_early: set[str] = set()  # seen in this run before it was their turn

    def __call__(self, name: str, x: Any) -> Array:
        with naming(name):
            if name == self._next:
                self._inputs.append(_rows(x))
                if len(self._inputs) == len(self._outputs[name]):
                    self._quantize(name)
            elif name in self._outputs:
                self._too_early.add(name)
            return self._done.get(name, _known(self._floats, name))(x)

    def _quantize(self, name: str) -> None:
        x, y = np.concatenate(self._inputs), np.concatenate(self._outputs.pop(name))
        if len(x) != len(y):
            raise ValueError(f"calibration gave {len(y)} tokens at first, and {len(x)} now")
        self._done[name] = self._fit(name, x, y)
        self._inputs = []
        after = next(iter(self._outputs), None)
        self._next = None if after in self._too_early else after


def _known(floats: Mapping[str, FloatLayer], name: str) -> FloatLayer:
    if name not in floats:
        raise ValueError(f"calibration calls a layer {name!r}, which layers has not")
    return floats[name]


def _rows(x: Any) -> Array:
    """Activations [..., K] as float32 rows that are no views of what the network may reuse."""
    values = _check.array(x)
    rows = values.reshape(math.prod(values.shape[:-1]), values.shape[-1])
    return np.array(kernels.to_float32(np.ascontiguousarray(rows)))


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
