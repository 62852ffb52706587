# SPDX-License-Identifier: MIT
"""A report as CSV: a line for each tensor."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from bitmill.checkpoint import TensorReport
from bitmill.reports.totals import share_of


def csv_of(tensors: Sequence[TensorReport], total: float) -> str:
    """The lines of tensors in this order; `total` is the sum of all errors.

    Text that a spreadsheet would compute begins with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for i, tensor in enumerate(tensors):
        row = dict(_cells(tensor, total))
        if i == 0:
            writer.writerow(row)
        writer.writerow(map(_harmless, row.values()))
    return text.getvalue()


def _cells(tensor: TensorReport, total: float) -> Iterator[tuple[str, Any]]:
    """A line of the CSV file."""
    m = tensor.metrics
    yield "name", tensor.name
    yield "shape", "x".join(map(str, tensor.shape))
    yield "scheme", "kept" if tensor.layer is None else tensor.layer.describe()
    yield "reason", tensor.reason
    yield "unsupported", tensor.unsupported or ""
    yield "bytes_before", tensor.bytes_before
    yield "bytes_after", tensor.bytes_after
    yield "bits_per_weight", tensor.bits_per_weight
    yield "sqnr_db", "" if m is None else m.sqnr_db
    yield "mse", "" if m is None else m.mse
    yield "cosine", "" if m is None else m.cosine
    yield "max_abs", "" if m is None else m.max_abs
    yield "error_share", share_of(tensor, total)
    yield from asdict(tensor.health).items()


def _harmless(cell: Any) -> Any:
    """A cell that a spreadsheet takes for text, if it is text."""
    is_formula = isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{cell}" if is_formula else cell
