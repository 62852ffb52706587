# SPDX-License-Identifier: MIT
"""Making and checking plans, from headers alone: what the rules select, and what can be stored."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from bitmill import _check
from bitmill._dtypes import STORAGES
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.find import quantization_of
from bitmill.checkpoint.fused import fused_into, refuse_split
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.output import lay_out
from bitmill.checkpoint.patterns import (
    LINEAR,
    Model,
    is_conv1d,
    is_embedding,
    model_of,
    module_of,
    why_no_float,
    why_not_linear,
)
from bitmill.checkpoint.plan import Plan, PlannedTensor
from bitmill.checkpoint.read import Checkpoint, open_checkpoint
from bitmill.checkpoint.rules import Chosen, Rules, choose
from bitmill.formats import BY_NAME, NATIVE, LayerScheme, method_of
from bitmill.schemes import Affine, Scheme

SCALE_DTYPES = ("auto", *STORAGES)
ON_UNSUPPORTED = ("error", "keep", "fallback")

_FALLBACK_GROUPS = (128, 64, 32)


def plan_checkpoint(
    src: str | os.PathLike[str] | Checkpoint,
    rules: Rules,
    *,
    ignore: Iterable[str] = (),
    include: Iterable[str] = (),
    scale_dtype: str | None = None,
    on_unsupported: str = "error",
    split_fused: bool = False,
) -> Plan:
    """Decide what will become of every tensor of `src`, a path; no tensor data are read.

    `rules` is one rule for `Linear` (2-D weights of a float dtype that are no embedding, norm,
    router, Conv1D or `lm_head`), or `{pattern: rule}`, of which the first match wins. A rule is a
    scheme, a `LayerScheme`, the name of a preset ("W4A16", "W4A16_ASYM", "W8A16", "W8A8"), or
    "keep". What no rule matches is kept. `include` adds patterns to a bare rule; `ignore` keeps
    whatever it matches. A pattern is the name of a module (a tensor's without `.weight`), `Linear`,
    or `re:` and a regex for `re.match`.

    `scale_dtype` overrides the `scales` of the schemes, which None leaves as they are: "auto" is
    config.json's `dtype` or `torch_dtype`, without one the tensor's own dtype, float64 as float32.

    `on_unsupported` says what becomes of weights that the format cannot hold under their rule:
    "error" (one, that names them all), "keep" (copied unchanged), or "fallback": the same bits with
    the largest group of 128, 64 or 32 below the one asked for that divides the row, else a scale
    per row; kept where that too is unsupported.

    vLLM makes one layer of q/k/v, of gate/up, and of all experts: their parts must share one
    scheme, unless `split_fused`.

    Raises CheckpointError if the source is broken or quantized already, if a pattern matches
    nothing, for all tensors at once that the format cannot hold, or whose names in the target are
    those of others.
    """
    source = src if isinstance(src, Checkpoint) else open_checkpoint(src)
    if scale_dtype is not None:
        _check.choice(scale_dtype, "scale_dtype", SCALE_DTYPES)
    _check.choice(on_unsupported, "on_unsupported", ON_UNSUPPORTED)
    _refuse_quantized(source)
    chosen = choose(rules, ignore=ignore, include=include)
    model = _model(source)
    _refuse_unmatched(source, chosen, model)
    tensors = []
    for path, info in source.tensors():
        layer, reason = chosen.decide(info, model)
        if layer is not None and scale_dtype is not None:
            scales = _scale_dtype(scale_dtype, source, info)
            layer = layer.with_weights(layer.weights.with_scales(scales))
        planned = PlannedTensor(info.name, path.name, info.dtype, info.shape, layer, reason)
        tensors.append(planned)
    if on_unsupported != "error":
        tensors = _supported(tensors, model, fall_back=on_unsupported == "fallback")
    return _checked(source, Plan(tuple(tensors), {}, model), split_fused=split_fused)


def check_plan(source: Checkpoint, plan: Plan) -> Plan:
    """`plan`, if it lists just the tensors of the source as they are now, and can be carried out.

    Who made or edited it is trusted with the splitting of fused layers.
    """
    _refuse_quantized(source)
    planned = [(tensor.file, tensor.name, tensor.dtype, tensor.shape) for tensor in plan.tensors]
    found = [(path.name, info.name, info.dtype, info.shape) for path, info in source.tensors()]
    if planned != found:
        other = sorted(set(planned) ^ set(found))
        example = f", such as {other[0][1]!r}" if other else " in their order"
        raise CheckpointError(
            f"{source.where}: the plan is for other tensors than these{example}; plan this "
            "checkpoint anew"
        )
    return _checked(source, replace(plan, model=_model(source)), split_fused=True)


def _checked(source: Checkpoint, plan: Plan, *, split_fused: bool) -> Plan:
    """The plan with the sizes of its files; CheckpointError if it cannot be carried out."""
    _refuse_unsupported(source, plan)
    _refuse_two_methods(source, plan)
    if not split_fused:
        refuse_split(source, plan)
    _refuse_same_names(source, plan)
    return replace(plan, files=lay_out(source, plan).sizes())


def _model(source: Checkpoint) -> Model:
    return model_of(source.config, [info.name for _, info in source.tensors()])


def _scale_dtype(asked: str, source: Checkpoint, info: TensorInfo) -> str:
    """The storage dtype of a tensor's scales."""
    if asked != "auto":
        return asked
    found = source.dtype or info.numpy
    return found if found in STORAGES else "float32"


def _why_not(planned: PlannedTensor, model: Model) -> str | None:
    """Why a tensor cannot be stored as planned; None if it can."""
    layer = planned.layer
    if layer is None:
        return None
    reason = why_no_float(planned.info)
    if reason is None and module_of(planned.info) is None:
        reason = "it is not named *.weight"
    if reason is None and layer.format != NATIVE:
        if is_conv1d(planned.module, model):
            reason = "a Conv1D, which loaders of compressed-tensors do not take for a Linear"
        elif is_embedding(planned.module):
            reason = "an embedding, which loaders of compressed-tensors do not take for a Linear"
        elif model.tied and planned.module.rpartition(".")[2] == "lm_head":
            reason = "lm_head is tied to the embedding (tie_word_embeddings in config.json)"
    reason = reason or _why_no_layout(layer.weights, planned.shape)
    return reason or BY_NAME[layer.format].why_not(layer.weights, planned.shape)


def _why_no_layout(scheme: Scheme, shape: tuple[int, ...]) -> str | None:
    """Why a scheme cannot cut this shape into groups, whatever the format; None if it can."""
    if not shape:
        return "it is a single number"
    try:
        scheme.layout(shape)
    except ValueError as error:
        return str(error)
    return None


def _supported(
    tensors: list[PlannedTensor], model: Model, *, fall_back: bool
) -> list[PlannedTensor]:
    """The tensors with schemes that can be stored, or kept; what was in the way is noted.

    What vLLM makes one layer of falls back together.
    """
    sets: dict[str, list[int]] = {}
    for i, tensor in enumerate(tensors):
        sets.setdefault(fused_into(tensor) or tensor.name, []).append(i)
    made = list(tensors)
    for members in sets.values():
        parts = _supported_parts([tensors[i] for i in members], model, fall_back)
        for i, part in zip(members, parts, strict=True):
            made[i] = part
    return made


def _supported_parts(
    parts: list[PlannedTensor], model: Model, fall_back: bool
) -> list[PlannedTensor]:
    """The same for tensors that share a scheme."""
    reason = next((why for part in parts if (why := _why_not(part, model)) is not None), None)
    layer = next((part.layer for part in parts if part.layer is not None), None)
    if reason is None or layer is None:
        return parts
    for other in _fallbacks(layer) if fall_back else ():
        changed = [replace(p, layer=p.layer and other, unsupported=reason) for p in parts]
        if all(_why_not(part, model) is None for part in changed):
            return [new if old.layer else old for old, new in zip(parts, changed, strict=True)]
    kept = f"unsupported: {reason}"
    return [
        replace(p, layer=None, reason=kept, unsupported=reason) if p.layer else p for p in parts
    ]


def _fallbacks(layer: LayerScheme) -> Iterator[LayerScheme]:
    """The same bits with smaller groups, then with a scale per row."""
    scheme = layer.weights
    if not isinstance(scheme, Affine) or scheme.group_size is None:
        return
    for size in _FALLBACK_GROUPS:
        if size < scheme.group_size:
            yield layer.with_weights(replace(scheme, group_size=size))
    yield layer.with_weights(replace(scheme, group_size=None))


def _refuse_quantized(source: Checkpoint) -> None:
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


def _refuse_unsupported(source: Checkpoint, plan: Plan) -> None:
    """Raise one error for all tensors that the format cannot hold, and if none is selected."""
    if not plan.quantized:
        stuck = [tensor.unsupported for tensor in plan.tensors if tensor.unsupported]
        if stuck:
            raise CheckpointError(
                f"{source.where}: all that the rules select cannot be stored ({stuck[0]})"
            )
        raise CheckpointError(f"{source.where}: nothing to quantize: all is ignored, or to be kept")
    names: dict[str, list[str]] = {}
    for tensor in plan.quantized:
        reason = _why_not(tensor, plan.model)
        if reason is not None:
            names.setdefault(reason, []).append(tensor.module)
    if names:
        listed = "; ".join(f"{reason}: {', '.join(found)}" for reason, found in names.items())
        count = sum(map(len, names.values()))
        raise CheckpointError(
            f"{source.where}: {count} of {len(plan.quantized)} selected tensors cannot be stored: "
            f"{listed}. Ignore them, or pass on_unsupported='keep' or 'fallback'"
        )


def _refuse_two_methods(source: Checkpoint, plan: Plan) -> None:
    """Raise if the layers cannot all be told of in one config.json."""
    formats = {tensor.layer.format for tensor in plan.quantized if tensor.layer is not None}
    if len({id(method_of(format)) for format in formats}) > 1:
        raise CheckpointError(
            f"{source.where}: formats {', '.join(sorted(formats))} in one checkpoint; the native "
            "one goes with no other, since no runtime reads it"
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
