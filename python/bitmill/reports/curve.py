# SPDX-License-Identifier: MIT
"""The size/error frontier of what was measured, and where the chosen schemes lie beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from bitmill.allocation import frontier
from bitmill.checkpoint import Measure, Report, Sensitivity, TensorReport

_MOST = 240
"""Points of the frontier that are kept, evenly spaced: more cannot be told apart."""


class Spot(NamedTuple):
    """What all weights that were measured take and lose together."""

    bytes: int
    error: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Sizes against errors, Σ w·(x − x̂)² over all weights that were measured."""

    points: tuple[Spot, ...]
    """The frontier, from the fewest bytes to the least error; perhaps not every corner."""
    uniform: dict[str, Spot]
    """By candidate, where all weights would lie with it; those that suit all."""
    chosen: Spot | None
    """Where they do lie; None where that was not measured."""
    weights: int
    weighed: bool
    """Whether errors are weighed by importance."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "points": [list(spot) for spot in self.points],
            "uniform": {label: list(spot) for label, spot in self.uniform.items()},
            "chosen": self.chosen and list(self.chosen),
            "weights": self.weights,
            "weighed": self.weighed,
        }


def labels_of(report: Report, sensitivity: Sensitivity) -> dict[str, str]:
    """Under which candidate each weight was stored: the one of just its bytes and its SQNR."""
    stored = {tensor.name: tensor for tensor in report.tensors}
    return {
        tensor.name: label
        for tensor in sensitivity.tensors
        for label in list(_same(stored.get(tensor.name), tensor.measured))[:1]
    }


def curve(report: Report, sensitivity: Sensitivity) -> Curve:
    """The frontier of what was measured, and what was chosen.

    What vLLM makes one layer of shares a scheme on the frontier, unless it does not in the report.
    """
    labels, fused = labels_of(report, sensitivity), sensitivity.fused()
    is_split = any(len({labels.get(name) for name in names}) > 1 for names in fused)
    choices = sensitivity.choices()
    points = frontier(choices, fused=[] if is_split else fused) if choices else []
    step = max(1, -(-len(points) // _MOST))
    kept = [*points[:-1:step], *points[-1:]]
    every = [tensor.measured for tensor in sensitivity.tensors]
    return Curve(
        tuple(Spot(point.bytes, point.error) for point in kept),
        {
            label: _total(measured[label] for measured in every)
            for label in sensitivity.candidates
            if every and all(label in measured for measured in every)
        },
        _chosen(report, sensitivity, labels),
        sensitivity.size,
        sensitivity.weighed,
    )


def _same(stored: TensorReport | None, measured: Mapping[str, Measure]) -> Iterator[str]:
    """The candidates that take and lose what is stored."""
    if stored is not None:
        for label, measure in measured.items():
            if (measure.bytes, measure.sqnr_db) == (stored.bytes_after, stored.sqnr_db):
                yield label


def _chosen(report: Report, sensitivity: Sensitivity, labels: Mapping[str, str]) -> Spot | None:
    """What is stored, as far as its error can be told."""
    stored = {tensor.name: tensor for tensor in report.tensors}
    spots = []
    for tensor in sensitivity.tensors:
        if tensor.name in labels:
            spots.append(tensor.measured[labels[tensor.name]])
        elif sensitivity.weighed or tensor.name not in stored:
            return None
        else:
            spots.append(_as_measure(stored[tensor.name]))
    return _total(spots)


def _as_measure(stored: TensorReport) -> Measure:
    """What is stored, as if it had been measured as a candidate."""
    mse = 0.0 if stored.metrics is None else stored.metrics.mse
    return Measure(stored.bytes_after, mse * stored.size, stored.sqnr_db)


def _total(measures: Iterable[Measure]) -> Spot:
    spots = [(measure.bytes, measure.error) for measure in measures]
    return Spot(sum(size for size, _ in spots), math.fsum(error for _, error in spots))
