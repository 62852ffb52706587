# SPDX-License-Identifier: MIT
"""Arguments that several commands take, and their types for argparse."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bitmill._check import MAX_THREADS
from bitmill._threads import resolve
from bitmill.checkpoint.patterns import check_pattern
from bitmill.checkpoint.sizes import parse_size
from bitmill.clip import Clip
from bitmill.clip import resolve as resolve_clip


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add `--threads`."""
    parser.add_argument(
        "--threads", type=_threads, metavar="N", help="threads (default: all usable cores)"
    )


def threads_of(args: argparse.Namespace) -> int:
    """The number of threads, from `--threads` or the environment; a wrong one ends the program."""
    try:
        return resolve(args.threads)
    except ValueError as error:
        parser: argparse.ArgumentParser = args.parser
        parser.error(str(error))


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def print_json(value: dict[str, Any]) -> None:
    """Print an object as JSON; characters that a terminal would obey are escaped."""
    json.dump(value, sys.stdout, indent=2)
    print()


def path(text: str) -> Path:
    """A path; an empty one would be taken for the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("is empty ('.' is the current folder)")
    return Path(text)


def pattern(text: str) -> str:
    """A pattern that selects weights."""
    try:
        return check_pattern(text, "pattern")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def clip(text: str) -> Clip:
    """A way to choose ranges, such as "minmax"."""
    try:
        return resolve_clip(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def group_size(text: str) -> int:
    """A group size; 0 for none, since None is what argparse leaves where nothing was said."""
    return 0 if text.lower() == "none" else _positive(text)


def size(text: str) -> int:
    """A number of bytes, such as 256MiB."""
    try:
        return parse_size(text, "it")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _threads(text: str) -> int:
    count = _positive(text)
    if count > MAX_THREADS:
        raise argparse.ArgumentTypeError(f"{count} is more than {MAX_THREADS}")
    return count
