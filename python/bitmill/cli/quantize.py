# SPDX-License-Identifier: MIT
"""`bitmill quantize SRC DST`: a checkpoint in, a smaller one out, and a table of what it lost."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bitmill._threads import resolve
from bitmill.checkpoint import plan_checkpoint, quantize_checkpoint
from bitmill.checkpoint.patterns import check_pattern
from bitmill.checkpoint.plan import SCALE_DTYPES
from bitmill.cli.show import ProgressDisplay, print_report
from bitmill.schemes.affine import Affine

SCHEMES = {"W4A16": 4, "W8A16": 8}
"""Bits of the schemes that have a name in vLLM and llm-compressor."""

_DESCRIPTION = """\
Quantize the Linear weights of SRC (a safetensors file, or the folder of a checkpoint) into the
folder DST, in the pack-quantized format of compressed-tensors that vLLM, SGLang and Transformers
load. Everything else is copied unchanged.

A PATTERN is a module's name (a tensor's without .weight), Linear (2-D weights that are no
embeddings, norms or lm_head), or re: and a regex that matches from the start of the name."""


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "quantize",
        help="quantize a checkpoint",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, parser=parser)
    add = parser.add_argument
    add("src", metavar="SRC", type=Path, help="safetensors file or folder to read")
    add("dst", metavar="DST", type=Path, help="folder to write")
    width = parser.add_mutually_exclusive_group()
    width.add_argument("--scheme", choices=SCHEMES, help="named scheme (default: W4A16)")
    width.add_argument("--bits", type=int, choices=range(2, 9), help="bits per code")
    add("--asymmetric", action="store_true", help="with --bits: a zero-point for each scale")
    add(
        "--group-size",
        type=_group_size,
        metavar="N|none",
        help="weights per scale, or none: one scale per row (default: 128, none at 8 bits)",
    )
    add("--clip", default="minmax", help="how ranges are chosen (default: minmax)")
    add(
        "--scale-rule",
        default="absmax",
        choices=("absmax", "full_range", "signed_max"),
        help="how a range becomes a scale (default: absmax)",
    )
    add(
        "--scale-dtype",
        default="auto",
        choices=SCALE_DTYPES,
        help="storage of the scales (default: auto, the dtype of the model)",
    )
    pattern = {
        "nargs": "+",
        "action": "extend",
        "default": [],
        "type": _pattern,
        "metavar": "PATTERN",
    }
    add("--ignore", **pattern, help="modules to keep as they are")
    add("--include", **pattern, help="modules to quantize besides Linear")
    add("--threads", type=positive, metavar="N", help="threads (default: all usable cores)")
    add("--overwrite", action="store_true", help="replace the checkpoint in DST")


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    scheme, num_threads = scheme_of(args), threads_of(args)
    plan = plan_checkpoint(
        args.src,
        scheme,
        ignore=args.ignore,
        include=args.include,
        scale_dtype=args.scale_dtype,
    )
    with ProgressDisplay() as display:
        report = quantize_checkpoint(
            args.src,
            args.dst,
            plan,
            num_threads=num_threads,
            progress=display,
            overwrite=args.overwrite,
        )
    print_report(report)
    print(f"written to {args.dst}")


def scheme_of(args: argparse.Namespace) -> Affine:
    """The scheme that the options describe; options that exclude each other end the program."""
    parser: argparse.ArgumentParser = args.parser
    if args.asymmetric and args.bits is None:
        parser.error("--asymmetric goes with --bits; the named schemes are symmetric")
    bits = args.bits or SCHEMES[args.scheme or "W4A16"]
    group_size = args.group_size
    if group_size is None:
        group_size = 0 if bits == 8 else 128
    try:
        return Affine(
            bits,
            symmetric=not args.asymmetric,
            group_size=group_size or None,
            clip=args.clip,
            scale_rule=args.scale_rule,
        )
    except ValueError as error:
        parser.error(str(error))


def threads_of(args: argparse.Namespace) -> int:
    """The number of threads, from `--threads` or the environment; a wrong one ends the program."""
    try:
        return resolve(args.threads)
    except ValueError as error:
        parser: argparse.ArgumentParser = args.parser
        parser.error(str(error))


def positive(text: str) -> int:
    """A count of at least 1, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _group_size(text: str) -> int:
    """A group size; 0 for none, since None is what argparse leaves where nothing was said."""
    return 0 if text.lower() == "none" else positive(text)


def _pattern(text: str) -> str:
    try:
        return check_pattern(text, "pattern")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
