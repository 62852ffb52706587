# SPDX-License-Identifier: MIT
"""`bitmill quantize SRC DST`: a checkpoint in, a smaller one out, and a table of what it lost."""

from __future__ import annotations

import argparse
from typing import Any

from bitmill import clip
from bitmill.checkpoint import plan_checkpoint, quantize_checkpoint
from bitmill.checkpoint.plan import SCALE_DTYPES
from bitmill.cli.arguments import add_threads, group_size, path, pattern, threads_of
from bitmill.cli.progress import ProgressDisplay
from bitmill.cli.show import print_report
from bitmill.cli.text import printable
from bitmill.schemes import Affine

SCHEMES = {"W4A16": 4, "W8A16": 8}
"""Bits of the schemes that have a name in vLLM and llm-compressor."""

_DESCRIPTION = """\
Quantize the Linear weights of SRC (a safetensors file, or the folder of a checkpoint) into the
folder DST, in the pack-quantized format of compressed-tensors that vLLM, SGLang and Transformers
load. Everything else is copied unchanged.

A PATTERN is a module's name (a tensor's without .weight), Linear (2-D weights that are no
embeddings, norms or lm_head), or re: and a regex that matches from the start of the name. --ignore
and --include take one pattern each, and can be repeated."""


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
    add("src", metavar="SRC", type=path, help="safetensors file or folder to read")
    add("dst", metavar="DST", type=path, help="folder to write")
    width = parser.add_mutually_exclusive_group()
    width.add_argument("--scheme", choices=SCHEMES, help="named scheme (default: W4A16)")
    width.add_argument("--bits", type=int, choices=range(2, 9), help="bits per code")
    add("--asymmetric", action="store_true", help="with --bits: a zero-point for each scale")
    add(
        "--group-size",
        type=group_size,
        metavar="N|none",
        help="weights per scale, or none: one scale per row (default: 128, none at 8 bits)",
    )
    add(
        "--clip",
        default="minmax",
        choices=tuple(clip.NAMES),
        help="how ranges are chosen (default: minmax)",
    )
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
    for option, what in (
        ("--ignore", "keep modules as they are"),
        ("--include", "quantize modules besides Linear"),
    ):
        add(option, action="append", default=[], type=pattern, metavar="PATTERN", help=what)
    add_threads(parser)
    add("--overwrite", action="store_true", help="replace the checkpoint that is in DST")


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
    print(f"written to {printable(args.dst)}")


def scheme_of(args: argparse.Namespace) -> Affine:
    """The scheme that the options describe; options that exclude each other end the program."""
    parser: argparse.ArgumentParser = args.parser
    if args.asymmetric and args.bits is None:
        parser.error("--asymmetric goes with --bits; the named schemes are symmetric")
    if args.asymmetric and args.scale_rule != "absmax":
        parser.error(f"--scale-rule {args.scale_rule} does not go with --asymmetric")
    bits = args.bits or SCHEMES[args.scheme or "W4A16"]
    size = args.group_size
    if size is None:
        size = 0 if bits == 8 else 128
    try:
        return Affine(
            bits,
            symmetric=not args.asymmetric,
            group_size=size or None,
            clip=args.clip,
            scale_rule=args.scale_rule,
        )
    except ValueError as error:
        parser.error(str(error))
