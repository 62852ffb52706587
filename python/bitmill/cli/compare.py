# SPDX-License-Identifier: MIT
"""`bitmill compare A B`: the error of each tensor of a quantized checkpoint."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import Any

from bitmill.checkpoint.compare import Comparison, compare_checkpoints
from bitmill.cli.arguments import add_json, add_threads, path, print_json, threads_of
from bitmill.cli.show import sqnr_text
from bitmill.cli.table import shape_text, table_lines
from bitmill.cli.text import printable

_DESCRIPTION = """\
Compare the quantized checkpoint A with the original B, tensor by tensor, the worst first: signal to
quantization noise, largest error, cosine. The two may come in either order. Reads what bitmill
writes, and float checkpoints."""


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "compare",
        help="what a quantized checkpoint lost",
        description=_DESCRIPTION,
    )
    parser.set_defaults(run=run, parser=parser)
    parser.add_argument("a", metavar="A", type=path, help="quantized checkpoint")
    parser.add_argument("b", metavar="B", type=path, help="original checkpoint")
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    found = compare_checkpoints(args.a, args.b, num_threads=threads_of(args))
    if args.json:
        print_json(found.to_dict())
    else:
        print_comparison(found)


def print_comparison(found: Comparison) -> None:
    """The table of tensors that differ, the worst first, and the others in a few lines."""
    worst = sorted(found.differences, key=lambda d: (d.metrics.sqnr_db, d.name))
    columns = [
        ["shape", *(shape_text(d.shape) for d in worst)],
        ["cosine", *(f"{d.metrics.cosine:.6f}" for d in worst)],
        ["max error", *(f"{d.metrics.max_abs:.3g}" for d in worst)],
        ["stored as", *(printable(d.kind) for d in worst)],
        ["SQNR dB", *(f"{d.metrics.sqnr_db:.2f}" for d in worst)],
    ]
    print(*table_lines(["tensor", *(d.name for d in worst)], columns), "", sep="\n")
    print(*_summary(found), sep="\n")


def _summary(found: Comparison) -> Iterator[str]:
    if found.identical:
        yield f"identical: {len(found.identical)} tensors"
    for name, why in found.incomparable.items():
        yield f"not comparable: {printable(name)} ({printable(why)})"
    for which, names in (("quantized", found.only_judged), ("original", found.only_original)):
        if names:
            yield f"only in the {which} checkpoint: {', '.join(map(printable, names))}"
    lost = sqnr_text((d.name, math.prod(d.shape), d.metrics.sqnr_db) for d in found.differences)
    yield f"compared: {len(found.differences)} tensors, {lost}"
