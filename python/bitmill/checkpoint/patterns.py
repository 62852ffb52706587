# SPDX-License-Identifier: MIT
"""Patterns that select weights: an exact module name, `Linear`, or `re:` and a regex.

A module is a tensor's name without `.weight`; other tensors belong to no module and are never
selected, but for stacks of experts, which are named like modules. These are the patterns of
compressed-tensors and vLLM.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bitmill.checkpoint.header import TensorInfo
from bitmill.formats.compressed_tensors import LINEAR, REGEX

_SUFFIX = ".weight"
_EXPERTS = "experts"

# By the last part of a module's name, which is all that a file of tensors tells.
_EMBEDDING = re.compile(r"embed|^(emb|wte|wpe|shared|relative_attention_bias)$")
_NORM = re.compile(r"norm|^ln(_|\d|$)", re.IGNORECASE)
_GATE = re.compile(r"(.*)\.(shared_expert_)?gate(\.wg)?")
_ROUTER = re.compile(r"(^|\.)router(\.\w+)?$")
_FLOATS = ("F32", "F16", "BF16", "F64")

# Models whose layers are of Transformers' Conv1D, with weights [in, out].
_CONV1D_MODELS = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp")
_CONV1D = ("c_attn", "c_proj", "c_fc", "q_attn")


# What config.json calls the parts of a model that has several.
_PARTS = ("text_config", "vision_config", "audio_config", "thinker_config")


@dataclass(frozen=True, slots=True)
class Model:
    """What a checkpoint tells of its model beside the single tensor."""

    conv1d: bool = False
    """Some layers are Conv1D, which no loader takes for Linear."""
    tied: bool = False
    """lm_head is the embedding."""
    multimodal: bool = False
    """It has several parts, and its modules have other names than its tensors."""
    routed: frozenset[str] = frozenset()
    """Modules that have experts, and so a router among their parts."""


def model_of(config: Mapping[str, Any], names: Iterable[str]) -> Model:
    """The model with this config.json and these tensors."""
    routed = {name.partition(f".{_EXPERTS}.")[0] for name in names if f".{_EXPERTS}." in name}
    text = config.get("text_config")
    tied = [c.get("tie_word_embeddings") for c in (config, text) if isinstance(c, Mapping)]
    return Model(
        conv1d=config.get("model_type") in _CONV1D_MODELS,
        tied=next((bool(said) for said in tied if said is not None), False),
        multimodal=any(isinstance(config.get(part), Mapping) for part in _PARTS),
        routed=frozenset(routed),
    )


def module_of(info: TensorInfo) -> str | None:
    """The module whose weight this tensor is; None if it is no weight.

    >>> names = "mlp.up_proj.weight", "mlp.up_proj.bias", "mlp.experts.down_proj"
    >>> [module_of(TensorInfo(name, "F32", (2, 8, 8), 0, 512)) for name in names]
    ['mlp.up_proj', None, 'mlp.experts.down_proj']
    """
    if info.name.endswith(_SUFFIX):
        return info.name.removesuffix(_SUFFIX)
    return info.name if len(info.shape) == 3 and is_stack(info.name) else None


def weight_of(module: str, rank: int) -> str:
    """The inverse of `module_of`: the name of the tensor of `rank` that is the module's weight."""
    return module if rank == 3 and is_stack(module) else module + _SUFFIX


def is_stack(name: str) -> bool:
    """Whether a tensor of this name, which lacks `.weight`, holds the weights of all experts."""
    return name.rpartition(".")[0].rpartition(".")[2] == _EXPERTS


def why_no_float(info: TensorInfo) -> str | None:
    """Why bitmill cannot quantize a tensor of this dtype, or None if it can."""
    return None if info.dtype in _FLOATS else f"dtype {info.dtype}"


def is_embedding(module: str) -> bool:
    """Whether a module is an embedding by its name."""
    return _EMBEDDING.search(module.rpartition(".")[2]) is not None


def is_conv1d(module: str, model: Model) -> bool:
    """Whether a module is a Conv1D, whose weight is the transpose of that of a Linear."""
    return model.conv1d and module.rpartition(".")[2] in _CONV1D


def why_not_linear(info: TensorInfo, model: Model) -> str | None:
    """Why a tensor is not what `Linear` selects, or None if it is."""
    module = module_of(info)
    if module is None:
        return "not named *.weight"
    if len(info.shape) != 2:
        return f"{len(info.shape)}-D"
    if 0 in info.shape:
        return "empty"
    last = module.rpartition(".")[2]
    if last == "lm_head":
        return "lm_head"
    if is_embedding(module):
        return "embedding"
    if _NORM.search(last):
        return "norm"
    gate = _GATE.fullmatch(module)
    if (gate and gate[1] in model.routed) or _ROUTER.search(module):
        return "router"
    if is_conv1d(module, model):
        return "Conv1D"
    return why_no_float(info)


def check_pattern(pattern: object, name: str) -> str:
    """`pattern`, if it is one; `name` is the argument that it came in."""
    if not isinstance(pattern, str):
        raise TypeError(f"{name}: {pattern!r} is a {type(pattern).__name__}; patterns are strings")
    if pattern.startswith(REGEX):
        try:
            re.compile(pattern.removeprefix(REGEX))
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"{name}: {pattern!r} is not a regex: {error}") from None
    return pattern


def matches(pattern: str, info: TensorInfo, model: Model) -> bool:
    """Whether `pattern` selects this tensor; a regex must match from the start of the name.

    >>> info = TensorInfo("layers.0.q_proj.weight", "F32", (8, 8), 0, 256)
    >>> patterns = "Linear", "layers.0.q_proj", "re:.*q_proj", "re:q_proj"
    >>> [matches(pattern, info, Model()) for pattern in patterns]
    [True, True, True, False]
    """
    module = module_of(info)
    if module is None:
        return False
    if pattern == LINEAR:
        return why_not_linear(info, model) is None
    return matches_name(pattern, module)


def matches_name(pattern: str, module: str) -> bool:
    """Whether `pattern`, a name or a regex, selects the module of this name."""
    if pattern.startswith(REGEX):
        return re.match(pattern.removeprefix(REGEX), module) is not None
    return pattern == module
