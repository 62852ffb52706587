# SPDX-License-Identifier: MIT
"""What `bm.ptq` did to each layer, and what that did to its outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

STEPS = ("inputs", "weights", "activations", "refit")
"""Names of steps that are no transformations."""


class Step(NamedTuple):
    """The outputs of a layer on held-out tokens, after a step.

    Against what the float layer gives in the float network, both less the float bias: signal to
    noise 10·log10(Σy² / Σ(y − ŷ)²) dB, and cosine Σy·ŷ / (‖y‖·‖ŷ‖).

    name
        "inputs": the float layer, fed by the quantized layers before it (left out from 100 dB on:
        they are none). "weights", "activations": these quantized too. Then the transformations that
        apply, each instead of the others; and "refit", after the one that is kept.
    kept
        Whether the layer has it.
    """

    name: str
    sqnr_db: float
    cosine: float
    kept: bool = True

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it. Infinite SQNRs are null: all is lost with cosine 0, else nothing."""
        return self._asdict() | {"sqnr_db": self.sqnr_db if math.isfinite(self.sqnr_db) else None}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Step:
        """What `to_dict` described; raises TypeError or ValueError if it describes none."""
        step = cls(**given)
        cosine = float(step.cosine)
        infinite = math.inf if cosine > 0 else -math.inf
        sqnr = infinite if step.sqnr_db is None else float(step.sqnr_db)
        return step._replace(name=str(step.name), sqnr_db=sqnr, cosine=cosine)


@dataclass(frozen=True)
class LayerReport:
    """A layer: what it is now, and the steps that led there."""

    name: str
    shape: tuple[int, int]
    explain: str
    bits_per_weight: float
    nbytes: int
    steps: tuple[Step, ...]

    @property
    def last(self) -> Step:
        """The layer as it is."""
        return next(step for step in reversed(self.steps) if step.kept)


@dataclass(frozen=True)
class PTQReport:
    """The layers that were quantized, in the order in which the network calls them.

    `str` of it is a table: SQNR in dB after each step, in parentheses where it is not kept.
    """

    layers: tuple[LayerReport, ...]

    def __getitem__(self, name: str) -> LayerReport:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            layer.name: asdict(layer) | {"steps": [step.to_dict() for step in layer.steps]}
            for layer in self.layers
        }

    def __str__(self) -> str:
        found = dict.fromkeys(step.name for layer in self.layers for step in layer.steps)
        others = [name for name in found if name not in STEPS]
        steps = [name for name in (*STEPS[:-1], *others, STEPS[-1]) if name in found]
        head = ["layer", *steps, "cosine", "bits"]
        rows = [head, *(_cells(layer, steps) for layer in self.layers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
            for row in rows
        )


def _cells(layer: LayerReport, steps: list[str]) -> list[str]:
    by_name = {step.name: step for step in layer.steps}
    shown = [_cell(by_name.get(name)) for name in steps]
    return [layer.name, *shown, f"{layer.last.cosine:.5f}", f"{layer.bits_per_weight:.3g}"]


def _cell(step: Step | None) -> str:
    if step is None:
        return ""
    return f"{step.sqnr_db:.2f}" if step.kept else f"({step.sqnr_db:.2f})"
