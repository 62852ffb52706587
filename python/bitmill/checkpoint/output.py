# SPDX-License-Identifier: MIT
"""The files of a target that follow from a plan: weights with their headers, index, config."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import MAX_HEADER, Spec, TensorInfo, build_header
from bitmill.checkpoint.plan import Plan, PlannedTensor
from bitmill.checkpoint.read import CONFIG, INDEX, WEIGHTS, Checkpoint
from bitmill.checkpoint.write import json_text

Shards = tuple[tuple[str, ...], ...]
"""The names of the tensors of the source whose data go into each weight file."""


@dataclass(frozen=True, slots=True)
class TensorFile:
    """A file of tensors to write: its first bytes, and where each tensor goes behind them."""

    head: bytes
    places: dict[str, TensorInfo]

    @property
    def nbytes(self) -> int:
        """Size of the file."""
        ends = (place.begin + place.nbytes for place in self.places.values())
        return max(ends, default=len(self.head))


@dataclass(frozen=True, slots=True)
class WeightFile(TensorFile):
    """A safetensors file of a plan."""

    tensors: tuple[PlannedTensor, ...]
    """Whose data it holds."""


@dataclass(frozen=True, slots=True)
class Output:
    """What the target folder will hold, but for copies and the report."""

    weights: dict[str, WeightFile]
    texts: dict[str, bytes]
    """config.json, and the index if there is one."""
    shards: Shards

    def sizes(self) -> dict[str, int]:
        """Name and size of every file."""
        sizes = {name: file.nbytes for name, file in self.weights.items()}
        return sizes | {name: len(text) for name, text in self.texts.items()}


def assign_shards(
    tensors: Sequence[PlannedTensor], max_shard_size: int, metadata: Mapping[str, str]
) -> Shards:
    """The tensors in their order, in as few files of at most so many bytes as that order allows.

    What stands for one tensor lies in one file, which is larger than the limit if that is.
    """
    shards: list[list[str]] = [[]]
    first = 100 + len(json.dumps(metadata, ensure_ascii=False).encode())
    head, size = first, first
    for tensor in tensors:
        entries = sum(map(_entry_size, tensor.stored))
        nbytes = entries + sum(spec.nbytes for spec in tensor.stored)
        if shards[-1] and (size + nbytes > max_shard_size or head + entries > MAX_HEADER):
            shards.append([])
            head, size = first, first
        shards[-1].append(tensor.name)
        head, size = head + entries, size + nbytes
    return tuple(map(tuple, shards))


def lay_out(source: Checkpoint, plan: Plan, shards: Shards | None = None) -> Output:
    """The files that `plan` makes of `source`. Every size is known before any data are read.

    `shards` says which tensors lie together, if that was decided before.
    """
    tensors = {tensor.name: tensor for tensor in plan.tensors}
    metadata = {"format": "pt"}
    for header in source.files.values():
        metadata |= header.metadata
    if shards is None:
        shards = assign_shards(plan.tensors, plan.max_shard_size, metadata)
    weights = {}
    for number, names in enumerate(shards, 1):
        held = tuple(tensors[name] for name in names)
        head, places = build_header([spec for t in held for spec in t.stored], metadata)
        weights[_file_name(number, len(shards))] = WeightFile(head, places, held)
    texts = {}
    if len(weights) > 1:
        texts[INDEX] = json_text(index_of(source, weights))
    refuse_long(source, weights, texts)
    config = {**source.config, "quantization_config": plan.quantization_config()}
    texts[CONFIG] = json_text(config)
    return Output(weights, texts, shards)


def refuse_long(
    source: Checkpoint, weights: Mapping[str, TensorFile], texts: Mapping[str, bytes]
) -> None:
    """Raise for names so many or so long that nobody could read a header, or the index."""
    sizes = {name: len(file.head) for name, file in weights.items()}
    sizes |= {name: len(text) for name, text in texts.items()}
    for name, nbytes in sizes.items():
        if nbytes > MAX_HEADER:
            raise CheckpointError(
                f"{source.where}: {name} would begin with {nbytes} bytes of names and places; "
                f"readers take {MAX_HEADER}"
            )


def _file_name(number: int, count: int) -> str:
    return WEIGHTS if count == 1 else f"model-{number:05}-of-{count:05}.safetensors"


def _entry_size(spec: Spec) -> int:
    """Bytes that a tensor takes in a header, at most."""
    numbers = 21 * (len(spec.shape) + 2)
    return len(json.dumps(spec.name, ensure_ascii=False).encode()) + numbers + 60


def index_of(source: Checkpoint, weights: Mapping[str, TensorFile]) -> dict[str, Any]:
    """The index of these files: which tensor lies in which."""
    places = {name: place for file in weights.values() for name, place in file.places.items()}
    homes = {tensor: name for name, file in weights.items() for tensor in file.places}
    size = sum(place.nbytes for place in places.values())
    metadata = {**source.index.get("metadata", {}), "total_size": size}
    return {"metadata": metadata, "weight_map": dict(sorted(homes.items()))}
