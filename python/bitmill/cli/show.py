# SPDX-License-Identifier: MIT
"""What the command line prints of plans and reports: a table of the tensors, and totals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Protocol

from rich.filesize import decimal

from bitmill.checkpoint import Plan, PlannedTensor, Report, TensorReport
from bitmill.cli.table import shape_text, table_lines
from bitmill.cli.text import printable
from bitmill.formats import LayerScheme

_HEALTH = {
    "nonfinite": "NaN or infinite values",
    "zero_groups": "groups of zeros",
    "underflowed_scales": "underflowed scales",
    "negative_scales": "negative scales",
    "clipped": "clipped weights",
    "unclipped": "groups not clipped",
}


class _Tensor(Protocol):
    """What plans and reports have in common."""

    @property
    def name(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def unsupported(self) -> str | None: ...
    @property
    def bytes_after(self) -> int: ...
    @property
    def layer(self) -> LayerScheme | None: ...


def report_lines(report: Report) -> Iterator[str]:
    """The table of quantized tensors, the worst first; what was kept and why, notes, totals."""
    worst_first = sorted(report.quantized, key=lambda tensor: (tensor.sqnr_db, tensor.name))
    names = ["tensor", *(tensor.name for tensor in worst_first)]
    yield from table_lines(names, _report_columns(worst_first))
    yield ""
    yield from _report_summary(report)


def profile_lines(report: Report) -> Iterator[str]:
    """Where the time of all threads went, in seconds and shares."""
    total = sum(report.profile.values())
    if total:
        parts = (f"{what} {s:.2f} s ({s / total:.0%})" for what, s in report.profile.items())
        yield f"profile: {', '.join(parts)}; {total:.2f} s of all threads"


def plan_lines(plan: Plan) -> Iterator[str]:
    """The table of tensors to quantize, what will be kept and why, notes, files and totals."""
    tensors = plan.quantized
    columns = [
        ["shape", *(shape_text(tensor.shape) for tensor in tensors)],
        ["rule", *(printable(tensor.reason) for tensor in tensors)],
        ["scheme", *(_scheme(tensor) for tensor in tensors)],
        ["before", *(f"{tensor.bytes_before:,}" for tensor in tensors)],
        ["after", *(f"{tensor.bytes_after:,}" for tensor in tensors)],
    ]
    yield from table_lines(["tensor", *(tensor.name for tensor in tensors)], columns, keep=3)
    yield ""
    yield from _plan_summary(plan)


def _scheme(tensor: _Tensor) -> str:
    return tensor.layer.describe() if tensor.layer else "kept"


def _report_columns(tensors: Iterable[TensorReport]) -> list[list[str]]:
    """The columns behind the names; the first are those that are missed least."""
    tensors = list(tensors)
    lost = [(t.sqnr_db, t.metrics.max_abs if t.metrics else 0.0) for t in tensors]
    return [
        ["bytes", *(f"{tensor.bytes_after:,}" for tensor in tensors)],
        ["shape", *(shape_text(tensor.shape) for tensor in tensors)],
        ["max error", *(f"{largest:.3g}" for _, largest in lost)],
        ["scheme", *(_scheme(tensor) for tensor in tensors)],
        ["bits/weight", *(f"{tensor.bits_per_weight:.3f}" for tensor in tensors)],
        ["SQNR dB", *(f"{sqnr:.2f}" for sqnr, _ in lost)],
    ]


def _report_summary(report: Report) -> Iterator[str]:
    """What stands below the table."""
    yield from _kept(report.kept, "kept unchanged")
    yield from _unsupported(report.tensors)
    yield from files_line("not copied", report.not_copied)
    yield from files_line("replaced", report.replaced)
    yield from files_line("removed", report.removed)
    yield from _health(report.tensors)
    yield from (f"note: {note}" for note in report.notes)
    lost = sqnr_text((tensor.name, tensor.size, tensor.sqnr_db) for tensor in report.quantized)
    yield f"quantized: {len(report.quantized)} of {len(report.tensors)} tensors, {lost}"
    speed = ""
    if report.seconds is not None:
        speed = f", in {report.seconds:.2f} s ({report.gigabytes_per_second:.2f} GB/s)"
    yield f"weights: {_sizes(report.bytes_before, report.bytes_after)}{speed}"


def _plan_summary(plan: Plan) -> Iterator[str]:
    yield from _kept(plan.kept, "to keep unchanged")
    yield from _unsupported(plan.tensors)
    yield from (f"note: {note}" for note in plan.notes())
    for name, size in plan.files.items():
        yield f"file: {printable(name)}, {size:,} bytes"
    yield f"to quantize: {len(plan.quantized)} of {len(plan.tensors)} tensors"
    yield f"tensor data: {_sizes(plan.bytes_before, plan.bytes_after)}"


def _sizes(before: int, after: int) -> str:
    return f"{before:,} -> {after:,} bytes, {before / after:.2f}x smaller"


def sqnr_text(measured: Iterable[tuple[str, int, float]]) -> str:
    """Mean and least SQNR of tensors (name, size, SQNR in dB), and how many lost nothing.

    >>> sqnr_text([("a", 1, 20.0), ("b", 3, 24.0), ("c", 1, math.inf)])
    'SQNR 23.00 dB (mean by size), least 20.00 dB (a), 1 exact'
    """
    known = list(measured)
    finite = [one for one in known if math.isfinite(one[2])]
    exact = sum(sqnr == math.inf for _, _, sqnr in known)
    words = []
    if finite:
        mean = sum(size * sqnr for _, size, sqnr in finite) / sum(size for _, size, _ in finite)
        name, _, least = min(finite, key=lambda one: one[2])
        words.append(f"SQNR {mean:.2f} dB (mean by size), least {least:.2f} dB ({printable(name)})")
    if exact or not known:
        words.append(f"{exact} exact")
    if len(known) > len(finite) + exact:
        words.append(f"{len(known) - len(finite) - exact} of zeros that are none any more")
    return ", ".join(words)


def _kept(tensors: Iterable[_Tensor], what: str) -> Iterator[str]:
    """How many tensors are copied unchanged, by reason."""
    sizes: dict[str, list[int]] = {}
    for tensor in tensors:
        sizes.setdefault(tensor.reason, []).append(tensor.bytes_after)
    for reason, group in sizes.items():
        plural = "s" if len(group) > 1 else ""
        size = decimal(sum(group))
        yield f"{what}: {len(group)} tensor{plural}, {size} ({printable(reason)})"


def _unsupported(tensors: Iterable[TensorReport | PlannedTensor]) -> Iterator[str]:
    """Which tensors do not get what their rule asked for, by what was in the way."""
    names: dict[tuple[str, str], list[str]] = {}
    for tensor in tensors:
        if tensor.unsupported is not None:
            what = f"fallback to {_scheme(tensor)}" if tensor.layer else "left unquantized"
            names.setdefault((tensor.unsupported, what), []).append(tensor.name)
    for (reason, what), found in names.items():
        yield f"{what}: {printable(', '.join(found))} ({printable(reason)})"


def files_line(what: str, names: tuple[str, ...]) -> Iterator[str]:
    """What became of files, in one line."""
    if names:
        yield f"{what}: {', '.join(map(printable, names))}"


def _health(tensors: tuple[TensorReport, ...]) -> Iterator[str]:
    """What deserves a look, with its counts."""
    for field, what in _HEALTH.items():
        counts = {tensor.name: getattr(tensor.health, field) for tensor in tensors}
        if any(counts.values()):
            most = max(counts, key=lambda name: counts[name])
            yield (
                f"health: {sum(counts.values()):,} {what}, in {sum(map(bool, counts.values()))} of "
                f"{len(tensors)} tensors, most in {printable(most)} ({counts[most]:,})"
            )
