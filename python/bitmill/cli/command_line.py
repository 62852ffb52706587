# SPDX-License-Identifier: MIT
"""The command line as a file may tell it: without paths, and without what changes no byte."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bitmill.clip import spelled

_NO_MATTER = ("help", "dry_run", "overwrite", "max_memory", "profile", "dask", "threads", "json")
"""What no byte of the target depends on, by the names in the namespace."""

_SPELLED: dict[str, Callable[[Any], str]] = {
    "clip": spelled,
    "group_size": lambda size: str(size or "none"),
    "candidates": ",".join,
    "pin": "=".join,
}
"""How values are typed that argparse has made something else of."""


def command_line(args: argparse.Namespace) -> str:
    """`bitmill quantize SRC DST` and the options that are not the defaults, in a fixed order.

    Files are called by their options: `--rules RULES`. What was typed in another way, in another
    order or with other threads gives the same text.
    """
    parser: argparse.ArgumentParser = args.parser
    words = [parser.prog, *(word for action in parser._actions for word in _words(args, action))]
    return " ".join(words)


def _words(args: argparse.Namespace, action: argparse.Action) -> Iterator[str]:
    """What is typed for one argument."""
    if action.dest in _NO_MATTER:
        return
    value = getattr(args, action.dest)
    if not action.option_strings:
        yield action.dest.upper()
        return
    if value == action.default:
        return
    option = action.option_strings[0]
    if action.nargs == 0:
        yield option
        return
    for each in value if isinstance(action, argparse._AppendAction) else (value,):
        yield option
        yield _text(action.dest, each)


def _text(name: str, value: Any) -> str:
    if isinstance(value, Path):
        return name.upper()
    return shlex.quote(_SPELLED.get(name, str)(value))
