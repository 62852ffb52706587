# SPDX-License-Identifier: MIT
"""What the command line prints: progress on stderr, tables and totals on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType

import rich.progress
from rich.console import Console
from rich.filesize import decimal
from rich.table import Column, Table

from bitmill.checkpoint import Progress, Report, TensorReport
from bitmill.formats import compressed_tensors

PIPED_WIDTH = 10_000
"""Columns of a line where no terminal cuts it: no name is folded."""


def one_line(error: Exception) -> str:
    """The text of an error without line breaks; for one of the system, what failed and where."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """`text` with control characters escaped: names come from files, and terminals obey them.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class ProgressDisplay:
    """Takes `Progress`: a bar where stderr is a terminal, else a line for each tenth of the way."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._tenths = 0
        self._bar = _bar() if sys.stderr.isatty() else None
        self._task = self._bar.add_task("", total=None, tensor="") if self._bar else None

    def __enter__(self) -> ProgressDisplay:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, now: Progress) -> None:
        """Show that a tensor is finished."""
        name = printable(now.tensor)
        if self._bar and self._task is not None:
            done, total = now.bytes_done, now.bytes_total
            self._bar.update(self._task, total=total, completed=done, tensor=name)
            return
        share = now.bytes_done / max(now.bytes_total, 1)
        if int(10 * share) > self._tenths:
            self._tenths = int(10 * share)
            seconds = time.perf_counter() - self._start
            rate, left = now.bytes_done / seconds / 1e9, seconds / share - seconds
            line = f"{share:4.0%}  {rate:.2f} GB/s  {left:.0f} s left  {name}"
            with suppress(BrokenPipeError):  # nobody listens any more: no reason to stop the work
                print(line, file=sys.stderr)


class _Console(Console):
    """Leaves a broken pipe to `main`; rich would end the program with exit code 1."""

    def on_broken_pipe(self) -> None:
        raise  # the error that rich is handling


def print_report(report: Report) -> None:
    """The table of quantized tensors, what was kept and why, notes, and totals."""
    console = _Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(_table(report.quantized))
    console.print()
    for line in _summary(report):
        console.print(line, soft_wrap=True)


def _bar() -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.TextColumn(
            "{task.fields[tensor]}",
            markup=False,
            table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
        ),
        rich.progress.BarColumn(20),
        rich.progress.TaskProgressColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        expand=True,
    )


def _table(tensors: tuple[TensorReport, ...]) -> Table:
    """One row for each tensor."""
    table = Table(box=None, pad_edge=False)
    table.add_column("tensor", overflow="fold")
    for header in ("shape", "scheme", "bits/weight", "SQNR dB"):
        table.add_column(header, justify="right", no_wrap=True)
    for tensor in tensors:
        table.add_row(
            printable(tensor.name),
            "x".join(map(str, tensor.shape)),
            tensor.scheme.describe() if tensor.scheme else "kept",
            f"{tensor.bits_per_weight:.3f}",
            f"{tensor.sqnr_db:.2f}",
        )
    return table


def _summary(report: Report) -> list[str]:
    """What stands below the table."""
    worst = min(report.quantized, key=lambda tensor: tensor.sqnr_db)
    weights = sum(tensor.size for tensor in report.quantized)
    mean = sum(tensor.sqnr_db * tensor.size for tensor in report.quantized) / weights
    ratio = report.bytes_before / report.bytes_after
    return [
        *_kept(report.kept),
        *(f"not copied: {printable(name)}" for name in report.not_copied),
        *_health(report.quantized),
        *_notes(report.quantized),
        f"quantized: {len(report.quantized)} of {len(report.tensors)} tensors, SQNR {mean:.2f} dB "
        f"(mean by size), least {worst.sqnr_db:.2f} dB ({printable(worst.name)})",
        f"weights: {report.bytes_before:,} -> {report.bytes_after:,} bytes, {ratio:.2f}x smaller, "
        f"in {report.seconds:.2f} s ({report.gigabytes_per_second:.2f} GB/s)",
    ]


def _kept(tensors: tuple[TensorReport, ...]) -> Iterator[str]:
    """How many tensors were copied unchanged, by reason."""
    for reason in dict.fromkeys(tensor.reason for tensor in tensors):
        group = [tensor.bytes_after for tensor in tensors if tensor.reason == reason]
        plural = "s" if len(group) > 1 else ""
        size = decimal(sum(group))
        yield f"kept unchanged: {len(group)} tensor{plural}, {size} ({printable(reason)})"


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
    schemes = dict.fromkeys(tensor.scheme for tensor in tensors if tensor.scheme is not None)
    for note in dict.fromkeys(n for scheme in schemes for n in compressed_tensors.notes(scheme)):
        yield f"note: {note}"
