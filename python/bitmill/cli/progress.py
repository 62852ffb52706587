# SPDX-License-Identifier: MIT
"""Progress on stderr: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType

import rich.progress
from rich.console import Console
from rich.table import Column

from bitmill.checkpoint import Progress
from bitmill.cli.text import printable

_NARROW = 80
"""Columns of a terminal that has no room for the bar beside the tensor's name."""


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
        """Show that a piece is finished."""
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
            with suppress(OSError):  # nobody listens any more: no reason to stop the work
                print(line, file=sys.stderr)


def _bar() -> rich.progress.Progress:
    console = Console(stderr=True)
    return rich.progress.Progress(
        rich.progress.TextColumn(
            "{task.fields[tensor]}",
            markup=False,
            table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
        ),
        *([] if console.width < _NARROW else [rich.progress.BarColumn(20)]),
        rich.progress.TaskProgressColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
        console=console,
        transient=True,
        expand=True,
    )
