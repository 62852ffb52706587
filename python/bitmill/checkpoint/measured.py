# SPDX-License-Identifier: MIT
"""What each candidate takes and loses on each weight: in memory, and as a JSON file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import index
from typing import Any

from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.fused import fused_into
from bitmill.checkpoint.header import DTYPES, Spec, TensorInfo, parse_json
from bitmill.checkpoint.paths import failing_at, given_path, regular_file
from bitmill.checkpoint.write import json_text, replace_file, write_file
from bitmill.formats import LayerScheme, layer_from_dict

VERSION = 1


@dataclass(frozen=True, slots=True)
class Measure:
    """A weight under one candidate."""

    bytes: int
    """In the file, with scales, zero-points, shape and padding."""
    error: float
    """Σ w·(x − x̂)², where w is the importance of the column, or 1."""
    sqnr_db: float
    """Signal to quantization noise, 10·log10(Σx² / Σ(x − x̂)²), without importance."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it. An infinite SQNR is null: with an error of 0, nothing was lost."""
        finite = self.sqnr_db if math.isfinite(self.sqnr_db) else None
        return {"bytes": self.bytes, "error": self.error, "sqnr_db": finite}


@dataclass(frozen=True, slots=True)
class TensorSensitivity:
    """One weight under each candidate that can be stored, and why others cannot."""

    name: str
    dtype: str
    """As safetensors calls it."""
    shape: tuple[int, ...]
    measured: dict[str, Measure]
    """By label, in the order of the candidates."""
    left_out: dict[str, str] = field(default_factory=dict)
    """By label, why the weight cannot get it."""

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def info(self) -> TensorInfo:
        """The tensor as it is known without its place in a file."""
        nbytes = Spec(self.name, self.dtype, self.shape).nbytes
        return TensorInfo(self.name, self.dtype, self.shape, 0, nbytes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        said: dict[str, Any] = {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}
        said["measured"] = {label: m.to_dict() for label, m in self.measured.items()}
        return said | ({"left_out": self.left_out} if self.left_out else {})


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What `sensitivity` measured: every weight that may be quantized, under every candidate."""

    tensors: tuple[TensorSensitivity, ...]
    candidates: dict[str, LayerScheme | None]
    """What each label stands for; None: the weight as it is."""
    scale_dtype: str | None = None
    """What overrides the `scales` of the candidates, as in `plan_checkpoint`."""
    weighed: bool = False
    """Whether errors are weighed by importance."""

    @property
    def size(self) -> int:
        """Number of weights in all tensors."""
        return sum(tensor.size for tensor in self.tensors)

    def choices(self) -> dict[str, list[tuple[str, int, float]]]:
        """What `bitmill.allocate` takes: (label, bytes, error), with all side information."""
        return {
            tensor.name: [(label, m.bytes, m.error) for label, m in tensor.measured.items()]
            for tensor in self.tensors
        }

    def fused(self) -> list[list[str]]:
        """Groups of names that vLLM makes one layer of: q/k/v, gate/up, all experts of a layer."""
        groups: dict[str, list[str]] = {}
        for tensor in self.tensors:
            key = fused_into(tensor.info)
            if key is not None:
                groups.setdefault(key, []).append(tensor.name)
        return list(groups.values())

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; `from_dict` reads it back."""
        return {
            "version": VERSION,
            "candidates": {
                label: layer and layer.to_dict() for label, layer in self.candidates.items()
            },
            "scale_dtype": self.scale_dtype,
            "weighed": self.weighed,
            "tensors": [tensor.to_dict() for tensor in self.tensors],
        }

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Sensitivity:
        """The inverse of `to_dict`; ValueError for what it did not write."""
        if said.get("version") != VERSION:
            raise ValueError(f"wanted 'version' {VERSION}")
        try:
            tensors = tuple(_tensor(entry) for entry in said["tensors"])
            if len({tensor.name for tensor in tensors}) < len(tensors):
                raise ValueError("a tensor is there twice")
            return cls(
                tensors,
                {
                    str(label): None if layer is None else layer_from_dict(layer)
                    for label, layer in said["candidates"].items()
                },
                said["scale_dtype"],
                bool(said["weighed"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(repr(error)) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, for `read_sensitivity`; an existing file is replaced."""
        path = given_path(path, "path")
        with replace_file(path) as temporary:
            write_file(temporary, json_text(self.to_dict()))


def read_sensitivity(path: str | os.PathLike[str]) -> Sensitivity:
    """What `Sensitivity.save` wrote. CheckpointError for another file, OSError for none."""
    path = given_path(path, "path")
    with failing_at(path):
        said = parse_json(path, regular_file(path).read_bytes())
    try:
        return Sensitivity.from_dict(said)
    except ValueError as error:
        raise CheckpointError(f"{path}: no sensitivity of this bitmill: {error}") from None


def _tensor(said: Mapping[str, Any]) -> TensorSensitivity:
    if said["dtype"] not in DTYPES:
        raise ValueError(f"dtype {said['dtype']!r} is not one of: {', '.join(DTYPES)}")
    return TensorSensitivity(
        str(said["name"]),
        said["dtype"],
        tuple(map(index, said["shape"])),
        {str(label): _measure(m) for label, m in said["measured"].items()},
        {str(label): str(why) for label, why in said.get("left_out", {}).items()},
    )


def _measure(said: Mapping[str, Any]) -> Measure:
    error, sqnr_db = float(said["error"]), said["sqnr_db"]
    if not (math.isfinite(error) and error >= 0):
        raise ValueError(f"error={error}; wanted a finite number from 0 on")
    if sqnr_db is None:
        sqnr_db = -math.inf if error else math.inf
    return Measure(index(said["bytes"]), error, float(sqnr_db))
