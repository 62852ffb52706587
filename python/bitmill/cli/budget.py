# SPDX-License-Identifier: MIT
"""`bitmill quantize --budget`: the options, and the plan that they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from bitmill.checkpoint import Plan, plan_budget, read_sensitivity
from bitmill.checkpoint.budget import parse_budget
from bitmill.checkpoint.convert import MAX_MEMORY
from bitmill.checkpoint.plan import MAX_SHARD_SIZE
from bitmill.cli.arguments import CANDIDATES, add_candidates, path, pattern
from bitmill.cli.progress import ProgressDisplay

BUDGET = ("candidates", "sensitivity", "pin")
"""What goes with `--budget` only."""
MEASURING = ("max_memory", "importance", "on_nonfinite")
"""What counts while candidates are measured, also without writing."""


def add_budget(group: Any) -> None:
    """Add the options."""
    group.add_argument(
        "--budget",
        type=_budget,
        metavar="SIZE",
        help="choose schemes for the least summed error in 4.25bpw (bits per weight over all "
        "weights that are selected, with scales and the like) or 3.1GB (of all tensor data)",
    )
    add_candidates(group, default=None)
    group.add_argument(
        "--sensitivity",
        type=path,
        metavar="FILE",
        help="take what 'bitmill sensitivity --out FILE' measured, and measure nothing",
    )
    group.add_argument(
        "--pin",
        action="append",
        default=[],
        type=_pin,
        metavar="PATTERN=NAME",
        help="give modules this candidate; can be repeated, the first match wins",
    )


def plan_for_budget(args: argparse.Namespace, num_threads: int) -> Plan:
    """The plan; without candidates that are named, the usual ones, or all that were measured."""
    measured = None if args.sensitivity is None else read_sensitivity(args.sensitivity)
    names = args.candidates or (CANDIDATES.split(",") if measured is None else None)
    pinned: dict[str, str] = {}
    for which, label in args.pin:
        pinned.setdefault(which, label)
    with ProgressDisplay() as display:
        return plan_budget(
            args.src,
            args.budget,
            names,
            None if measured else args.importance,
            sensitivity=measured,
            pinned=pinned,
            ignore=args.ignore,
            include=args.include,
            scale_dtype=None if measured else args.scale_dtype or "auto",
            split_fused=args.split_fused,
            max_shard_size=args.max_shard_size or MAX_SHARD_SIZE,
            max_memory=args.max_memory or MAX_MEMORY,
            num_threads=num_threads,
            progress=display,
            on_nonfinite=args.on_nonfinite,
        )


def allocation_lines(plan: Plan) -> Iterator[str]:
    """How many weights got which scheme, and what the choice takes and loses."""
    chosen = plan.allocation
    if chosen is None:
        return
    tensors = [tensor for tensor in plan.tensors if tensor.name in chosen.choice]
    counts: dict[str, int] = {}
    for tensor in tensors:
        counts[chosen.choice[tensor.name]] = counts.get(chosen.choice[tensor.name], 0) + 1
    size = sum(tensor.info.size for tensor in tensors)
    given = ", ".join(f"{label} for {count}" for label, count in sorted(counts.items()))
    yield f"chosen: {given}"
    proven = "none is less" if chosen.exact else f"none is less than {chosen.lower_bound:.6g}"
    yield (
        f"allocation: {chosen.bytes:,} bytes, {8 * chosen.bytes / size:.4f} bits per weight, "
        f"summed error {chosen.error:.6g} ({proven} within the budget)"
    )


def _budget(text: str) -> str:
    """A budget as it was typed."""
    try:
        parse_budget(text, "it")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _pin(text: str) -> tuple[str, str]:
    """A pattern and a name."""
    given, equals, label = text.rpartition("=")
    if not (given and equals and label):
        raise argparse.ArgumentTypeError(f"{text!r} is not PATTERN=NAME")
    return pattern(given), label
