# SPDX-License-Identifier: MIT
"""Plans for a budget: measure the candidates, allocate them, and plan what was chosen."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from bitmill.allocation import Allocation, allocate, frontier
from bitmill.checkpoint.candidates import KEEP, Candidates
from bitmill.checkpoint.convert import MAX_MEMORY
from bitmill.checkpoint.errors import CheckpointError, shown
from bitmill.checkpoint.measure import sensitivity as measure
from bitmill.checkpoint.measured import Sensitivity, TensorSensitivity
from bitmill.checkpoint.patterns import Model, check_pattern, matches
from bitmill.checkpoint.plan import MAX_SHARD_SIZE, Plan, PlannedTensor
from bitmill.checkpoint.planner import completed, decide, model_in, refuse_quantized, with_scales
from bitmill.checkpoint.read import Checkpoint, open_checkpoint
from bitmill.checkpoint.rules import keep_all
from bitmill.checkpoint.run import Progress
from bitmill.checkpoint.sizes import UNITS, parse_size

_BITS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*bpw\s*", re.IGNORECASE)
_UNIT = re.compile(r"[A-Za-z]*\s*$")
_DIGITS = 5
"""Of a size that an error names, from the first that is not 0 on."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a plan may take: bits per weight, or bytes.

    Bits per weight are those of all weights that candidates were measured on, with all side
    information, and KEEP among them counts too. Bytes are those of all tensor data of the target,
    and so of what is copied beside these weights; headers of the files are not in it.
    """

    text: str
    """As it was given."""
    bits: Fraction | None
    nbytes: int | None

    def room(self, size: int, others: int) -> int:
        """Bytes for `size` weights beside tensors of `others` bytes; below 0 if these are more."""
        if self.bits is not None:
            return math.floor(self.bits * size / 8)
        assert self.nbytes is not None
        return self.nbytes - others

    def spelled(self, nbytes: int, size: int, others: int) -> str:
        """The budget that leaves just this room, rounded up, in the unit of this one."""
        if self.bits is not None:
            return f"{_rounded_up(Fraction(8 * nbytes, max(1, size)))}bpw"
        unit = _UNIT.search(self.text)
        name = unit[0].strip() if unit else ""
        scale = UNITS[name.upper()]
        if scale == 1:
            return f"{nbytes + others} bytes"
        return f"{_rounded_up(Fraction(nbytes + others, scale))}{name}"


def parse_budget(value: Any, name: str = "budget") -> Budget:
    """The argument called `name`: "4.25bpw", "3.1GB", or a number of bytes.

    >>> parse_budget("4.25bpw").room(size=1000, others=0), parse_budget("2kB").room(1000, 1500)
    (531, 500)
    """
    found = _BITS.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        return Budget(value, Fraction(found[1]), None)
    try:
        return Budget(str(value), None, parse_size(value, name))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}; or bits per weight, such as '4.25bpw'") from None


def plan_budget(
    src: str | os.PathLike[str] | Checkpoint,
    budget: int | str,
    candidates: Candidates | None = None,
    importance: str | os.PathLike[str] | None = None,
    *,
    sensitivity: Sensitivity | None = None,
    pinned: Mapping[str, str] | None = None,
    ignore: Iterable[str] = (),
    include: Iterable[str] = (),
    scale_dtype: str | None = None,
    split_fused: bool = False,
    max_shard_size: int | str = MAX_SHARD_SIZE,
    max_memory: int | str = MAX_MEMORY,
    num_threads: int | None = None,
    progress: Callable[[Progress], object] | None = None,
    on_nonfinite: str = "error",
) -> Plan:
    """Plan the least error under a budget: a candidate for each weight.

    Every candidate is measured on every weight, by `sensitivity`, unless its result is given; then
    `allocate` finds the choice of the least summed error, exactly. The plan is the one that
    `plan_checkpoint` makes of the rules {module: scheme} for that choice; its `allocation` says
    what it takes and loses.

    Parameters
    ----------
    budget
        "4.25bpw": bits per weight over the weights that are measured, those that stay as they are
        (KEEP) among them, with all side information. Or bytes ("3.1GB", or a number): all tensor
        data of the target, copied tensors included; the headers of the files come on top.
    candidates, importance, include, scale_dtype, max_memory, num_threads, progress, on_nonfinite
        As in `sensitivity`, which takes them. Where errors were weighed by importance, give the
        same file to `quantize_checkpoint`.
    sensitivity
        What was measured before, of this checkpoint, which is known by names, dtypes and shapes
        alone; `candidates` may then name labels of it, which alone are taken.
    pinned
        {pattern: label}: what weights must get; the first match wins.
    ignore
        Patterns of weights to leave alone, which the bits per weight do not count.
    split_fused, max_shard_size
        As in `plan_checkpoint`. Without `split_fused` what vLLM makes one layer of gets one scheme.

    Raises CheckpointError as `sensitivity` and `plan_checkpoint` do, for a budget that is too small
    (naming what can be reached, in its unit), for weights that no candidate suits, for pins that
    are no choice, and for a sensitivity of other tensors; ValueError for wrong arguments.
    """
    source = src if isinstance(src, Checkpoint) else open_checkpoint(src)
    allowed, limit = parse_budget(budget), parse_size(max_shard_size, "max_shard_size")
    ignore, include = list(ignore), list(include)
    if sensitivity is None:
        if candidates is None:
            raise ValueError("candidates are missing; wanted names such as ['W2', 'W4', 'W8']")
        sensitivity = measure(
            source,
            candidates,
            importance,
            ignore=ignore,
            include=include,
            scale_dtype=scale_dtype,
            max_memory=max_memory,
            num_threads=num_threads,
            progress=progress,
            on_nonfinite=on_nonfinite,
        )
    else:
        given = {"importance": importance, "scale_dtype": scale_dtype, "include": include or None}
        for name, value in given.items():
            if value is not None:
                raise ValueError(f"{name} goes with measuring, and the sensitivity is there")
        sensitivity = _among(sensitivity, candidates)
        _refuse_others(source, sensitivity)
    plan, chosen = _chosen(source, sensitivity, allowed, pinned or {}, ignore, split_fused)
    plan = completed(source, replace(plan, max_shard_size=limit), split_fused=split_fused)
    among = tuple(tensor for tensor in sensitivity.tensors if tensor.name in chosen.choice)
    sensitivity = replace(sensitivity, tensors=among)
    return replace(plan, allocation=chosen, sensitivity=sensitivity)


def _chosen(
    source: Checkpoint,
    sensitivity: Sensitivity,
    budget: Budget,
    pinned: Mapping[str, str],
    ignore: list[str],
    split_fused: bool,
) -> tuple[Plan, Allocation]:
    """What becomes of each tensor, and what all of it takes and loses."""
    model = model_in(source)
    rules = keep_all(ignore)
    tensors = decide(source, rules, model, None)
    free = tuple(t for t in sensitivity.tensors if rules.ignoring(t.info, model) is None)
    sensitivity = replace(sensitivity, tensors=free)
    _refuse_without_choice(source, sensitivity)
    others = sum(t.bytes_before for t in tensors) - sum(t.info.nbytes for t in free)
    pins = _pins(source, sensitivity, pinned, model)
    fused = [] if split_fused else sensitivity.fused()
    chosen = _allocate(source, sensitivity, budget, others, fused, pins)
    made = (_with(source, tensor, sensitivity, chosen) for tensor in tensors)
    return Plan(tuple(made), model=model), chosen


def _allocate(
    source: Checkpoint,
    sensitivity: Sensitivity,
    budget: Budget,
    others: int,
    fused: list[list[str]],
    pins: dict[str, str],
) -> Allocation:
    """The best choice; CheckpointError if none fits."""
    choices, size = sensitivity.choices(), sensitivity.size
    room = budget.room(size, others)
    try:
        points = frontier(choices, fused=fused, pinned=pins)
        least, most = points[0].bytes, points[-1].bytes
        if room >= least:
            return allocate(choices, min(room, most), fused=fused, pinned=pins)
    except ValueError as error:
        raise CheckpointError(f"{source.where}: {error}") from None
    low, high = (budget.spelled(end, size, others) for end in (least, most))
    raise CheckpointError(
        f"{source.where}: budget={budget.text} is too little: the candidates take from {low} to "
        f"{high}"
    )


def _with(
    source: Checkpoint, tensor: PlannedTensor, sensitivity: Sensitivity, chosen: Allocation
) -> PlannedTensor:
    """The tensor with what was chosen for it, as the rule {module: scheme} has it."""
    label = chosen.choice.get(tensor.name)
    if label is None:
        return tensor
    layer = sensitivity.candidates.get(label)
    if layer is None:
        made = replace(tensor, reason=f"kept by rule: {tensor.module}")
    else:
        layer = with_scales(layer, sensitivity.scale_dtype, source, tensor.info)
        made = replace(tensor, layer=layer, reason=tensor.module)
    measured = next(t.measured[label] for t in sensitivity.tensors if t.name == tensor.name)
    if made.bytes_after != measured.bytes:
        raise CheckpointError(
            f"{source.where}: tensor {shown(tensor.name)}: the sensitivity says that {label!r} "
            f"takes {measured.bytes} bytes, and it takes {made.bytes_after}; measure anew"
        )
    return made


def _among(sensitivity: Sensitivity, labels: Candidates | None) -> Sensitivity:
    """What was measured of these labels."""
    if not isinstance(sensitivity, Sensitivity):
        raise TypeError(
            f"sensitivity is a {type(sensitivity).__name__}; wanted what bm.sensitivity returned"
        )
    if labels is None:
        return sensitivity
    if isinstance(labels, str | Mapping):
        raise TypeError(f"candidates={labels!r}; with a sensitivity, wanted a list of its labels")
    wanted = {KEEP if str(label).upper() == KEEP else label for label in labels}
    unknown = sorted(wanted - sensitivity.candidates.keys())
    if unknown:
        raise CheckpointError(
            f"candidates: {unknown[0]!r} is not among what was measured: "
            f"{', '.join(sensitivity.candidates)}"
        )
    tensors = (
        replace(t, measured={label: m for label, m in t.measured.items() if label in wanted})
        for t in sensitivity.tensors
    )
    return replace(sensitivity, tensors=tuple(tensors))


def _refuse_others(source: Checkpoint, sensitivity: Sensitivity) -> None:
    """Raise unless what was measured is there, and not quantized."""
    refuse_quantized(source)
    found = {info.name: (info.dtype, info.shape) for _, info in source.tensors()}
    for tensor in sensitivity.tensors:
        if found.get(tensor.name) != (tensor.dtype, tensor.shape):
            raise CheckpointError(
                f"{source.where}: the sensitivity is of other tensors, such as "
                f"{shown(tensor.name)}; measure this checkpoint anew"
            )


def _refuse_without_choice(source: Checkpoint, sensitivity: Sensitivity) -> None:
    """Raise one error for all weights that no candidate suits."""
    if not sensitivity.tensors:
        raise CheckpointError(f"{source.where}: nothing to quantize: all is ignored")
    stuck = [tensor for tensor in sensitivity.tensors if not tensor.measured]
    if stuck:
        raise CheckpointError(
            f"{source.where}: no candidate suits {', '.join(map(_why_stuck, stuck))}; ignore them, "
            f"or let {KEEP} be among the candidates"
        )


def _why_stuck(tensor: TensorSensitivity) -> str:
    why = "; ".join(f"{label}: {reason}" for label, reason in tensor.left_out.items())
    return f"{tensor.name} ({why})" if why else tensor.name


def _pins(
    source: Checkpoint, sensitivity: Sensitivity, pinned: Mapping[str, str], model: Model
) -> dict[str, str]:
    """The labels of weights that patterns pin; errors name the pattern."""
    pins: dict[str, str] = {}
    for pattern, label in pinned.items():
        check_pattern(pattern, "pinned")
        which = [t for t in sensitivity.tensors if matches(pattern, t.info, model)]
        if not which:
            raise CheckpointError(
                f"{source.where}: pinned: {pattern!r} matches none of the weights to choose for"
            )
        for tensor in which:
            if tensor.name not in pins and label not in tensor.measured:
                raise CheckpointError(
                    f"{source.where}: pinned: {pattern!r}: {label!r} is not among the choices for "
                    f"{tensor.name}: {', '.join(tensor.measured)}"
                )
            pins.setdefault(tensor.name, label)
    return pins


def _rounded_up(value: Fraction | int) -> str:
    """A decimal of a few digits, of at least this value.

    >>> _rounded_up(Fraction(25001, 10**7)), _rounded_up(Fraction(1000001, 10)), _rounded_up(4)
    ('0.0025001', '100001', '4')
    """
    places = 0
    while places < 12 and value * 10**places < 10 ** (_DIGITS - 1):
        places += 1
    scaled = math.ceil(value * 10**places)
    return f"{Decimal(scaled).scaleb(-places).normalize():f}"
