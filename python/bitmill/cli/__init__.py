# SPDX-License-Identifier: MIT
"""The command `bitmill`. This file imports little: Ctrl-C must be heeded while the rest loads."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is heeded as Ctrl-C is."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: that of the process); the exit code.

    0 done, 1 bad data or a failure of the system (one line on stderr), 2 wrong usage, 130 Ctrl-C,
    143 SIGTERM.
    """
    _settle_streams()
    try:
        with suppress(ValueError):  # signals belong to the main thread
            signal.signal(signal.SIGTERM, _terminate)
        from bitmill.cli.commands import run

        return run(argv)
    except KeyboardInterrupt as error:
        terminated = isinstance(error, Terminated)
        end, code = ("terminated", 143) if terminated else ("interrupted", 130)
        said = "; ".join((end, *getattr(error, "__notes__", ())))
    with suppress(OSError):
        print(f"bitmill: {said}", file=sys.stderr)
    return code


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _settle_streams() -> None:
    """Let closed streams lead nowhere, and escape what the others cannot encode."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
