# SPDX-License-Identifier: MIT
"""Candidates: the schemes that a weight may get, by their labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from bitmill.formats import NATIVE, PRESETS, LayerScheme, as_layer, method_of
from bitmill.schemes import Affine, Scheme

KEEP = "KEEP"
"""In the place of a scheme: the weight as it is, which takes its bytes and has no error."""

Candidate = Scheme | LayerScheme | str
Candidates = Iterable[str] | Mapping[str, Candidate]
"""Names, or what each label stands for."""

_AFFINE = re.compile(r"W([2-8])(g([1-9]\d*)|row)?([ao])?")
_WANTED = f"W2 to W8 (also W4g32, W4row, W4a, W4o), {', '.join(PRESETS)}, {KEEP}"


def named(name: str) -> LayerScheme | None:
    """What a name stands for; None for KEEP.

    `W<bits>` is `Affine(bits, group_size=128, clip="mse")`, with a scale per row at 8 bits, then
    perhaps `g<size>` or `row` for other groups, then perhaps `a` for a zero-point or `o` for a real
    offset. Else the name of a preset. ValueError for others.

    >>> named("W3g64a").weights == Affine(3, symmetric=False, group_size=64, clip="mse")
    True
    >>> named("W8").weights == Affine(8, clip="mse"), named("KEEP")
    (True, None)
    """
    if name.upper() == KEEP:
        return None
    found = _AFFINE.fullmatch(name)
    if found is None:
        if name not in PRESETS:
            raise ValueError(f"{name!r} is not one of: {_WANTED}")
        return PRESETS[name]
    bits, cut, size, kind = int(found[1]), found[2], found[3], found[4]
    group = None if cut == "row" or (cut is None and bits == 8) else int(size or 128)
    weights = Affine(bits, symmetric=kind is None, group_size=group, clip="mse", offset=kind == "o")
    return LayerScheme(weights)


def resolve(candidates: Candidates) -> dict[str, LayerScheme | None]:
    """The layer scheme of each label, None for KEEP.

    All can stand in one config.json: if they are of several methods, as affine codes and tables
    are, all get the native format. ValueError for names that are unknown or twice there, for KEEP
    alone, and for input activations among candidates that need the native format.
    """
    if isinstance(candidates, str) or not isinstance(candidates, Iterable):
        raise TypeError(f"candidates={candidates!r}; wanted a list of names, or {{label: scheme}}")
    made: dict[str, LayerScheme | None] = {}
    for label, given in _pairs(candidates):
        if not isinstance(label, str):
            raise TypeError(f"candidates: {label!r} is no string; labels and names are")
        label = KEEP if label.upper() == KEEP else label
        if label in made:
            raise ValueError(f"candidates: {label!r} is there twice")
        made[label] = _layer(label, given)
    if not any(made.values()):
        raise ValueError(f"candidates are {', '.join(made) or 'empty'}; wanted a scheme among them")
    return _of_one_method(made)


def _pairs(candidates: Candidates) -> Iterable[tuple[str, Candidate]]:
    if isinstance(candidates, Mapping):
        return candidates.items()
    return ((name, name) for name in candidates)


def _layer(label: str, given: Candidate) -> LayerScheme | None:
    """What a label stands for; errors name it."""
    try:
        layer = named(given) if isinstance(given, str) else as_layer(given, "scheme")
    except (TypeError, ValueError) as error:
        about = "" if label == given else f"{label!r}: "
        raise type(error)(f"candidates: {about}{error}") from None
    if (label == KEEP) != (layer is None):
        raise ValueError(f"candidates: {label!r}: the label {KEEP} is for weights as they are")
    return layer


def _of_one_method(layers: dict[str, LayerScheme | None]) -> dict[str, LayerScheme | None]:
    """The same in formats that go together in one checkpoint."""
    formats = {layer.format for layer in layers.values() if layer}
    if len({id(method_of(format)) for format in formats}) == 1:
        return layers
    for label, layer in layers.items():
        if layer and layer.input_activations is not None:
            raise ValueError(
                f"candidates: {label!r} has input activations, and the others need the native "
                "format, which has none: measure them apart"
            )
    return {
        label: None if layer is None else replace(layer, format=NATIVE)
        for label, layer in layers.items()
    }
