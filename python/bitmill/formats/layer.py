# SPDX-License-Identifier: MIT
"""What a checkpoint does with one layer: the scheme of its weights, its activations, its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from bitmill import _check
from bitmill.schemes import Affine, Scales, Scheme, from_dict

AUTO = "auto"
PACK_QUANTIZED, INT_QUANTIZED, NATIVE = "pack-quantized", "int-quantized", "native"
LAYER_FORMATS = (PACK_QUANTIZED, INT_QUANTIZED, NATIVE)
"""Two formats of compressed-tensors, and bitmill's own."""

INPUT_ACTIVATIONS = ("int8",)
"""int8: the runtime quantizes the layer's inputs, per token, symmetric, as they come."""


@dataclass(frozen=True)
class LayerScheme:
    """A scheme for the weights of a layer, with what a checkpoint says beside it.

    Parameters
    ----------
    weights
        The scheme: what `bitmill.quantize` takes.
    input_activations
        None, or "int8": a note to the runtime, which quantizes the layer's inputs to 8 bits, one
        scale per token, as they come. Nothing about it is stored but the note.
    format
        "pack-quantized" (codes as a bit stream in words) or "int-quantized" (one int8 per code),
        both of compressed-tensors; "native", which bitmill alone reads, for any scheme; "auto":
        "int-quantized" if there are input activations, "native" for what compressed-tensors has no
        place for (offsets, two-level scales, outliers), else "pack-quantized".

    Raises ValueError for another name, TypeError for what is no scheme.

    >>> LayerScheme(Affine(8), "int8")
    LayerScheme(weights=Affine(bits=8), input_activations='int8', format='int-quantized')
    """

    weights: Scheme
    input_activations: str | None = None
    _: KW_ONLY
    format: str = AUTO

    def __post_init__(self) -> None:
        _check.scheme(self.weights)
        if self.input_activations is not None:
            _check.choice(self.input_activations, "input_activations", INPUT_ACTIVATIONS)
        _check.choice(self.format, "format", (AUTO, *LAYER_FORMATS))
        if self.format == AUTO:
            object.__setattr__(self, "format", self._format())
        if self.format == NATIVE and self.input_activations is not None:
            raise ValueError(
                "input_activations go with the formats of compressed-tensors: no runtime reads the "
                "native format"
            )

    def _format(self) -> str:
        if self.input_activations is not None:
            return INT_QUANTIZED
        weights = self.weights
        if not isinstance(weights, Affine) or weights.offset or isinstance(weights.scales, Scales):
            return NATIVE
        return PACK_QUANTIZED

    def with_weights(self, weights: Scheme) -> LayerScheme:
        """The same with another scheme for the weights."""
        return replace(self, weights=weights)

    def describe(self) -> str:
        """A few words for tables.

        >>> LayerScheme(Affine(8), "int8").describe()
        'int8 sym row a8'
        """
        return self.weights.describe() + ("" if self.input_activations is None else " a8")

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; `layer_from_dict` reads it back.

        >>> LayerScheme(Affine(4)).to_dict()
        {'weights': {'scheme': 'Affine', 'bits': 4}, 'format': 'pack-quantized'}
        """
        said: dict[str, Any] = {"weights": self.weights.to_dict()}
        if self.input_activations is not None:
            said["input_activations"] = self.input_activations
        return {**said, "format": self.format}


def layer_from_dict(given: Mapping[str, Any]) -> LayerScheme:
    """The layer scheme that `to_dict` described; ValueError if it describes none."""
    arguments = dict(given)
    weights = arguments.pop("weights", None)
    if not isinstance(weights, Mapping):
        raise ValueError(f"weights={weights!r}; wanted the scheme as an object")
    try:
        return LayerScheme(from_dict(weights), **arguments)
    except TypeError as error:
        raise ValueError(f"{arguments!r} are not the options of a layer: {error}") from None


PRESETS = {
    "W4A16": LayerScheme(Affine(4, group_size=128)),
    "W4A16_ASYM": LayerScheme(Affine(4, symmetric=False, group_size=128)),
    "W8A16": LayerScheme(Affine(8)),
    "W8A8": LayerScheme(Affine(8), "int8"),
}
"""Layer schemes by the names that they have in compressed-tensors and vLLM."""


def as_layer(given: object, name: str) -> LayerScheme:
    """`given` as a layer scheme: one, a scheme, or the name of a preset."""
    if isinstance(given, LayerScheme):
        return given
    if isinstance(given, str):
        return PRESETS[_check.choice(given, name, tuple(PRESETS))]
    _check.scheme(given)
    return LayerScheme(given)  # type: ignore[arg-type]
