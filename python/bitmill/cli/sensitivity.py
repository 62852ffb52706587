# SPDX-License-Identifier: MIT
"""`bitmill sensitivity SRC`: what each candidate scheme would take and lose on each weight."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import Any

from bitmill.checkpoint import Sensitivity, TensorSensitivity, sensitivity
from bitmill.checkpoint.candidates import KEEP
from bitmill.checkpoint.convert import MAX_MEMORY
from bitmill.cli.arguments import (
    add_candidates,
    add_json,
    add_patterns,
    add_run,
    add_scale_dtype,
    add_threads,
    path,
    print_json,
    threads_of,
)
from bitmill.cli.hub import local, source
from bitmill.cli.progress import ProgressDisplay
from bitmill.cli.table import shape_text, table_lines
from bitmill.cli.text import printable

_DESCRIPTION = """\
Measure the Linear weights of SRC under every candidate: signal to quantization
noise in dB, the worst weight first, and what each candidate takes and loses in
all. Nothing is written but the FILE of --out, which 'bitmill quantize
--budget' takes.

A NAME is W2 to W8: codes of 2 to 8 bits in groups of 128 (at 8 bits: a scale
per row), with ranges of least squared error. Behind it may stand other groups,
as in W4g32 or W4row, then a for a zero-point or o for a real offset: W3g64a. Or
the name of a --scheme of 'bitmill quantize'; or KEEP, the weight as it is.
A PATTERN is as for 'bitmill quantize'."""


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "sensitivity",
        help="what schemes would take and lose on each weight",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, parser=parser)
    parser.add_argument("src", metavar="SRC", type=source, help="file, folder or org/name to read")
    add_candidates(parser)
    add_scale_dtype(parser)
    add_patterns(parser)
    add_run(parser)
    parser.add_argument("--out", type=path, metavar="FILE", help="write what was measured as JSON")
    add_threads(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    num_threads = threads_of(args)
    with ProgressDisplay() as display:
        found = sensitivity(
            local(args.src),
            args.candidates,
            args.importance,
            ignore=args.ignore,
            include=args.include,
            scale_dtype=args.scale_dtype or "auto",
            max_memory=args.max_memory or MAX_MEMORY,
            num_threads=num_threads,
            progress=display,
            on_nonfinite=args.on_nonfinite,
        )
    if args.out is not None:
        found.save(args.out)
    if args.json:
        print_json(found.to_dict())
    else:
        print(*sensitivity_lines(found), sep="\n")
        if args.out is not None:
            print(f"written to {printable(args.out)}")


def sensitivity_lines(found: Sensitivity) -> Iterator[str]:
    """The SQNR of each weight under each candidate, totals of the candidates, what is left out."""
    labels = [label for label in found.candidates if label != KEEP]
    worst_first = sorted(found.tensors, key=lambda tensor: (_least(tensor), tensor.name))
    columns = [["shape", *(shape_text(tensor.shape) for tensor in worst_first)]]
    columns += [[label, *(_sqnr(tensor, label) for tensor in worst_first)] for label in labels]
    names = ["SQNR in dB", *(tensor.name for tensor in worst_first)]
    yield from table_lines(names, columns, keep=len(labels))
    yield ""
    yield from _totals(found)
    yield from _left_out(found)


def _least(tensor: TensorSensitivity) -> float:
    return min((measure.sqnr_db for measure in tensor.measured.values()), default=-math.inf)


def _sqnr(tensor: TensorSensitivity, label: str) -> str:
    measure = tensor.measured.get(label)
    if measure is None:
        return "-"
    return "exact" if measure.sqnr_db == math.inf else f"{measure.sqnr_db:.2f}"


def _totals(found: Sensitivity) -> Iterator[str]:
    """A table of the candidates: over the weights that each of them suits."""
    rows = [("scheme", "tensors", "bytes", "bits/weight", "error")]
    for label, layer in found.candidates.items():
        suited = [tensor for tensor in found.tensors if label in tensor.measured]
        size = sum(tensor.size for tensor in suited)
        nbytes = sum(tensor.measured[label].bytes for tensor in suited)
        error = math.fsum(tensor.measured[label].error for tensor in suited)
        bits = f"{8 * nbytes / size:.3f}" if size else "-"
        words = "as it is" if layer is None else layer.describe()
        rows.append((words, str(len(suited)), f"{nbytes:,}", bits, f"{error:.6g}"))
    columns = list(zip(*rows, strict=True))
    yield from table_lines(["candidate", *found.candidates], columns, keep=len(columns))
    weighed = ", weighed by importance" if found.weighed else ""
    yield f"measured: {len(found.tensors)} tensors, {found.size:,} weights{weighed}"


def _left_out(found: Sensitivity) -> Iterator[str]:
    """Which candidates do not suit which weights, by the reason."""
    names: dict[tuple[str, str], list[str]] = {}
    for tensor in found.tensors:
        for label, why in tensor.left_out.items():
            names.setdefault((label, why), []).append(tensor.name)
    for (label, why), which in names.items():
        yield f"no {label} for {printable(', '.join(which))} ({printable(why)})"
