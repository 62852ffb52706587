# SPDX-License-Identifier: MIT
"""What a conversion did to every tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from bitmill.metrics import Metrics
from bitmill.schemes import Scheme


@dataclass(frozen=True, slots=True)
class TensorReport:
    """One tensor: copied unchanged where `scheme` and `metrics` are None, for `reason`."""

    name: str
    shape: tuple[int, ...]
    scheme: Scheme | None
    reason: str
    bytes_before: int
    bytes_after: int
    metrics: Metrics | None = None
    health: dict[str, int] = field(default_factory=dict)
    """Counts of what deserves a look, such as scales that underflowed; empty if nothing does."""

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


@dataclass(frozen=True, slots=True)
class Report:
    """A finished conversion: its tensors in the order of the source, and totals."""

    tensors: tuple[TensorReport, ...]
    not_copied: tuple[str, ...]
    """What of the source folder is not in the target: weights of another kind, folders of version
    control and caches, and what is no file."""
    replaced: tuple[str, ...]
    """Files of the target folder that were there before, under the name of a new one."""
    removed: tuple[str, ...]
    """Files of the target folder that were deleted: other weights of the checkpoint that was there,
    and what killed runs had left."""
    bytes_before: int
    """Size of the weight files that were read, headers included."""
    bytes_after: int
    """Size of the weight files that were written, headers included."""
    seconds: float

    @property
    def quantized(self) -> tuple[TensorReport, ...]:
        """The tensors that were quantized."""
        return tuple(tensor for tensor in self.tensors if tensor.scheme is not None)

    @property
    def kept(self) -> tuple[TensorReport, ...]:
        """The tensors that were copied unchanged."""
        return tuple(tensor for tensor in self.tensors if tensor.scheme is None)

    @property
    def gigabytes_per_second(self) -> float:
        """Weight bytes read per second, from the first header to the last fsync, in 10⁹ bytes."""
        return self.bytes_before / self.seconds / 1e9
