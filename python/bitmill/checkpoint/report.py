# SPDX-License-Identifier: MIT
"""What a conversion did to every tensor: in memory, and as JSON beside the weights."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from operator import index
from pathlib import Path
from typing import Any

from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import parse_json
from bitmill.checkpoint.paths import failing_at, given_path, regular_file
from bitmill.formats import LayerScheme, layer_from_dict
from bitmill.metrics import Metrics
from bitmill.schemes import Scheme

REPORT = "bitmill_report.json"
"""The file of the target folder that holds the report."""
VERSION = 1


@dataclass(frozen=True, slots=True)
class Health:
    """Counts of what deserves a look in one tensor; all 0 if nothing does."""

    nonfinite: int = 0
    """NaN and infinities, in a tensor that was kept; in others they are an error."""
    zero_groups: int = 0
    """Groups whose weights are all 0."""
    underflowed_scales: int = 0
    """Scales that were raised to the smallest positive value of their dtype."""
    negative_scales: int = 0
    clipped: int = 0
    """Weights beyond the range of their codes."""
    unclipped: int = 0
    """Groups whose clip left no range, so that they have the full one."""
    fallbacks: int = 0
    """1 if the tensor did not get what its rule asked for."""

    def __bool__(self) -> bool:
        return any(asdict(self).values())


@dataclass(frozen=True, slots=True)
class TensorReport:
    """One tensor: copied unchanged where `layer` and `metrics` are None, for `reason`."""

    name: str
    shape: tuple[int, ...]
    layer: LayerScheme | None
    reason: str
    bytes_before: int
    bytes_after: int
    metrics: Metrics | None = None
    health: Health = field(default_factory=Health)
    unsupported: str | None = None
    """Why the tensor did not get what its rule asked for, where that could not be stored."""

    @property
    def scheme(self) -> Scheme | None:
        """The scheme of the weights."""
        return None if self.layer is None else self.layer.weights

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise, 10·log10(Σx² / Σ(x − x̂)²); infinite if it was kept."""
        return math.inf if self.metrics is None else self.metrics.sqnr_db

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per weight, with scales, zero-points, shape and padding."""
        return 8 * self.bytes_after / self.size if self.size else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; an infinite SQNR (nothing was lost) is null."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "layer": self.layer and self.layer.to_dict(),
            "reason": self.reason,
            "unsupported": self.unsupported,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "bits_per_weight": self.bits_per_weight,
            "metrics": self.metrics and self.metrics.to_dict(),
            "health": asdict(self.health),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """A finished conversion: its tensors in the order of the source, and totals."""

    tensors: tuple[TensorReport, ...]
    bytes_before: int
    """Size of the weight files that were read, headers included."""
    bytes_after: int
    """Size of the weight files that were written, headers included."""
    notes: tuple[str, ...] = ()
    """What to know about the runtimes."""
    not_copied: tuple[str, ...] = ()
    """What of the source folder is not in the target: weights of another kind, folders of version
    control and caches, and what is no file."""
    replaced: tuple[str, ...] = ()
    """Files of the target folder that were there before, under the name of a new one. These, what
    follows, and how long it took, are not in the file."""
    removed: tuple[str, ...] = ()
    """Files of the target folder that were deleted: weights of the checkpoint that was there."""
    seconds: float | None = None
    """How long it took."""
    profile: dict[str, float] = field(default_factory=dict)
    """Seconds of all threads by what they went to: reading, waiting (for a core), quantizing,
    measuring, hashing, writing, syncing."""
    unchanged: bool = False
    """The target was finished before: nothing was done."""

    @property
    def quantized(self) -> tuple[TensorReport, ...]:
        """The tensors that were quantized."""
        return tuple(tensor for tensor in self.tensors if tensor.layer is not None)

    @property
    def kept(self) -> tuple[TensorReport, ...]:
        """The tensors that were copied unchanged."""
        return tuple(tensor for tensor in self.tensors if tensor.layer is None)

    @property
    def gigabytes_per_second(self) -> float | None:
        """Weight bytes read per second, from the first header to the last fsync, in 10⁹ bytes."""
        return None if self.seconds is None else self.bytes_before / self.seconds / 1e9

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it, without what differs from run to run."""
        return {
            "version": VERSION,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "notes": list(self.notes),
            "not_copied": list(self.not_copied),
            "tensors": [tensor.to_dict() for tensor in self.tensors],
        }


def read_report(folder: str | os.PathLike[str]) -> Report:
    """The report in a folder that `quantize_checkpoint` wrote, or in a file of that kind.

    Raises CheckpointError for another file, OSError where there is none.
    """
    path = given_path(folder, "folder")
    path = path / REPORT if path.is_dir() else path
    with failing_at(path):
        said = parse_json(path, regular_file(path).read_bytes())
    return _report(path, said)


def _report(path: Path, said: Mapping[str, Any]) -> Report:
    if said.get("version") != VERSION:
        raise CheckpointError(f"{path}: no report of this bitmill: wanted 'version' {VERSION}")
    try:
        return Report(
            tuple(_tensor(entry) for entry in said["tensors"]),
            index(said["bytes_before"]),
            index(said["bytes_after"]),
            tuple(map(str, said["notes"])),
            tuple(map(str, said["not_copied"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: no report of bitmill: {error!r}") from None


def _tensor(said: Mapping[str, Any]) -> TensorReport:
    unsupported = said["unsupported"]
    return TensorReport(
        str(said["name"]),
        tuple(map(index, said["shape"])),
        None if said["layer"] is None else layer_from_dict(said["layer"]),
        str(said["reason"]),
        index(said["bytes_before"]),
        index(said["bytes_after"]),
        None if said["metrics"] is None else _metrics(said["metrics"]),
        Health(**{name: index(count) for name, count in said["health"].items()}),
        None if unsupported is None else str(unsupported),
    )


def _metrics(said: Mapping[str, Any]) -> Metrics:
    """The inverse of `Metrics.to_dict`, for the measures that a report holds."""
    limit = -math.inf if said["max_abs"] else math.inf
    names = ("mse", "sqnr_db", "cosine", "max_abs")
    mse, sqnr_db, cosine, max_abs = (
        limit if said[name] is None else float(said[name]) for name in names
    )
    return Metrics(mse, sqnr_db, cosine, max_abs)
