# SPDX-License-Identifier: MIT
"""`bitmill report DIR`: what quantizing a checkpoint lost, as text, or as a page to look at."""

from __future__ import annotations

import argparse
from typing import Any

from bitmill.checkpoint import read_report
from bitmill.cli.arguments import add_threads, path, print_json, threads_of
from bitmill.cli.hub import local, source
from bitmill.cli.progress import ProgressDisplay
from bitmill.cli.show import report_lines
from bitmill.cli.text import printable
from bitmill.reports import destinations, report

_DESCRIPTION = """\
Print the report in DIR, which 'bitmill quantize' wrote: the worst tensors first. With --html, make
a page of it that needs nothing else: a table to sort and filter; of each tensor its histogram with
the levels of its codes, where its error is, and what else it could have got; sizes against errors;
and the command that made it. CSV and JSON files lie beside it. They hold no paths and no times."""

_LOOKING = ("source", "sensitivity", "threads")
"""What goes with files only."""


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "report", help="what quantizing a checkpoint lost", description=_DESCRIPTION
    )
    parser.set_defaults(run=run, parser=parser)
    parser.add_argument("dir", metavar="DIR", type=path, help="folder that bitmill wrote")
    add = parser.add_argument
    add("--html", type=path, metavar="FILE", help="write the page, and FILE.csv and FILE.json")
    add("--csv", type=path, metavar="FILE", help="write a line for each tensor")
    add(
        "--json",
        type=path,
        nargs="?",
        const=True,
        metavar="FILE",
        help="write all that is in the page as JSON; without FILE and --html: print the report so",
    )
    add(
        "--source",
        type=source,
        metavar="SRC",
        help="what was quantized: shows where the error is, and histograms of the source's values",
    )
    add(
        "--sensitivity",
        type=path,
        metavar="FILE",
        help="what 'bitmill sensitivity --out FILE' measured of it: shows the alternatives "
        "(default: what was measured for --budget)",
    )
    add_threads(parser)


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    files = {"html": args.html, "csv": args.csv, "json": None if args.json is True else args.json}
    if not any(files.values()):
        _print(args)
        return
    num_threads = threads_of(args)
    try:
        paths = destinations(**files)
    except ValueError as error:
        args.parser.error(str(error))
    with ProgressDisplay() as display:
        report(
            args.dir,
            **files,
            source=None if args.source is None else local(args.source),
            sensitivity=args.sensitivity,
            num_threads=num_threads,
            progress=display,
        )
    print(*(f"written to {printable(path)}" for path in paths.values()), sep="\n")


def _print(args: argparse.Namespace) -> None:
    """The report of the conversion, for the terminal or as JSON."""
    for name in _LOOKING:
        if getattr(args, name) is not None:
            args.parser.error(f"--{name} goes with --html, --csv or --json FILE")
    told = read_report(args.dir)
    if args.json:
        print_json(told.to_dict())
    else:
        print(*report_lines(told), sep="\n")
