# SPDX-License-Identifier: MIT
"""What loaders must be told to leave alone, by names that are the modules' in the loaded model.

Loaders make a quantized layer of every Linear that is not in `ignore`, also of those that have no
tensor in the file, and some models name their modules otherwise than their files do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.patterns import Model, module_of
from bitmill.formats.compressed_tensors import REGEX

# Heads that are the embedding and have no tensor: the name, and how the tensors beside it begin.
_TIED_HEADS = {"cls.predictions.decoder": "cls.predictions.", "proj_out": "model.decoder."}
_ROUTERS = r".*\.(gate|router)$"


def ignore_list(kept: Iterable[TensorInfo], quantized: Iterable[str], model: Model) -> list[str]:
    """Names, and some regexes, for `ignore`: of kept tensors, given the quantized modules."""
    kept, taken = list(kept), set(quantized)
    names = {info.name for info in kept}
    modules = [m for info in kept if len(info.shape) == 2 and (m := module_of(info)) is not None]
    biased = {name.removesuffix(".bias") for name in names if name.endswith(".bias")}
    missing = [m for m in sorted(biased) if f"{m}.weight" not in names and m not in taken]
    missing += [
        head
        for head, beginning in _TIED_HEADS.items()
        if any(name.startswith(beginning) for name in (*names, *taken)) and head not in taken
    ]
    spelled = spelling(model)
    found = [spelled(module) for module in dict.fromkeys((*modules, *missing))]
    # Mixtral's kin call the router otherwise in the model than in the file.
    has_router = any(re.match(_ROUTERS, module) for module in modules)
    if has_router and not any(re.match(_ROUTERS, module) for module in taken):
        found.append(REGEX + _ROUTERS)
    return found


def spelling(model: Model) -> Callable[[str], str]:
    """How a module is named: as in the file, or, in models of several parts, by a regex.

    Their loaders put other names in front and in between: `language_model.model.layers` of the file
    is `model.language_model.layers` in the model.
    """
    return anywhere if model.multimodal else str


def anywhere(module: str) -> str:
    """A regex for a module that may have come under other names.

    >>> anywhere("language_model.model.layers.0.mlp.up_proj")
    're:(.*\\\\.)?language_model\\\\.(.*\\\\.)?layers\\\\.0\\\\.mlp\\\\.up_proj$'
    >>> anywhere("language_model.lm_head"), anywhere("projector.linear")
    ('re:(.*\\\\.)?lm_head$', 're:(.*\\\\.)?projector\\\\.linear$')
    """
    parts = module.split(".")
    if parts[0] == "model" and len(parts) > 2 and not parts[2].isdecimal():
        parts = parts[1:]  # which is around all parts alike: the next name tells which it is
    first_number = next((i for i, part in enumerate(parts) if part.isdecimal()), 0)
    if parts[-1] == "lm_head":
        parts = parts[-1:]
    elif first_number > 1:
        tail = re.escape(".".join(parts[first_number - 1 :]))
        return rf"{REGEX}(.*\.)?{re.escape(parts[0])}\.(.*\.)?{tail}$"
    return rf"{REGEX}(.*\.)?{re.escape('.'.join(parts))}$"
