# SPDX-License-Identifier: MIT
"""Patterns that select weights: an exact module name, `Linear`, or `re:` and a regex.

A module is a tensor's name without `.weight`; other tensors belong to no module and are never
selected. These are the patterns of compressed-tensors and vLLM.
"""

from __future__ import annotations

import re

from bitmill.checkpoint.header import TensorInfo

LINEAR = "Linear"
REGEX = "re:"
_SUFFIX = ".weight"

# By the last part of a module's name, which is all that a file of tensors tells.
_EMBEDDING = re.compile(r"embed|^(emb|wte|wpe|shared|relative_attention_bias)$")
_NORM = re.compile(r"norm|^ln(_|\d|$)", re.IGNORECASE)
_FLOATS = ("F32", "F16", "BF16", "F64")


def module_of(tensor: str) -> str | None:
    """The module whose weight this tensor is; None if it is no weight.

    >>> module_of("model.layers.0.mlp.up_proj.weight"), module_of("model.layers.0.mlp.up_proj.bias")
    ('model.layers.0.mlp.up_proj', None)
    """
    return tensor.removesuffix(_SUFFIX) if tensor.endswith(_SUFFIX) else None


def why_no_float(info: TensorInfo) -> str | None:
    """Why bitmill cannot quantize a tensor of this dtype, or None if it can."""
    return None if info.dtype in _FLOATS else f"dtype {info.dtype}"


def why_not_linear(info: TensorInfo) -> str | None:
    """Why a tensor is not what `Linear` selects, or None if it is."""
    module = module_of(info.name)
    if module is None:
        return "not named *.weight"
    if len(info.shape) != 2:
        return f"{len(info.shape)}-D"
    if 0 in info.shape:
        return "empty"
    last = module.rpartition(".")[2]
    if last == "lm_head":
        return "lm_head"
    if _EMBEDDING.search(last):
        return "embedding"
    if _NORM.search(last):
        return "norm"
    return why_no_float(info)


def check_pattern(pattern: object, name: str) -> str:
    """`pattern`, if it is one; `name` is the argument that it came in."""
    if not isinstance(pattern, str):
        raise TypeError(f"{name}: {pattern!r} is a {type(pattern).__name__}; patterns are strings")
    if pattern.startswith(REGEX):
        try:
            re.compile(pattern.removeprefix(REGEX))
        except re.error as error:
            raise ValueError(f"{name}: {pattern!r} is not a regex: {error}") from None
    return pattern


def matches(pattern: str, info: TensorInfo) -> bool:
    """Whether `pattern` selects this tensor; a regex must match from the start of the name.

    >>> info = TensorInfo("layers.0.q_proj.weight", "F32", (8, 8), 0, 256)
    >>> [matches(p, info) for p in ("Linear", "layers.0.q_proj", "re:.*q_proj", "re:q_proj")]
    [True, True, True, False]
    """
    module = module_of(info.name)
    if module is None:
        return False
    if pattern == LINEAR:
        return why_not_linear(info) is None
    if pattern.startswith(REGEX):
        return re.match(pattern.removeprefix(REGEX), module) is not None
    return pattern == module
