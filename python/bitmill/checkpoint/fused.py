# SPDX-License-Identifier: MIT
"""What vLLM makes one layer of: its parts must share one scheme."""

from __future__ import annotations

import json
import re

from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.patterns import module_of
from bitmill.checkpoint.plan import Plan
from bitmill.checkpoint.read import Checkpoint
from bitmill.formats import NATIVE, LayerScheme

# Parts of the same parent by their last names, and all experts.
_FUSED = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("q_a_proj", "kv_a_proj_with_mqa"),  # DeepSeek's latent attention
    ("gate_proj", "up_proj"),
    ("w1", "w3"),  # InternLM's names of these
)
_EXPERT = re.compile(r"(.*\.experts)\.\d+\.(.*)")


def refuse_split(source: Checkpoint, plan: Plan) -> None:
    """Raise one error for all layers that vLLM fuses and that do not share one scheme."""
    split = split_layers(plan)
    if split:
        raise CheckpointError(
            f"{source.where}: vLLM makes one layer of these, and wants one scheme for all parts "
            f"(split_fused=True goes on, for other runtimes): {'; '.join(split)}"
        )


def split_layers(plan: Plan) -> list[str]:
    """The layers that vLLM fuses and whose parts do not share one scheme, each with two of them."""
    if all(tensor.layer and tensor.layer.format == NATIVE for tensor in plan.quantized):
        return []
    sets: dict[str, dict[str, LayerScheme | None]] = {}
    for tensor in plan.tensors:
        key = fused_into(tensor.info)
        if key is not None:
            sets.setdefault(key, {})[tensor.module] = tensor.layer
    split = (parts for parts in sets.values() if len(set(parts.values())) > 1)
    return [_described(_different(parts)) for parts in split]


def _different(parts: dict[str, LayerScheme | None]) -> dict[str, LayerScheme | None]:
    """One part for each of the schemes that a fused layer has."""
    firsts: dict[LayerScheme | None, str] = {}
    for module, layer in parts.items():
        firsts.setdefault(layer, module)
    return {module: layer for layer, module in firsts.items()}


def _described(parts: dict[str, LayerScheme | None]) -> str:
    """Modules with their schemes; in full where a few words do not tell them apart."""
    words = [layer.describe() if layer else "kept" for layer in parts.values()]
    if len(set(words)) < len(words):
        words = [json.dumps(layer.to_dict()) if layer else "kept" for layer in parts.values()]
    return ", ".join(f"{module}: {said}" for module, said in zip(parts, words, strict=True))


def fused_into(info: TensorInfo) -> str | None:
    """What stands for the layer that vLLM makes of this weight and others; None if of it alone.

    Parts of another width are of another layer: q of cross-attention is not one with k and v.
    """
    module = module_of(info)
    if module is None or len(info.shape) != 2:
        return None
    expert = _EXPERT.match(module)
    if expert is not None:
        return expert[1]
    parent, _, last = module.rpartition(".")
    names = next((names for names in _FUSED if last in names), None)
    return None if names is None else f"{parent}.{'+'.join(names)}:{info.shape[1]}"
