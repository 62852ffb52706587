# SPDX-License-Identifier: MIT
"""Making and checking plans, from headers alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from bitmill import _check
from bitmill._dtypes import STORAGES
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.find import quantization_of
from bitmill.checkpoint.fused import refuse_split
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.output import lay_out
from bitmill.checkpoint.patterns import Model, model_of, module_of, why_not_linear
from bitmill.checkpoint.plan import MAX_SHARD_SIZE, Plan, PlannedTensor
from bitmill.checkpoint.read import Checkpoint, open_checkpoint
from bitmill.checkpoint.rules import Chosen, Rules, choose
from bitmill.checkpoint.sizes import parse_size
from bitmill.checkpoint.targeted import fitted, hold_to, rules_for, target_of
from bitmill.checkpoint.unsupported import refuse_unsupported, supported
from bitmill.formats import LayerScheme, method_of
from bitmill.formats.compressed_tensors import LINEAR
from bitmill.targets import Fitting, Target

SCALE_DTYPES = ("auto", *STORAGES)
ON_UNSUPPORTED = ("error", "keep", "fallback")


def plan_checkpoint(
    src: str | os.PathLike[str] | Checkpoint,
    rules: Rules | None = None,
    *,
    target: Target | str | None = None,
    ignore: Iterable[str] = (),
    include: Iterable[str] = (),
    scale_dtype: str | None = None,
    on_unsupported: str = "error",
    split_fused: bool = False,
    max_shard_size: int | str = MAX_SHARD_SIZE,
) -> Plan:
    """Decide what will become of every tensor of `src`, a path; no tensor data are read.

    `rules` is one rule for `Linear` (2-D weights of a float dtype that are no embedding, norm,
    router, Conv1D or `lm_head`), or `{pattern: rule}`, of which the first match wins. A rule is a
    scheme, a `LayerScheme`, the name of a preset ("W4A16", "W4A16_ASYM", "W8A16", "W8A8"), "keep",
    or a `bitmill.targets.Target`, which chooses by shape. What no rule matches is kept. `include`
    adds patterns to a bare rule; `ignore` keeps whatever it matches. A pattern is the name of a
    module (a tensor's without `.weight`), `Linear`, or `re:` and a regex for `re.match`.

    `target` is one of `bitmill.targets`, or its name: what every scheme is held to, and what
    chooses the schemes where there are no rules. Weights that it cannot take are refused in one
    error that names them all, or, if `on_unsupported` is not "error", kept.

    `scale_dtype` overrides the `scales` of the schemes, which None leaves as they are: "auto" is
    config.json's `dtype` or `torch_dtype`, without one the tensor's own dtype, float64 as float32
    (where a target chooses, only if it takes that).

    `on_unsupported` says what becomes of weights that the format cannot hold under their rule:
    "error" (one, that names them all), "keep" (copied unchanged), or "fallback": the same bits with
    the largest group of 128, 64 or 32 below the one asked for that divides the row, else a scale
    per row; kept where that too is unsupported.

    vLLM makes one layer of q/k/v, of gate/up, and of all experts: their parts must share one
    scheme, unless `split_fused`.

    The target has files of at most `max_shard_size` (bytes, or "5GB"), however many the source has;
    a tensor that takes more has a file of its own.

    Raises CheckpointError if the source is broken or quantized already, if a pattern matches
    nothing, for all tensors at once that the format cannot hold, or whose names in the target are
    those of others.
    """
    source = src if isinstance(src, Checkpoint) else open_checkpoint(src)
    check_scale_dtype(scale_dtype)
    _check.choice(on_unsupported, "on_unsupported", ON_UNSUPPORTED)
    limit = parse_size(max_shard_size, "max_shard_size")
    refuse_quantized(source)
    held_to = target_of(target)
    chosen = choose(rules_for(rules, held_to), ignore=ignore, include=include)
    model = model_in(source)
    tensors = decide(source, chosen, model, scale_dtype)
    tensors = hold_to(held_to, source, tensors, keep=on_unsupported != "error")
    if on_unsupported != "error":
        tensors = supported(tensors, model, fall_back=on_unsupported == "fallback")
    plan = Plan(tuple(tensors), {}, model, limit)
    return completed(source, plan, split_fused=split_fused)


def check_plan(source: Checkpoint, plan: Plan) -> Plan:
    """`plan`, if it lists just the tensors of the source as they are now, and can be carried out.

    Who made or edited it is trusted with the splitting of fused layers.
    """
    refuse_quantized(source)
    planned = [(tensor.file, tensor.name, tensor.dtype, tensor.shape) for tensor in plan.tensors]
    found = [(path.name, info.name, info.dtype, info.shape) for path, info in source.tensors()]
    if planned != found:
        other = sorted(set(planned) ^ set(found))
        example = f", such as {other[0][1]!r}" if other else " in their order"
        raise CheckpointError(
            f"{source.where}: the plan is for other tensors than these{example}; plan this "
            "checkpoint anew"
        )
    return completed(source, replace(plan, model=model_in(source)), split_fused=True)


def decide(
    source: Checkpoint, chosen: Chosen, model: Model, scale_dtype: str | None
) -> list[PlannedTensor]:
    """What checked rules make of every tensor. CheckpointError if a pattern selects nothing."""
    _refuse_unmatched(source, chosen, model)
    tensors = []
    for path, info in source.tensors():
        rule, reason = chosen.decide(info, model)
        planned = PlannedTensor(info.name, path.name, info.dtype, info.shape, None, reason)
        if isinstance(rule, Fitting):
            planned = fitted(planned, rule, _scales_for(rule, scale_dtype, source, info))
        elif rule is not None:
            planned = replace(planned, layer=with_scales(rule, scale_dtype, source, info))
        tensors.append(planned)
    return tensors


def check_scale_dtype(scale_dtype: str | None) -> None:
    """Raise unless it is one of SCALE_DTYPES, or None."""
    if scale_dtype is not None:
        _check.choice(scale_dtype, "scale_dtype", SCALE_DTYPES)


def with_scales(
    layer: LayerScheme, scale_dtype: str | None, source: Checkpoint, info: TensorInfo
) -> LayerScheme:
    """The same with the scales that `scale_dtype` asks for in this tensor; None leaves them."""
    if scale_dtype is None:
        return layer
    return layer.with_scales(_scale_dtype(scale_dtype, source, info))


def _scales_for(
    rule: Fitting, scale_dtype: str | None, source: Checkpoint, info: TensorInfo
) -> str | None:
    """What a target is asked for: of "auto" only what it takes; None leaves it to the target."""
    if scale_dtype is None:
        return None
    found = _scale_dtype(scale_dtype, source, info)
    return found if scale_dtype != "auto" or found in rule.target.scales else None


def completed(source: Checkpoint, plan: Plan, *, split_fused: bool) -> Plan:
    """The plan with the sizes of its files; CheckpointError if it cannot be carried out."""
    refuse_unsupported(source, plan)
    _refuse_two_methods(source, plan)
    if not split_fused:
        refuse_split(source, plan)
    _refuse_same_names(source, plan)
    return replace(plan, files=lay_out(source, plan).sizes())


def model_in(source: Checkpoint) -> Model:
    """The model that a checkpoint is of."""
    return model_of(source.config, [info.name for _, info in source.tensors()])


def _scale_dtype(asked: str, source: Checkpoint, info: TensorInfo) -> str:
    """The storage dtype of a tensor's scales."""
    if asked != "auto":
        return asked
    found = source.dtype or info.numpy
    return found if found in STORAGES else "float32"


def refuse_quantized(source: Checkpoint) -> None:
    """Raise if config.json says that the weights are quantized already."""
    said = quantization_of(source)
    if said is not None:
        raise CheckpointError(
            f"{source.where}: quantized already (config.json: {said['quant_method']}); "
            "bitmill takes float weights: start from the original checkpoint"
        )


def _refuse_unmatched(source: Checkpoint, chosen: Chosen, model: Model) -> None:
    """Raise if a pattern selects nothing: it is a slip, or the layers have other names."""
    infos = [info for _, info in source.tensors()]
    idle = chosen.unmatched(infos, model)
    if not idle:
        return
    modules = {module: info for info in infos if (module := module_of(info)) is not None}
    if LINEAR in idle:
        reasons = Counter(why_not_linear(info, model) for info in modules.values())
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        raise CheckpointError(
            f"{source.where}: no Linear weight in it ({why or 'no tensor is named *.weight'}); "
            "name others by patterns if they are to be quantized"
        )
    example = f"such as {next(reversed(modules))!r}" if modules else "and there is none here"
    raise CheckpointError(
        f"{source.where}: nothing matches {', '.join(map(repr, idle))}; patterns name modules "
        f"(tensors without '.weight'), {example}"
    )


def _refuse_two_methods(source: Checkpoint, plan: Plan) -> None:
    """Raise if the layers cannot all be told of in one config.json."""
    formats = {tensor.layer.format for tensor in plan.quantized if tensor.layer is not None}
    if len({id(method_of(format)) for format in formats}) > 1:
        raise CheckpointError(
            f"{source.where}: formats {', '.join(sorted(formats))} in one checkpoint; those of "
            "compressed-tensors go together, the others with none"
        )


def _refuse_same_names(source: Checkpoint, plan: Plan) -> None:
    """Raise one error for all pairs of tensors that would have one name in the target."""
    makers: dict[str, str] = {}
    pairs = []
    for tensor in plan.tensors:
        for spec in tensor.stored:
            other = makers.setdefault(spec.name, tensor.name)
            if other != tensor.name:
                pairs.append(f"{spec.name!r} (from {other!r} and {tensor.name!r})")
    if pairs:
        raise CheckpointError(
            f"{source.where}: tensors would have the same name in the target: {', '.join(pairs)}. "
            "Ignore the weights among them"
        )
