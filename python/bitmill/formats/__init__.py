# SPDX-License-Identifier: MIT
"""Storage formats, one module each: how a weight is stored, and how a config.json tells of it."""

from bitmill.formats import (
    bitsandbytes,
    compressed_tensors,
    floats,
    int_quantized,
    native,
    pack_quantized,
)
from bitmill.formats.base import Format, Method, Weight
from bitmill.formats.layer import (
    BITSANDBYTES,
    INPUT_ACTIVATIONS,
    INT_QUANTIZED,
    LAYER_FORMATS,
    NATIVE,
    PACK_QUANTIZED,
    PRESETS,
    LayerScheme,
    as_layer,
    layer_from_dict,
)
from bitmill.schemes import total

FORMATS = ("compressed_tensors", "bitsandbytes", "native")
"""The modules of this package whose `nbytes` says what a weight takes in a file."""

BY_NAME: dict[str, Format] = {
    PACK_QUANTIZED: pack_quantized,
    INT_QUANTIZED: int_quantized,
    **floats.FORMATS,
    BITSANDBYTES: bitsandbytes,
    NATIVE: native,
}
"""The format that a `LayerScheme` names."""


def method_of(format: str) -> Method:
    """How a config.json tells of weights in this format; formats of one method go together."""
    own: dict[str, Method] = {NATIVE: native, BITSANDBYTES: bitsandbytes}
    return own.get(format, compressed_tensors)


__all__ = [
    "BITSANDBYTES",
    "BY_NAME",
    "FORMATS",
    "INPUT_ACTIVATIONS",
    "INT_QUANTIZED",
    "LAYER_FORMATS",
    "NATIVE",
    "PACK_QUANTIZED",
    "PRESETS",
    "Format",
    "LayerScheme",
    "Method",
    "Weight",
    "as_layer",
    "layer_from_dict",
    "method_of",
    "total",
]
