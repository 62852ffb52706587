# SPDX-License-Identifier: MIT
"""`bitmill quantize SRC DST`: a checkpoint in, a smaller one out, and a table of what it lost."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from bitmill import targets
from bitmill.checkpoint import (
    Plan,
    Report,
    open_checkpoint,
    plan_checkpoint,
    quantize_checkpoint,
    read_plan,
    read_rules,
)
from bitmill.checkpoint.convert import MAX_MEMORY
from bitmill.checkpoint.plan import MAX_SHARD_SIZE
from bitmill.checkpoint.planner import ON_UNSUPPORTED, check_plan
from bitmill.checkpoint.rules import Rules
from bitmill.cli.arguments import (
    add_json,
    add_patterns,
    add_run,
    add_scale_dtype,
    add_threads,
    clip,
    group_size,
    path,
    print_json,
    size,
    threads_of,
)
from bitmill.cli.budget import (
    BUDGET,
    MEASURING,
    add_budget,
    allocation_lines,
    plan_for_budget,
)
from bitmill.cli.command_line import command_line
from bitmill.cli.dask import add_dask, dask_executor
from bitmill.cli.hub import local, source
from bitmill.cli.progress import ProgressDisplay
from bitmill.cli.show import plan_lines, profile_lines, report_lines
from bitmill.cli.text import printable
from bitmill.formats import LAYER_FORMATS, PRESETS, LayerScheme
from bitmill.schemes import Affine, Outliers, Scheme
from bitmill.targets import Fitting

_DEFAULT = "W4A16"
_MOST_CLIPPED = 6
"""Bits up to which codes are so few that least squared error is worth its time."""

_DESCRIPTION = """\
Quantize the Linear weights of SRC into the folder DST. SRC is a safetensors
file, the folder of a checkpoint, or org/name on the Hugging Face hub (with pip
install 'bitmill[hub]'), which is fetched whole into the hub's cache. The result
is a compressed-tensors checkpoint that vLLM, SGLang and Transformers load. All
else is copied unchanged; the report is left in DST/bitmill_report.json.

A PATTERN is a module's name (a tensor's without .weight), Linear (2-D weights
that are no embeddings, norms, routers or lm_head), or re: and a regex that
matches from the start of the name. --ignore and --include take one pattern
each, and can be repeated.

With --target the device or runtime chooses what the other options do not
say, by the shape of each weight; a --scheme or --rules it only checks. The
result is for vllm and transformers to load; for others it is in bitmill's own
format, of which 'bitmill export' makes the files of onnxruntime and mlx.

With --budget each weight gets one of the --candidates, so that the squared
errors, summed over all weights, are least: all are measured first, as by
'bitmill sensitivity', which says what the names stand for.

A rules FILE is TOML; the first pattern that matches wins:
  # ignore = ["re:.*shared_expert.*"]
  [rules]
  "re:.*down_proj" = "W8A16"
  "re:.*o_proj" = { bits = 6, group_size = 64 }
  Linear = "W4A16" """


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "quantize",
        help="quantize a checkpoint",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, parser=parser)
    parser.add_argument("src", metavar="SRC", type=source, help="file, folder or org/name to read")
    parser.add_argument(
        "dst", metavar="DST", type=path, nargs="?", help="folder to write (not with --dry-run)"
    )
    _add_scheme(parser.add_argument_group("scheme"))
    add_budget(parser.add_argument_group("schemes for a budget"))
    _add_selection(parser.add_argument_group("which weights"))
    group = parser.add_argument_group("the run")
    add = group.add_argument
    add("--dry-run", action="store_true", help="print the plan with exact sizes, write nothing")
    add(
        "--plan",
        type=path,
        metavar="FILE",
        help="do what this plan says; with --dry-run: print it, or write it if FILE is not there",
    )
    add("--overwrite", action="store_true", help="replace the checkpoint that is in DST")
    add(
        "--max-shard-size",
        type=size,
        metavar="SIZE",
        help="largest file of weights (default: 5GB; a tensor that is larger has its own)",
    )
    add_run(group)
    add("--profile", action="store_true", help="say how long was read, quantized and written")
    add_dask(parser)
    add_threads(parser)
    add_json(parser)


def _add_scheme(group: Any) -> None:
    add = group.add_argument
    one = group.add_mutually_exclusive_group().add_argument
    one(
        "--scheme",
        choices=PRESETS,
        metavar="NAME",
        help=f"one of {', '.join(PRESETS)} (default: {_DEFAULT})",
    )
    one(
        "--bits",
        type=int,
        choices=range(2, 9),
        metavar="N",
        help="bits per code, 2 to 8; with --target, the width nearest to that",
    )
    one("--rules", type=path, metavar="FILE", help="TOML file of patterns and schemes")
    add(
        "--target",
        choices=targets.names(),
        metavar="NAME",
        help=f"what will read the result: {', '.join(targets.names())}",
    )
    add("--asymmetric", action="store_true", help="with --bits: a zero-point for each scale")
    add(
        "--group-size",
        type=group_size,
        metavar="N|none",
        help="weights per scale, or none: one scale per row (default: 128, none at 8 bits)",
    )
    add(
        "--outliers",
        type=float,
        metavar="FRACTION",
        help="keep this part of a weight, its largest values, in float16 beside the codes, such "
        "as 0.005 (which bitmill alone reads)",
    )
    add(
        "--clip",
        type=clip,
        metavar="NAME",
        help="how ranges are chosen: minmax, mse, mse-exact, percentile:99.9, aciq, meanstd:3 or "
        "entropy (default: mse, of least squared error, for 2 to 6 bits; minmax for 7 and 8)",
    )
    add(
        "--scale-rule",
        choices=("absmax", "full_range", "signed_max"),
        help="how a range becomes a scale (default: absmax)",
    )
    add_scale_dtype(group)
    add(
        "--activations",
        choices=("int8",),
        help="with --bits: tell the runtime to quantize the layers' inputs, per token",
    )
    add(
        "--format",
        choices=LAYER_FORMATS,
        metavar="NAME",
        help=f"how codes are stored: {', '.join(LAYER_FORMATS)} (default: by the scheme)",
    )


def _add_selection(group: Any) -> None:
    add_patterns(group)
    group.add_argument(
        "--on-unsupported",
        default="error",
        choices=ON_UNSUPPORTED,
        help="what the format cannot hold: refuse (default), leave unquantized, or take smaller "
        "groups or a scale per row",
    )
    group.add_argument(
        "--split-fused",
        action="store_true",
        help="allow different schemes for q/k/v, gate/up and experts, which vLLM refuses",
    )


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    _check(args)
    num_threads = threads_of(args)
    given = read_plan(args.plan) if _takes_plan(args) else _rules(args)
    args.src = local(args.src)  # last, for it may take long
    plan = given if isinstance(given, Plan) else _plan(args, given, num_threads)
    if args.dry_run:
        if isinstance(given, Plan):
            limit = args.max_shard_size or plan.max_shard_size
            plan = check_plan(open_checkpoint(args.src), replace(plan, max_shard_size=limit))
        elif args.plan is not None:
            plan.save(args.plan)
        if args.json:
            print_json(plan.to_dict())
        else:
            print(*plan_lines(plan), *allocation_lines(plan), *_target_lines(args), sep="\n")
        return
    report = _quantize(args, replace(plan, command=command_line(args)), num_threads)
    if args.json:
        said = {**report.to_dict(), "seconds": report.seconds, "unchanged": report.unchanged}
        print_json(said | ({"profile": report.profile} if args.profile else {}))
        return
    print(*report_lines(report), *allocation_lines(plan), sep="\n")
    if args.profile:
        print(*profile_lines(report), sep="\n")
    done = "nothing to do: it is just this already in" if report.unchanged else "written to"
    print(f"{done} {printable(args.dst)}")
    for line in _target_lines(args):
        print(line)


def _target_lines(args: argparse.Namespace) -> Iterator[str]:
    """What makes of the result the files that the target reads, if it needs others."""
    export = None if args.target is None else targets.get(args.target).export
    if export is not None:
        dst = "DST" if args.dst is None else shlex.quote(printable(args.dst))
        yield f"for {args.target}: bitmill export {dst} OUT --to {export}"


def _quantize(args: argparse.Namespace, plan: Plan, num_threads: int) -> Report:
    """Do the work."""
    with ProgressDisplay() as display, dask_executor(args) as executor:
        return quantize_checkpoint(
            args.src,
            args.dst,
            plan,
            max_memory=args.max_memory or MAX_MEMORY,
            max_shard_size=args.max_shard_size,
            num_threads=num_threads if executor is None or args.threads else None,
            executor=executor,
            importance=args.importance,
            progress=display,
            overwrite=args.overwrite,
            on_nonfinite=args.on_nonfinite,
        )


def _rules(args: argparse.Namespace) -> tuple[Rules, list[str]] | None:
    """The rules and further patterns to ignore; None where a budget decides.

    Options that exclude each other end the program.
    """
    if args.budget is not None:
        return None
    if args.rules is not None:
        return read_rules(args.rules)
    if args.target is not None and args.scheme is None:
        return _fitting(args), []
    return _layer(args), []


def _fitting(args: argparse.Namespace) -> Fitting:
    """The target with what the options say."""
    _refuse(args, ("outliers", "activations", "format"), "with --target, this goes with --scheme")
    target = targets.get(args.target)
    options: dict[str, Any] = {"clip": args.clip} if args.clip else {}
    if target.width(args.bits) <= _MOST_CLIPPED:
        options.setdefault("clip", "mse")
    if args.asymmetric:
        options["symmetric"] = False
    if args.scale_rule:
        options["scale_rule"] = args.scale_rule
    if args.group_size is not None:
        options["group_size"] = args.group_size or None
    return target.fitting(args.bits, **options)


def _layer(args: argparse.Namespace) -> LayerScheme:
    """The scheme that the options describe; options that exclude each other end the program."""
    parser: argparse.ArgumentParser = args.parser
    if args.bits is None:
        for option, preset in (("asymmetric", "W4A16_ASYM"), ("activations", "W8A8")):
            if getattr(args, option):
                parser.error(f"--{option} goes with --bits (and there is --scheme {preset})")
    changes = {name: getattr(args, name) for name in ("clip", "scale_rule") if getattr(args, name)}
    if args.group_size is not None:
        changes["group_size"] = args.group_size or None
    try:
        layer = _base(args)
        weights = _changed(args, layer.weights, changes)
        if args.outliers is not None:
            weights = Outliers(weights, args.outliers)
        return LayerScheme(weights, layer.input_activations, format=args.format or "auto")
    except ValueError as error:
        parser.error(str(error))


def _changed(args: argparse.Namespace, weights: Scheme, changes: dict[str, Any]) -> Scheme:
    """A scheme with the options that were given."""
    if not isinstance(weights, Affine):
        for name in changes:
            option = name.replace("_", "-")
            args.parser.error(f"--{option} does not go with --scheme {args.scheme}")
        return weights
    if weights.bits <= _MOST_CLIPPED:
        changes.setdefault("clip", "mse")
    if not weights.symmetric and args.scale_rule not in (None, "absmax"):
        args.parser.error(f"--scale-rule {args.scale_rule} does not go with asymmetric codes")
    return replace(weights, **changes)


def _base(args: argparse.Namespace) -> LayerScheme:
    """The preset, or what `--bits` says."""
    if args.bits is None:
        return PRESETS[args.scheme or _DEFAULT]
    size = None if args.bits == 8 else 128
    weights = Affine(args.bits, symmetric=not args.asymmetric, group_size=size)
    return LayerScheme(weights, args.activations)


def _plan(
    args: argparse.Namespace, given: tuple[Rules, list[str]] | None, num_threads: int
) -> Plan:
    """The plan of rules, or for the budget."""
    if given is None:
        return plan_for_budget(args, num_threads)
    rules, ignore = given
    return plan_checkpoint(
        args.src,
        rules,
        target=args.target,
        ignore=[*ignore, *args.ignore],
        include=args.include,
        scale_dtype=args.scale_dtype or "auto",
        on_unsupported=args.on_unsupported,
        split_fused=args.split_fused,
        max_shard_size=args.max_shard_size or MAX_SHARD_SIZE,
    )


def _takes_plan(args: argparse.Namespace) -> bool:
    """Whether `--plan` names a plan to follow, and not one to write."""
    return args.plan is not None and (not args.dry_run or args.plan.exists())


_SCHEME = (
    "scheme",
    "bits",
    "asymmetric",
    "group_size",
    "outliers",
    "clip",
    "scale_rule",
    "activations",
    "format",
)
_TARGET = ("target",)
_RUN = ("overwrite", *MEASURING, "profile", "dask")
_SELECTION = ("ignore", "include", "on_unsupported", "split_fused", "scale_dtype", "rules")
_CHOICE = ("budget", *BUDGET)


def _check(args: argparse.Namespace) -> None:
    """End the program for options that exclude each other."""
    parser: argparse.ArgumentParser = args.parser
    if (args.dst is None) != args.dry_run:
        parser.error(
            "--dry-run takes no DST" if args.dry_run else "DST, the folder to write, is missing"
        )
    if args.dry_run:
        measures = args.budget is not None and args.sensitivity is None
        names = set(_RUN) - set(MEASURING if measures else ())
        _refuse(args, sorted(names), "goes with writing, not with --dry-run")
    if _takes_plan(args):
        _refuse(
            args,
            (*_SCHEME, *_TARGET, *_CHOICE, *_SELECTION),
            "--plan says all that" + (": FILE is there" if args.dry_run else ""),
        )
    elif args.rules is not None:
        _refuse(args, (*_SCHEME, *_CHOICE, "include"), "--rules says all that")
    elif args.budget is not None:
        _refuse(
            args, (*_SCHEME, *_TARGET, "on_unsupported"), "goes with one scheme, not with --budget"
        )
        if args.sensitivity is not None:
            _refuse(args, ("include", "scale_dtype"), "--sensitivity says that")
    else:
        _refuse(args, BUDGET, "goes with --budget")


def _refuse(args: argparse.Namespace, names: Iterable[str], why: str) -> None:
    parser: argparse.ArgumentParser = args.parser
    for name in names:
        if getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')}: {why}")
