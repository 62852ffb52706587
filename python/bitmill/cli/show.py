# SPDX-License-Identifier: MIT
"""What the command line prints at the end: a table of the tensors, and totals."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator

from rich.filesize import decimal

from bitmill.checkpoint import Report, TensorReport
from bitmill.checkpoint.plan import FORMAT
from bitmill.cli.text import printable

_PADDED = 60
"""Where no terminal sets the width, names up to this long line up the columns behind them."""
_LEAST = 12
"""Characters of a name on a line; columns that leave no room for them are left out."""


def print_report(report: Report) -> None:
    """The table of quantized tensors, what was kept and why, notes, and totals."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in _table(report.quantized, width):
        print(line)
    print()
    for line in _summary(report):
        print(line)


def _table(tensors: tuple[TensorReport, ...], width: int | None) -> Iterator[str]:
    """A line of headers, and one for each tensor; names are folded into a `width`."""
    names = ["tensor", *(printable(tensor.name) for tensor in tensors)]
    columns = _columns(tensors)
    longest = max(map(len, names))
    room = min(longest, _PADDED)
    if width is not None:
        while len(columns) > 2 and width - _taken(columns) < _LEAST:
            del columns[0]
        room = min(longest, max(width - _taken(columns), _LEAST))
    folded = longest if width is None else room
    for name, *cells in zip(names, *columns, strict=True):
        yield "  ".join([name[:folded].ljust(room), *cells])
        yield from (name[i : i + folded] for i in range(folded, len(name), folded))


def _columns(tensors: tuple[TensorReport, ...]) -> list[list[str]]:
    """The columns behind the names, aligned; the first are those that are missed least."""
    columns = [
        ["shape", *("x".join(map(str, tensor.shape)) for tensor in tensors)],
        ["scheme", *(tensor.scheme.describe() if tensor.scheme else "kept" for tensor in tensors)],
        ["bits/weight", *(f"{tensor.bits_per_weight:.3f}" for tensor in tensors)],
        ["SQNR dB", *(f"{tensor.sqnr_db:.2f}" for tensor in tensors)],
    ]
    widths = [max(map(len, column)) for column in columns]
    return [[c.rjust(width) for c in column] for column, width in zip(columns, widths, strict=True)]


def _taken(columns: list[list[str]]) -> int:
    """Characters of a line that the columns and the gaps before them take."""
    return sum(2 + len(column[0]) for column in columns)


def _summary(report: Report) -> Iterator[str]:
    """What stands below the table."""
    yield from _kept(report.kept)
    yield from _files("not copied", report.not_copied)
    yield from _files("replaced", report.replaced)
    yield from _files("removed", report.removed)
    yield from _health(report.quantized)
    yield from _notes(report.quantized)
    yield f"quantized: {len(report.quantized)} of {len(report.tensors)} tensors, " + _sqnr(
        report.quantized
    )
    yield (
        f"weights: {report.bytes_before:,} -> {report.bytes_after:,} bytes, "
        f"{report.bytes_before / report.bytes_after:.2f}x smaller, in {report.seconds:.2f} s "
        f"({report.gigabytes_per_second:.2f} GB/s)"
    )


def _sqnr(tensors: tuple[TensorReport, ...]) -> str:
    """Mean and least SQNR of the tensors that lost something, and how many lost nothing."""
    lossy = [tensor for tensor in tensors if math.isfinite(tensor.sqnr_db)]
    exact = f"{len(tensors) - len(lossy)} exact"
    if not lossy:
        return exact
    mean = sum(t.sqnr_db * t.size for t in lossy) / sum(t.size for t in lossy)
    worst = min(lossy, key=lambda tensor: tensor.sqnr_db)
    return (
        f"SQNR {mean:.2f} dB (mean by size), least {worst.sqnr_db:.2f} dB "
        f"({printable(worst.name)})" + (f", {exact}" if len(lossy) < len(tensors) else "")
    )


def _kept(tensors: tuple[TensorReport, ...]) -> Iterator[str]:
    """How many tensors were copied unchanged, by reason."""
    for reason in dict.fromkeys(tensor.reason for tensor in tensors):
        group = [tensor.bytes_after for tensor in tensors if tensor.reason == reason]
        plural = "s" if len(group) > 1 else ""
        size = decimal(sum(group))
        yield f"kept unchanged: {len(group)} tensor{plural}, {size} ({printable(reason)})"


def _files(what: str, names: tuple[str, ...]) -> Iterator[str]:
    """What became of files, in one line."""
    if names:
        yield f"{what}: {', '.join(map(printable, names))}"


def _health(tensors: tuple[TensorReport, ...]) -> Iterator[str]:
    """What deserves a look, with its counts."""
    for what in dict.fromkeys(what for tensor in tensors for what in tensor.health):
        counts = {tensor.name: tensor.health.get(what, 0) for tensor in tensors}
        most = max(counts, key=lambda name: counts[name])
        yield (
            f"health: {sum(counts.values()):,} {what}, in {sum(map(bool, counts.values()))} of "
            f"{len(tensors)} tensors, most in {printable(most)} ({counts[most]:,})"
        )


def _notes(tensors: tuple[TensorReport, ...]) -> Iterator[str]:
    """What to know about the runtimes, for the schemes that occur."""
    notes = (note for t in tensors if t.scheme is not None for note in FORMAT.notes(t.scheme))
    yield from (f"note: {note}" for note in dict.fromkeys(notes))
