# SPDX-License-Identifier: MIT
"""`bitmill report DIR`: the report that `bitmill quantize` left in a folder, once more."""

from __future__ import annotations

import argparse
from typing import Any

from bitmill.checkpoint import read_report
from bitmill.cli.arguments import add_json, path, print_json
from bitmill.cli.show import report_lines


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    text = "Print the report in DIR, which 'bitmill quantize' wrote: the worst tensors first."
    parser = commands.add_parser(
        "report", help="what quantizing a checkpoint lost", description=text
    )
    parser.set_defaults(run=run, parser=parser)
    parser.add_argument("dir", metavar="DIR", type=path, help="folder that bitmill wrote")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    report = read_report(args.dir)
    if args.json:
        print_json(report.to_dict())
    else:
        print(*report_lines(report), sep="\n")
