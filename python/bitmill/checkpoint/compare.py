# SPDX-License-Identifier: MIT
"""Two checkpoints beside each other: what quantization lost, tensor by tensor."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from bitmill._dtypes import FLOATS, Array
from bitmill.checkpoint.loaded import LoadedCheckpoint, load_checkpoint
from bitmill.metrics import Metrics, metrics
from bitmill.qtensor import QTensor


@dataclass(frozen=True, slots=True)
class Difference:
    """A tensor of both checkpoints that is quantized in one, or has other values."""

    name: str
    shape: tuple[int, ...]
    kind: str
    """How it is stored in the checkpoint that is judged: its scheme, or its dtype."""
    metrics: Metrics

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "kind": self.kind,
            "metrics": self.metrics.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two checkpoints have in common; names as in the original."""

    differences: tuple[Difference, ...]
    identical: tuple[str, ...]
    """Of the same bytes."""
    incomparable: dict[str, str]
    """Tensors whose values cannot be compared, and why."""
    only_judged: tuple[str, ...]
    only_original: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "differences": [difference.to_dict() for difference in self.differences],
            "identical": list(self.identical),
            "incomparable": self.incomparable,
            "only_judged": list(self.only_judged),
            "only_original": list(self.only_original),
        }


def compare_checkpoints(
    judged: str | os.PathLike[str],
    original: str | os.PathLike[str],
    *,
    num_threads: int | None = None,
) -> Comparison:
    """The error of every tensor of `judged` beside `original`, one tensor in memory at a time.

    If only the second holds quantized weights, the two change places. Raises CheckpointError and
    OSError as `load_checkpoint` does.
    """
    a, b = load_checkpoint(judged), load_checkpoint(original)
    if b.stored and not a.stored:
        a, b = b, a
    differences, identical, incomparable = [], [], {}
    for name in a:
        if name not in b:
            continue
        found = _compare(name, a, b, num_threads)
        if found is None:
            identical.append(name)
        elif isinstance(found, str):
            incomparable[name] = found
        else:
            differences.append(found)
    return Comparison(
        tuple(differences),
        tuple(identical),
        incomparable,
        tuple(name for name in a if name not in b),
        tuple(name for name in b if name not in a),
    )


def _compare(
    name: str, a: LoadedCheckpoint, b: LoadedCheckpoint, num_threads: int | None
) -> Difference | str | None:
    """What differs; None if nothing does, or why that cannot be told."""
    judged, original = a[name], b[name]
    if not isinstance(judged, QTensor) and not isinstance(original, QTensor):
        same = (judged.dtype, judged.shape) == (original.dtype, original.shape)
        if same and judged.tobytes() == original.tobytes():
            return None
    if judged.shape != original.shape:
        return f"shapes {judged.shape} and {original.shape}"
    x = original.dequantize(num_threads=num_threads) if isinstance(original, QTensor) else original
    if x.dtype.name not in FLOATS or not _is_float(judged):
        ours, theirs = _kind(judged), x.dtype.name
        return f"other values of {ours}" if ours == theirs else f"dtypes {ours} and {theirs}"
    values = judged.dequantize(num_threads=num_threads) if isinstance(judged, QTensor) else judged
    try:
        measured = metrics(x, values, num_threads=num_threads)
    except ValueError as error:
        return str(error)
    return Difference(name, judged.shape, _kind(judged), measured)


def _is_float(value: QTensor | Array) -> bool:
    return isinstance(value, QTensor) or value.dtype.name in FLOATS


def _kind(value: QTensor | Array) -> str:
    return value.scheme.describe() if isinstance(value, QTensor) else value.dtype.name
