# SPDX-License-Identifier: MIT
"""What llama.cpp calls the weights of a Hugging Face model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bitmill.checkpoint.errors import CheckpointError, shown
from bitmill.checkpoint.patterns import is_stack

_ARCHITECTURES = {
    "mistral": "llama",
    "mixtral": "llama",
    "phi": "phi2",
    "cohere": "command-r",
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
    "gpt_bigcode": "starcoder",
    "roberta": "bert",
    "distilbert": "bert",
}
"""By `model_type`, where the names differ by more than _, - and the `_text` of a part."""

_TRANSPOSED = ("gptoss", "llama4")
"""Models whose stacks of experts are [experts, inputs, outputs]: their columns are no inputs."""

_LAYER = re.compile(r"(^|\.)([0-9]+)\.")
_EXPERT = re.compile(r"\.experts\.([0-9]{1,9})\.")


class Named(NamedTuple):
    """A weight in an importance matrix."""

    key: str
    matrix: int | None
    """Which one of experts that lie in one tensor; None where the checkpoint has no numbers."""


def names_of(path: Path, config: Mapping[str, Any]) -> Callable[[str], Named | None]:
    """From modules of a model with this config.json to what the imatrix at `path` may call them.

    CheckpointError if the package gguf is missing, or does not know the model.
    """
    try:
        import gguf
    except ImportError:
        raise CheckpointError(
            f"{path}: an importance matrix of llama.cpp, whose names the package gguf knows: "
            "pip install 'bitmill[gguf]'"
        ) from None
    known = {_plain(name): number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    types = _model_types(config)
    found = [name for name in map(_architecture, types) if name in known]
    if not found:
        said = f"model_type is {shown(types[0])}" if types else "says no model_type"
        raise CheckpointError(
            f"{path}: llama.cpp's names of the weights go by the kind of model, and config.json "
            f"{said}; name them as the checkpoint does, in an .npz or safetensors file"
        )
    # For one layer, by whose number all others are replaced: files can name layers by any number.
    names = gguf.get_tensor_name_map(known[found[0]], 1)

    def name(module: str) -> Named | None:
        layer, expert = _LAYER.search(module), _EXPERT.search(module)
        if found[0] in _TRANSPOSED and expert is None and is_stack(module):
            return None
        for candidate in _candidates(module):
            said = names.get_name(_LAYER.sub(r"\g<1>0.", candidate, count=1))
            if said is not None:
                said = _LAYER.sub(rf"\g<1>{layer[2]}.", said, count=1) if layer else said
                return Named(f"{said}.weight", int(expert[1]) if expert else None)
        return None

    return name


def _candidates(module: str) -> Iterator[str]:
    """How llama.cpp's converter may know the module: all experts as one, a text model alone."""
    module = _EXPERT.sub(".experts.", module, count=1)
    yield module
    yield module.replace("language_model.", "").removeprefix("model.model.")
    if module.endswith(".experts.gate_up_proj"):  # whose input is that of the gate
        yield module.replace("gate_up_proj", "gate_proj")


def _model_types(config: Mapping[str, Any]) -> list[str]:
    given = [config, config.get("text_config")]
    types = [part.get("model_type") for part in given if isinstance(part, Mapping)]
    return [kind for kind in types if isinstance(kind, str)]


def _architecture(model_type: str) -> str:
    return _plain(_ARCHITECTURES.get(model_type, model_type.removesuffix("_text")))


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
