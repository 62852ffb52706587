# SPDX-License-Identifier: MIT
"""Weights that the format cannot hold as the rules want them: refused, kept, or regrouped."""

from __future__ import annotations

from dataclasses import replace

from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.fused import fused_into
from bitmill.checkpoint.patterns import Model, is_conv1d, is_embedding, module_of, why_no_float
from bitmill.checkpoint.plan import Plan, PlannedTensor
from bitmill.checkpoint.read import Checkpoint
from bitmill.formats import BY_NAME, NATIVE, LayerScheme
from bitmill.schemes import Affine

_FALLBACK_GROUPS = (128, 64, 32, None)


def refuse_unsupported(source: Checkpoint, plan: Plan) -> None:
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
        reason = why_not_stored(tensor, plan.model)
        if reason is not None:
            names.setdefault(reason, []).append(tensor.module)
    if names:
        listed = "; ".join(f"{reason}: {', '.join(found)}" for reason, found in names.items())
        count = sum(map(len, names.values()))
        raise CheckpointError(
            f"{source.where}: {count} of {len(plan.quantized)} selected tensors cannot be stored: "
            f"{listed}. Ignore them, or pass on_unsupported='keep' or 'fallback'"
        )


def supported(
    tensors: list[PlannedTensor], model: Model, *, fall_back: bool
) -> list[PlannedTensor]:
    """The tensors with schemes that can be stored, or kept; what was in the way is noted.

    What vLLM makes one layer of falls back together.
    """
    sets: dict[str, list[int]] = {}
    for i, tensor in enumerate(tensors):
        sets.setdefault(fused_into(tensor.info) or tensor.name, []).append(i)
    made = list(tensors)
    for members in sets.values():
        parts = _supported_parts([tensors[i] for i in members], model, fall_back)
        for i, part in zip(members, parts, strict=True):
            made[i] = part
    return made


def _supported_parts(
    parts: list[PlannedTensor], model: Model, fall_back: bool
) -> list[PlannedTensor]:
    """The same for the parts of one layer, each with the bits that its own rule gives it."""
    reason = next((why for part in parts if (why := why_not_stored(part, model)) is not None), None)
    if reason is None:
        return parts
    for size in _FALLBACK_GROUPS if fall_back else ():
        changed = [
            replace(p, layer=_regrouped(p.layer, size), unsupported=reason) if p.layer else p
            for p in parts
        ]
        if all(why_not_stored(part, model) is None for part in changed):
            return changed
    kept = f"unsupported: {reason}"
    return [
        replace(p, layer=None, reason=kept, unsupported=reason) if p.layer else p for p in parts
    ]


def _regrouped(layer: LayerScheme, size: int | None) -> LayerScheme:
    """The same bits in smaller groups of this size, or, for None, with a scale per row."""
    scheme = layer.weights
    if not isinstance(scheme, Affine) or scheme.group_size is None:
        return layer
    if size is not None and size >= scheme.group_size:
        return layer
    return layer.with_weights(replace(scheme, group_size=size))


def why_not_stored(planned: PlannedTensor, model: Model) -> str | None:
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
    return reason or why_no_place(layer, planned.shape)


def why_no_place(layer: LayerScheme, shape: tuple[int, ...]) -> str | None:
    """Why scheme and format have no place for a weight of this shape, whatever it is; or None."""
    if not shape:
        return "it is a single number"
    try:
        layer.weights.layout(shape)
    except ValueError as error:
        return str(error)
    return BY_NAME[layer.format].why_not(layer.weights, shape)
