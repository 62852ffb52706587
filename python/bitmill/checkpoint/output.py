# SPDX-License-Identifier: MIT
"""The files of a target that follow from a plan: weights with their headers, index, config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bitmill.checkpoint.header import TensorInfo, build_header
from bitmill.checkpoint.plan import Plan, PlannedTensor
from bitmill.checkpoint.read import CONFIG, INDEX, WEIGHTS, Checkpoint
from bitmill.checkpoint.write import json_text


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A safetensors file to write: its header, and where each tensor goes behind it."""

    tensors: tuple[PlannedTensor, ...]
    """Whose data it holds."""
    head: bytes
    places: dict[str, TensorInfo]

    @property
    def nbytes(self) -> int:
        """Size of the file."""
        return len(self.head) + sum(place.nbytes for place in self.places.values())


@dataclass(frozen=True, slots=True)
class Output:
    """What the target folder will hold, but for copies and the report."""

    weights: dict[str, WeightFile]
    texts: dict[str, bytes]
    """config.json, and the index if there is one."""

    def sizes(self) -> dict[str, int]:
        """Name and size of every file."""
        sizes = {name: file.nbytes for name, file in self.weights.items()}
        return sizes | {name: len(text) for name, text in self.texts.items()}


def lay_out(source: Checkpoint, plan: Plan) -> Output:
    """The files that `plan` makes of `source`. Every size is known before any data are read."""
    tensors: dict[str, list[PlannedTensor]] = {file: [] for file in source.files}
    for tensor in plan.tensors:
        tensors[tensor.file].append(tensor)
    weights = {}
    for file, header in source.files.items():
        specs = [spec for tensor in tensors[file] for spec in tensor.stored]
        metadata = {"format": "pt", **header.metadata}
        name = file if source.index or len(source.files) > 1 else WEIGHTS
        weights[name] = WeightFile(tuple(tensors[file]), *build_header(specs, metadata))
    texts = {}
    if source.index or len(weights) > 1:
        texts[INDEX] = json_text(_index(source, weights))
    config = {**source.config, "quantization_config": plan.quantization_config()}
    texts[CONFIG] = json_text(config)
    return Output(weights, texts)


def _index(source: Checkpoint, weights: dict[str, WeightFile]) -> dict[str, Any]:
    places = {name: place for file in weights.values() for name, place in file.places.items()}
    homes = {tensor: name for name, file in weights.items() for tensor in file.places}
    size = sum(place.nbytes for place in places.values())
    metadata = {**source.index.get("metadata", {}), "total_size": size}
    return {"metadata": metadata, "weight_map": dict(sorted(homes.items()))}
