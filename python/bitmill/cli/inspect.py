# SPDX-License-Identifier: MIT
"""`bitmill inspect PATH`: what is in a checkpoint, quantized or not, by bitmill or others."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from bitmill.checkpoint.inspect import (
    PLAIN,
    Contents,
    Item,
    inspect_checkpoint,
    inspect_tensor,
)
from bitmill.cli.arguments import add_json, path, print_json
from bitmill.cli.table import shape_text, table_lines
from bitmill.cli.text import printable

_DESCRIPTION = """\
Say what is in PATH (a safetensors file, a GGUF file, or the folder of a checkpoint): who quantized
it and how, and every tensor. Recognized are compressed-tensors, bitmill's own format, GPTQ, AWQ,
bitsandbytes, MLX and GGUF. No values are read but those of --tensor."""


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "inspect",
        help="what is in a checkpoint",
        description=_DESCRIPTION,
    )
    parser.set_defaults(run=run, parser=parser)
    parser.add_argument("path", metavar="PATH", type=path, help="file or folder to read")
    parser.add_argument("--tensor", metavar="NAME", help="one tensor in detail, with its values")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    if args.tensor is not None:
        found = inspect_tensor(args.path, args.tensor)
        if args.json:
            print_json(found)
        else:
            _print_facts(found)
        return
    contents = inspect_checkpoint(args.path)
    if args.json:
        print_json(contents.to_dict())
    else:
        print_contents(contents)


def print_contents(contents: Contents) -> None:
    """A table of all tensors, and what they are together."""
    items = contents.items
    columns = [
        ["bits/weight", *(_bits(item) for item in items)],
        ["bytes", *("?" if item.nbytes is None else f"{item.nbytes:,}" for item in items)],
        ["shape", *(shape_text(item.shape) for item in items)],
        ["stored as", *(printable(item.kind) for item in items)],
    ]
    print(*table_lines(["tensor", *(item.name for item in items)], columns), "", sep="\n")
    for key, value in contents.facts.items():
        print(f"{printable(key)}: {printable(value)}")
    for name, size in contents.files.items():
        print(f"file: {printable(name)}, {size:,} bytes")
    kinds = Counter(item.kind for item in contents.quantized)
    listed = ", ".join(f"{count} {printable(kind)}" for kind, count in kinds.most_common())
    if contents.method == PLAIN:
        print(f"{PLAIN}: {len(items)} tensors")
    else:
        print(f"quantized by {printable(contents.method)}: {listed or 'nothing known'}")


def _bits(item: Item) -> str:
    return "?" if item.bits_per_weight is None else f"{item.bits_per_weight:.3f}"


def _print_facts(found: dict[str, Any], indent: str = "") -> None:
    """An object as lines of `key: value`."""
    for key, value in found.items():
        if isinstance(value, dict):
            print(f"{indent}{printable(key)}:")
            _print_facts(value, indent + "  ")
        elif key == "shape" and value is not None:
            print(f"{indent}shape: {shape_text(tuple(value))}")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            print(f"{indent}{printable(key)}: {printable('?' if shown is None else shown)}")
