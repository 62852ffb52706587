# SPDX-License-Identifier: MIT
"""`bitmill export SRC DST --to FORMAT`: a quantized checkpoint, repacked for another runtime."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from bitmill.cli.arguments import add_json, path, print_json
from bitmill.cli.progress import ProgressDisplay
from bitmill.cli.show import files_line
from bitmill.cli.text import printable
from bitmill.export import TARGETS, Exported, export_checkpoint

_DESCRIPTION = """\
Repack the quantized checkpoint SRC, which bitmill made, into the folder DST for another runtime,
with no value changed. onnx is a graph with a MatMulNBits node for each weight (pip install
'bitmill[onnx]'); mlx is what mlx-lm loads, gptq what vLLM and GPTQModel load. gptq is the first
version of that format, for symmetric weights; gptq_v2 takes zero-points. What a format cannot hold
exactly is named in one message, and nothing is written."""


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "export",
        help="repack a quantized checkpoint for ONNX, MLX or GPTQ",
        description=_DESCRIPTION,
    )
    parser.set_defaults(run=run, parser=parser)
    parser.add_argument("src", metavar="SRC", type=path, help="checkpoint that bitmill quantized")
    parser.add_argument("dst", metavar="DST", type=path, help="folder to write")
    parser.add_argument("--to", required=True, choices=TARGETS, help="what to write")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the checkpoint that is in DST"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    with ProgressDisplay() as display:
        done = export_checkpoint(
            args.src, args.dst, to=args.to, overwrite=args.overwrite, progress=display
        )
    if args.json:
        print_json(done.to_dict())
    else:
        print(*_lines(done), sep="\n")


def _lines(done: Exported) -> Iterator[str]:
    """What was written."""
    yield from files_line("not copied", done.not_copied)
    yield from files_line("replaced", done.replaced)
    yield from files_line("removed", done.removed)
    yield from (f"note: {note}" for note in done.notes)
    for name, size in done.files.items():
        yield f"file: {printable(name)}, {size:,} bytes"
    yield f"exported to {done.to}: {len(done.weights)} weights; {len(done.kept)} tensors copied"
