# SPDX-License-Identifier: MIT
"""compressed-tensors, which vLLM, SGLang and Transformers load: its configuration.

Layers of the same scheme form a `config_groups` entry, with a `format` of its own: loaders go by
that one and not by the format of the whole. Tensors are the subject of `pack_quantized`,
`int_quantized` and `floats`. As compressed-tensors 0.20 and Transformers 5 read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bitmill._dtypes import STORAGES
from bitmill.formats import affine, floats, pack_quantized
from bitmill.formats.base import Weight
from bitmill.formats.layer import FLOAT_FORMATS, INT_QUANTIZED, PACK_QUANTIZED
from bitmill.schemes import Affine, Float, Scales, Scheme

METHOD = "compressed-tensors"
LINEAR, REGEX = "Linear", "re:"

_EXPERT = re.compile(r"\.experts\.\d+\.\w+$")

_TYPES = {"int8": "int", "fp8": "float"}


def _activations(name: str) -> dict[str, Any]:
    """The `input_activations` of a configuration group."""
    token = {"strategy": "token", "dynamic": True}
    return {"num_bits": 8, "type": _TYPES[name], "symmetric": True, **token}


def nbytes(scheme: Scheme, shape: tuple[int, ...]) -> int:
    """Bytes of tensor data that the format for the kind of float, or else pack-quantized, takes."""
    if isinstance(scheme, Float) and scheme.kind in FLOAT_FORMATS:
        return floats.FORMATS[FLOAT_FORMATS[scheme.kind]].nbytes(scheme, shape)
    return pack_quantized.nbytes(scheme, shape)


def config(
    weights: Mapping[str, Weight], *, linear: Collection[str] = (), ignore: Sequence[str] = ()
) -> dict[str, Any]:
    """The `quantization_config` for these modules; `ignore` are the others' names.

    `linear` names the modules that loaders are sure to see as class `Linear`. One scheme targets
    that class. Several target exact names: vLLM takes a fused q/k/v for a `Linear` before it looks
    at the names of its parts.
    """
    groups: dict[str, list[str]] = {}
    for module, weight in weights.items():
        groups.setdefault(json.dumps(_group(weight)), []).append(module)
    if len(groups) == 1:
        (key,) = groups
        groups[key] = [LINEAR, *(module for module in weights if module not in linear)]
    if "lm_head" not in ignore and not any(re.search(r"\blm_head\b", name) for name in weights):
        ignore = [*ignore, "lm_head"]  # tied to the embedding, or with another name in the file
    formats = {weight.layer.format for weight in weights.values()}
    return {
        "quant_method": METHOD,
        "format": formats.pop() if len(formats) == 1 else "mixed-precision",
        "quantization_status": "compressed",  # without it loaders leave the weights random
        "config_groups": {
            f"group_{i}": {"targets": targets, **json.loads(said)}
            for i, (said, targets) in enumerate(groups.items())
        },
        "ignore": list(ignore),
    }


class Group(NamedTuple):
    """What a configuration says about a module: its `weights`, its format, its activations."""

    weights: dict[str, Any]
    format: str | None
    input_activations: dict[str, Any] | None


def group_of(said: Mapping[str, Any], module: str) -> Group:
    """The configuration group of a quantized module, as loaders find it.

    A target that is the module's name comes before a regex that matches it, and that before a
    class, which here is any other target; then the first group. ValueError if there is none.
    """
    groups = said.get("config_groups")
    if not isinstance(groups, dict) or not all(isinstance(g, dict) for g in groups.values()):
        raise ValueError("its 'config_groups' is no object of objects")
    for matches in _MATCHES:
        for group in groups.values():
            if any(matches(str(target), module) for target in group.get("targets", [])):
                arguments = group.get("weights")
                if not isinstance(arguments, dict):
                    raise ValueError(f"its group for {module!r} has no 'weights'")
                return Group(
                    arguments,
                    group.get("format") or said.get("format"),
                    group.get("input_activations"),
                )
    raise ValueError(f"no group of its 'config_groups' targets {module!r}")


def _is_regex(target: str) -> bool:
    return target.startswith(REGEX)


_MATCHES: tuple[Callable[[str, str], bool], ...] = (
    lambda target, module: target == module,
    lambda target, module: (
        _is_regex(target) and re.match(target.removeprefix(REGEX), module) is not None
    ),
    lambda target, module: not _is_regex(target) and "." not in target,
)


def notes(weights: Mapping[str, Weight], kept: Sequence[str] = ()) -> list[str]:
    """What to know about the runtimes before such weights are handed to them; mostly nothing.

    `kept` are the modules that are not quantized.

    >>> from bitmill.formats import LayerScheme
    >>> layer = LayerScheme(Affine(4, group_size=128, scales="bfloat16"))
    >>> notes({"m": Weight(layer, (512, 384), "bfloat16")})
    []
    """
    found = dict.fromkeys(note for weight in weights.values() for note in _notes(weight))
    if len({json.dumps(_group(weight)) for weight in weights.values()}) > 1:
        found["several schemes: Transformers with dequantize=True takes the first for all"] = None
    experts = [weight for module, weight in weights.items() if _is_expert(module)]
    if any(map(_is_expert, kept)) or not all(map(_is_packed_symmetric, experts)):
        found[
            "Transformers 5 loads a model with experts only if all of them are pack-quantized and "
            "symmetric"
        ] = None
    return list(found)


def _is_expert(module: str) -> bool:
    return _EXPERT.search(module) is not None


def _is_packed_symmetric(weight: Weight) -> bool:
    scheme = weight.layer.weights
    return weight.layer.format == PACK_QUANTIZED and getattr(scheme, "symmetric", False)


def _notes(weight: Weight) -> Iterator[str]:
    """What to know about one weight."""
    layer, scheme = weight.layer, weight.layer.weights
    if isinstance(scheme, Float):
        yield from _notes_of_floats(weight, scheme)
    if not isinstance(scheme, Affine):
        return
    packed, activations = layer.format == PACK_QUANTIZED, layer.input_activations
    if packed and not scheme.symmetric:
        yield (
            "Transformers with compressed-tensors 0.18 to 0.20 loads asymmetric packed weights "
            "only with dequantize=True"
        )
    if packed and scheme.bits in (3, 5, 6, 7):
        yield f"{scheme.bits}-bit weights need compressed-tensors 0.18 or newer"
    if packed and scheme.bits not in (4, 8):
        yield f"vLLM takes {scheme.bits}-bit weights in its newest versions only"
    if packed and scheme.group_size not in (None, 32, 64, 128):
        yield f"vLLM's fast kernels take groups of 32, 64, 128 or rows, not {scheme.group_size}"
    if layer.format == INT_QUANTIZED and activations is None:
        yield "vLLM refuses int-quantized weights without input activations: use pack-quantized"
    if activations is not None and (not scheme.symmetric or scheme.group_size or scheme.bits != 8):
        yield "vLLM takes input activations with symmetric 8-bit weights of a scale per row only"
    if len(weight.shape) == 3:
        yield (
            "stacks of experts are packed slice by slice; Transformers and vLLM want a module for "
            "each expert"
        )
    if scheme.scale_rule == "signed_max":
        yield "scale rule signed_max gives negative scales, which runtimes may not expect"
    yield from _notes_of_scales(weight, scheme.scales)


def _notes_of_floats(weight: Weight, scheme: Float) -> Iterator[str]:
    if scheme.kind == "nvfp4":
        yield (
            "vLLM takes the largest global scale of q/k/v and of gate/up for all of them; bitmill "
            "gives each its own"
        )
    elif scheme.kind.startswith("mx"):
        yield f"vLLM takes {scheme.kind} weights in its newest versions only"
    elif scheme.group_size is not None:
        yield "vLLM takes fp8 weights with one scale per row or tensor only"
    if not scheme.kind.startswith("fp8") and weight.dtype != "bfloat16":
        yield (
            f"Transformers makes bfloat16 of {scheme.kind} weights: a {weight.dtype} model loads "
            "only with dequantize=True"
        )
    if scheme.kind == "mxfp6_e2m3":
        yield "mxfp6 weights need compressed-tensors 0.20 or newer"
    if scheme.kind.startswith("fp8"):
        yield from _notes_of_scales(weight, scheme.scales)


def _notes_of_scales(weight: Weight, scales: str | Scales) -> Iterator[str]:
    if weight.dtype in STORAGES and scales != weight.dtype:
        yield (
            f"scales are {scales} in a {weight.dtype} model: Transformers and vLLM round "
            f"them to {weight.dtype} on loading"
        )


def _group(weight: Weight) -> dict[str, Any]:
    """A configuration group without its targets."""
    scheme = weight.layer.weights
    if isinstance(scheme, Float):
        arguments = floats.arguments(scheme, weight.shape)
    elif isinstance(scheme, Affine):
        arguments = affine.arguments(scheme, weight.shape)
    else:
        raise ValueError(f"compressed-tensors holds no codes of a {type(scheme).__name__}")
    said: dict[str, Any] = {"format": weight.layer.format, "weights": arguments}
    if weight.layer.input_activations is not None:
        said["input_activations"] = _activations(weight.layer.input_activations)
    return said
