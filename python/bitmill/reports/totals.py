# SPDX-License-Identifier: MIT
"""What all tensors of a report take and lose together."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from bitmill.checkpoint import Report, TensorReport


@dataclass(frozen=True, slots=True)
class Totals:
    """Of the whole checkpoint."""

    bytes_before: int
    """Of the weight files, headers included."""
    bytes_after: int
    tensors: int
    quantized: int
    """Tensors."""
    weights: int
    """In all tensors."""
    quantized_weights: int
    bits_per_weight: float
    """Of all tensors, with scales, zero-points, shapes and padding."""
    quantized_bits_per_weight: float
    sqnr_db: float
    """Mean over the quantized tensors that lost something, by size; infinite where none did."""
    worst: str | None
    """The tensor with the least SQNR."""
    worst_sqnr_db: float
    error: float
    """Σ(x − x̂)² over all."""
    half_of_error: int
    """How few tensors have half of it."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it: an infinite SQNR is null."""
        return {name: _finite(value) for name, value in asdict(self).items()}


def totals_of(report: Report) -> Totals:
    """Of a conversion."""
    quantized = report.quantized
    weights, few = sum(t.size for t in report.tensors), sum(t.size for t in quantized)
    finite = [t for t in quantized if math.isfinite(t.sqnr_db)]
    size = sum(t.size for t in finite)
    mean = math.fsum(t.size * t.sqnr_db for t in finite) / size if size else math.inf
    worst = min(quantized, key=lambda t: (t.sqnr_db, t.name), default=None)
    errors = list(map(error_of, quantized))
    return Totals(
        bytes_before=report.bytes_before,
        bytes_after=report.bytes_after,
        tensors=len(report.tensors),
        quantized=len(quantized),
        weights=weights,
        quantized_weights=few,
        bits_per_weight=_bits(sum(t.bytes_after for t in report.tensors), weights),
        quantized_bits_per_weight=_bits(sum(t.bytes_after for t in quantized), few),
        sqnr_db=mean,
        worst=None if worst is None else worst.name,
        worst_sqnr_db=math.inf if worst is None else worst.sqnr_db,
        error=math.fsum(errors),
        half_of_error=_half(errors),
    )


def error_of(tensor: TensorReport) -> float:
    """Σ(x − x̂)² of one tensor."""
    return 0.0 if tensor.metrics is None else tensor.metrics.mse * tensor.size


def share_of(tensor: TensorReport, total: float) -> float:
    """The part that a tensor has in the sum of all errors; 0 where there is none, or no end."""
    return error_of(tensor) / total if total and math.isfinite(total) else 0.0


def _half(errors: list[float]) -> int:
    """How few of them have half of their sum.

    >>> _half([1.0, 5.0, 3.0, 2.0]), _half([])
    (2, 0)
    """
    left, count = math.fsum(errors) / 2, 0
    for error in sorted(errors, reverse=True):
        if left <= 0:
            break
        left, count = left - error, count + 1
    return count


def _bits(nbytes: int, size: int) -> float:
    return 8 * nbytes / size if size else 0.0


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
