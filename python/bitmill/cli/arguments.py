# SPDX-License-Identifier: MIT
"""Arguments that several commands take, and their types for argparse."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bitmill._check import MAX_THREADS
from bitmill._threads import resolve as resolve_threads
from bitmill.checkpoint.candidates import Candidates, resolve
from bitmill.checkpoint.convert import MAX_MEMORY, ON_NONFINITE
from bitmill.checkpoint.patterns import check_pattern
from bitmill.checkpoint.planner import SCALE_DTYPES
from bitmill.checkpoint.sizes import parse_size
from bitmill.clip import Clip
from bitmill.clip import resolve as resolve_clip

CANDIDATES = "W2,W3,W4,W5,W6,W8,KEEP"
"""Where none are named."""


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add `--threads`."""
    parser.add_argument(
        "--threads", type=_threads, metavar="N", help="threads (default: all usable cores)"
    )


def threads_of(args: argparse.Namespace) -> int:
    """The number of threads, from `--threads` or the environment; a wrong one ends the program."""
    try:
        return resolve_threads(args.threads)
    except ValueError as error:
        parser: argparse.ArgumentParser = args.parser
        parser.error(str(error))


def add_patterns(group: Any) -> None:
    """Add `--ignore` and `--include`."""
    for option, what in (
        ("--ignore", "keep modules as they are"),
        ("--include", "quantize modules besides Linear"),
    ):
        group.add_argument(
            option, action="append", default=[], type=pattern, metavar="PATTERN", help=what
        )


def add_candidates(group: Any, *, default: str | None = CANDIDATES) -> None:
    """Add `--candidates`."""
    group.add_argument(
        "--candidates",
        type=candidates,
        default=default,
        metavar="NAME,...",
        help=f"schemes to choose from (default: {CANDIDATES})",
    )


def add_scale_dtype(group: Any) -> None:
    """Add `--scale-dtype`."""
    group.add_argument(
        "--scale-dtype",
        choices=SCALE_DTYPES,
        help="storage of the scales (default: auto, the dtype of the model)",
    )


def add_run(group: Any) -> None:
    """Add `--max-memory`, `--importance` and `--on-nonfinite`."""
    group.add_argument(
        "--max-memory",
        type=size,
        metavar="SIZE",
        help=f"memory for the tensors, such as 256MiB (default: {MAX_MEMORY})",
    )
    group.add_argument(
        "--importance",
        type=path,
        metavar="FILE",
        help="weigh errors by the columns of a weight: .npz or .safetensors with one number per "
        "column for each, or an imatrix GGUF of llama.cpp (pip install 'bitmill[gguf]')",
    )
    group.add_argument(
        "--on-nonfinite",
        default="error",
        choices=ON_NONFINITE,
        help="a weight with NaN or infinities: stop (default), or leave it unquantized",
    )


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


def candidates(text: str) -> Candidates:
    """Names of candidates, separated by commas."""
    names = [name.strip() for name in text.split(",")]
    try:
        return list(resolve(names))
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
