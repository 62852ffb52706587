# SPDX-License-Identifier: MIT
"""The command `bitmill`: its parser, and how errors become exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import bitmill
from bitmill.checkpoint import CheckpointError
from bitmill.cli import demo, quantize
from bitmill.cli.show import one_line


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: that of the process); the exit code.

    0 done, 1 bad data or a failure of the system (one line on stderr), 2 wrong usage, 130 Ctrl-C.
    """
    try:
        args = _parser().parse_args(argv)
        args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output left, as `| head` does. What was asked for is done: results are
        # printed after the work. Python flushes stdout once more at exit: give it a place to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (CheckpointError, OSError) as error:
        print(f"bitmill: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bitmill: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bitmill",
        description="Quantize the weights of large language models on a CPU, exactly.",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    quantize.add_parser(commands)
    demo.add_parser(commands)
    return parser


def _version() -> str:
    """Version, the instruction set in use and the usable ones."""
    return f"bitmill {bitmill.__version__}, {bitmill.isa()} (usable: {', '.join(bitmill.isas())})"
