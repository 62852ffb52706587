# SPDX-License-Identifier: MIT
"""The layers of a network, quantized."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitmill._dtypes import Array
from bitmill.post_training.float_layer import FloatLayer
from bitmill.post_training.layer import QuantizedLayer
from bitmill.post_training.report import LayerReport, PTQReport, Step


class QuantizedNetwork:
    """What `bm.ptq` returns.

    `layers` are the quantized layers by name, in the order in which the network calls them;
    `report` tells what was done to each.
    """

    def __init__(self, floats: Mapping[str, FloatLayer]) -> None:
        self.layers: dict[str, QuantizedLayer] = {}
        self._floats = floats
        self._reports: list[LayerReport] = []

    def add(self, name: str, layer: QuantizedLayer, steps: list[Step]) -> LayerReport:
        """Take a layer, and what its outputs were after each step."""
        rows, columns = layer.weights.shape
        bits = 8 * layer.nbytes / (rows * columns) if rows * columns else 0.0
        made = LayerReport(name, (rows, columns), layer.explain(), bits, layer.nbytes, tuple(steps))
        self.layers[name] = layer
        self._reports.append(made)
        return made

    @property
    def report(self) -> PTQReport:
        """What was done to each layer."""
        return PTQReport(tuple(self._reports))

    def linear(self, name: str, x: Any) -> Array:
        """The outputs of a layer, quantized or not: what runs the network."""
        layer = self.layers.get(name) or self._floats.get(name)
        if layer is None:
            raise ValueError(f"there is no layer {name!r} here")
        return layer(x)

    @property
    def nbytes(self) -> int:
        """Bytes of the quantized layers."""
        return sum(layer.nbytes for layer in self.layers.values())

    def __repr__(self) -> str:
        kept = len(self._floats) - len(self.layers)
        return (
            f"QuantizedNetwork({len(self.layers)} layers, {kept} in float, {self.nbytes:,} bytes)"
        )
