# SPDX-License-Identifier: MIT
"""The parser of the command line, and how errors become exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import bitmill
from bitmill.checkpoint import CheckpointError
from bitmill.cli import compare, demo, export, inspect, quantize, report, sensitivity
from bitmill.cli.text import one_line


def run(argv: Sequence[str] | None) -> int:
    """Parse `argv` and do what it asks for; the exit code."""
    try:
        args = _parser().parse_args(argv)
        args.run(args)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        # The reader of our output left, as `| head` does. What was asked for is done: results are
        # printed after the work.
        code = 0
    except (CheckpointError, OSError) as error:
        with suppress(OSError):
            print(f"bitmill: {one_line(error)}", file=sys.stderr)
        code = 1
    try:
        sys.stdout.flush()
    except OSError:  # Python will try once more at exit: give it a place to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bitmill",
        description="Quantize the weights of large language models on a CPU, exactly.",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (quantize, inspect, compare, report, sensitivity, export, demo):
        command.add_parser(commands)
    return parser


def _version() -> str:
    """Version, the instruction set in use and the usable ones."""
    return f"bitmill {bitmill.__version__}, {bitmill.isa()} (usable: {', '.join(bitmill.isas())})"
