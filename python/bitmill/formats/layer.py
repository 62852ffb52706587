# SPDX-License-Identifier: MIT
"""What a checkpoint does with one layer: the scheme of its weights, its activations, its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from bitmill import _check
from bitmill.schemes import (
    FP4,
    IQ4_NL,
    NF4,
    Affine,
    Float,
    KMeans,
    LearnedTable,
    Scales,
    Scheme,
    from_dict,
)

AUTO = "auto"
PACK_QUANTIZED, INT_QUANTIZED, NATIVE = "pack-quantized", "int-quantized", "native"
FLOAT_FORMATS = {
    "fp8_e4m3": "float-quantized",
    "mxfp4": "mxfp4-pack-quantized",
    "mxfp6_e2m3": "mxfp6-pack-quantized",
    "mxfp8_e4m3": "mxfp8-quantized",
    "nvfp4": "nvfp4-pack-quantized",
}
"""The formats of compressed-tensors for the kinds of `bitmill.Float` that it has."""
BITSANDBYTES = "bitsandbytes"
BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Groups that bitsandbytes can have."""
LAYER_FORMATS = (PACK_QUANTIZED, INT_QUANTIZED, *FLOAT_FORMATS.values(), BITSANDBYTES, NATIVE)
"""The formats of compressed-tensors, that of bitsandbytes, and bitmill's own."""

INPUT_ACTIVATIONS = ("int8", "fp8")
"""The runtime quantizes the layer's inputs, per token, symmetric, as they come."""


@dataclass(frozen=True)
class LayerScheme:
    """A scheme for the weights of a layer, with what a checkpoint says beside it.

    Parameters
    ----------
    weights
        The scheme: what `bitmill.quantize` takes.
    input_activations
        None, "int8", or, with fp8_e4m3 weights, "fp8": a note to the runtime, which quantizes the
        layer's inputs to 8 bits, one scale per token, as they come. Nothing about it is stored but
        the note.
    format
        Of compressed-tensors: "pack-quantized" (codes as a bit stream in words) or "int-quantized"
        (one int8 per code), and one for each kind of float that it has; "native", which bitmill
        alone reads, for any scheme; "auto": that of the kind of float, "int-quantized" if there are
        input activations, "native" for what compressed-tensors has no place for (offsets, two-level
        scales, tables, outliers), else "pack-quantized".

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
        is_fp8 = self.format == FLOAT_FORMATS["fp8_e4m3"]
        if self.input_activations is not None and (self.input_activations == "fp8") != is_fp8:
            raise ValueError(
                f"input_activations={self.input_activations!r} do not go with {self.format}: 'fp8' "
                "goes with fp8_e4m3 weights, 'int8' with integers"
            )

    def _format(self) -> str:
        weights = self.weights
        if fits_bitsandbytes(weights) and self.input_activations is None:
            return BITSANDBYTES
        if isinstance(weights, Float):
            return FLOAT_FORMATS.get(weights.kind, NATIVE)
        if self.input_activations is not None:
            return INT_QUANTIZED
        if not isinstance(weights, Affine) or weights.offset or isinstance(weights.scales, Scales):
            return NATIVE
        return PACK_QUANTIZED

    def with_scales(self, scales: str) -> LayerScheme:
        """The same with scales in another dtype; those of bitsandbytes stay float32."""
        if self.format == BITSANDBYTES:
            return self
        return self.with_weights(self.weights.with_scales(scales))

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


def fits_bitsandbytes(scheme: object) -> bool:
    """Whether bitsandbytes has such codes and scales.

    >>> fits_bitsandbytes(NF4()), fits_bitsandbytes(NF4(scales="float16"))
    (True, False)
    """
    return (
        isinstance(scheme, (NF4, FP4))
        and scheme.group_size in BLOCK_SIZES
        and scheme.scales == "float32"
        and scheme.scale_rule == "absmax"
    )


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
    "FP8": LayerScheme(Float("fp8_e4m3")),
    "FP8_DYNAMIC": LayerScheme(Float("fp8_e4m3"), "fp8"),
    "MXFP4": LayerScheme(Float("mxfp4")),
    "MXFP8": LayerScheme(Float("mxfp8_e4m3")),
    "NVFP4": LayerScheme(Float("nvfp4")),
    "NF4": LayerScheme(NF4()),
    "IQ4_NL": LayerScheme(IQ4_NL(clip="mse")),
    "LEARNED4": LayerScheme(LearnedTable(4)),
    "KMEANS4": LayerScheme(KMeans(4, "row")),
}
"""Layer schemes by the names that they have in compressed-tensors and vLLM, and those of tables.
FP8, MXFP4, MXFP8 and NVFP4 are about weights alone."""


def as_layer(given: object, name: str) -> LayerScheme:
    """`given` as a layer scheme: one, a scheme, or the name of a preset."""
    if isinstance(given, LayerScheme):
        return given
    if isinstance(given, str):
        return PRESETS[_check.choice(given, name, tuple(PRESETS))]
    _check.scheme(given)
    return LayerScheme(given)  # type: ignore[arg-type]
