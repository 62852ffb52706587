# SPDX-License-Identifier: MIT
"""Plans for a target: the schemes that it chooses, and whether it takes those of other rules."""

from __future__ import annotations

from dataclasses import replace

from bitmill import targets
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.plan import PlannedTensor
from bitmill.checkpoint.read import Checkpoint
from bitmill.checkpoint.rules import Rules
from bitmill.formats import LayerScheme
from bitmill.schemes import Affine, Scheme
from bitmill.targets import Fitting, Target
from bitmill.targets.explain import one_of


def target_of(given: object) -> Target | None:
    """`given` as a target: one, the name of one, or None."""
    if given is None or isinstance(given, Target):
        return given
    return targets.get(given)  # type: ignore[arg-type]  # which raises for what is no name


def rules_for(rules: Rules | None, target: Target | None) -> Rules:
    """The rules; where there are none, the target."""
    if rules is not None:
        return rules
    if target is None:
        raise ValueError("rules are missing; wanted a scheme, {pattern: scheme}, or a target")
    return target


def fitted(tensor: PlannedTensor, rule: Fitting, scales: str | None) -> PlannedTensor:
    """The tensor with the scheme that a target chooses for it; kept, and why, if none fits."""
    if not tensor.shape:
        return _unfit(tensor, "it is a single number")
    try:
        scheme = rule.scheme(tensor.shape, scales)
    except ValueError as error:
        return _unfit(tensor, str(error))
    return replace(tensor, layer=LayerScheme(scheme, format=rule.target.formats[0]))


def hold_to(
    target: Target | None, source: Checkpoint, tensors: list[PlannedTensor], *, keep: bool
) -> list[PlannedTensor]:
    """The tensors, those that do not fit kept; or one error that names them all."""
    held = tensors if target is None else [_held_to(target, tensor) for tensor in tensors]
    names: dict[str, list[str]] = {}
    for tensor in held:
        if tensor.unsupported is not None:
            names.setdefault(tensor.unsupported, []).append(tensor.module)
    if names and not keep:
        listed = "; ".join(f"{reason}: {', '.join(found)}" for reason, found in names.items())
        selected = sum(bool(tensor.layer or tensor.unsupported) for tensor in held)
        raise CheckpointError(
            f"{source.where}: {sum(map(len, names.values()))} of {selected} selected tensors do "
            f"not fit the target: {listed}. Ignore them, choose another scheme, or pass "
            "on_unsupported='keep'"
        )
    return held


def why_not_for(target: Target, layer: LayerScheme, shape: tuple[int, ...]) -> str | None:
    """Which constraint of the target a layer breaks; None if it breaks none.

    >>> why_not_for(targets.get("vllm"), LayerScheme(targets.get("mlx").scheme((64, 64))), (64, 64))
    'vllm takes symmetric or asymmetric codes, not offset ones'
    """
    reason = target.why_not(layer.weights, shape)
    if reason is not None:
        return reason
    activations = layer.input_activations
    formats = target.formats if activations is None else target.activation_formats
    if not formats:
        return f"{target.name} takes no input activations"
    if layer.format not in formats:
        beside = "" if activations is None else f" with {activations} activations"
        return f"{target.name} takes the format {one_of(formats)}{beside}, not {layer.format}"
    if target.row_activations and activations == "int8" and not _is_by_rows(layer.weights):
        return (
            f"{target.name} takes int8 activations with symmetric 8-bit weights of one scale per "
            "row only"
        )
    return None


def _is_by_rows(scheme: Scheme) -> bool:
    """Whether the codes are symmetric, of 8 bits, with no groups in a row."""
    return (
        isinstance(scheme, Affine)
        and scheme.symmetric
        and scheme.bits == 8
        and scheme.group_size is None
    )


def _held_to(target: Target, tensor: PlannedTensor) -> PlannedTensor:
    if tensor.layer is None:
        return tensor
    reason = why_not_for(target, tensor.layer, tensor.shape)
    return tensor if reason is None else _unfit(tensor, reason)


def _unfit(tensor: PlannedTensor, reason: str) -> PlannedTensor:
    return replace(tensor, layer=None, reason=f"unsupported: {reason}", unsupported=reason)
