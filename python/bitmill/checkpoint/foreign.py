# SPDX-License-Identifier: MIT
"""Weights that others quantized: told by the names, dtypes and shapes of their tensors.

`config` below is what config.json says about quantization, {} where it is silent: tensors tell most
of it, so that a lone file is recognized too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bitmill.checkpoint.data import read_tensor
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.find import Place
from bitmill.checkpoint.header import TensorInfo, parse_json
from bitmill.formats import pack_quantized
from bitmill.formats.compressed_tensors import METHOD

Parts = Mapping[str, Place]
"""A module's tensors by what their names have behind its own."""

_STATE = "weight.quant_state.bitsandbytes__"

# By the bytes of codes for each scale: the name, and how many weights share the scale.
_PACKED_FLOATS = {8: ("nvfp4", 16), 16: ("mxfp4", 32), 24: ("mxfp6", 32)}


class Recognized(NamedTuple):
    """A quantized weight: whose it is, how it is quantized, and its logical shape if known."""

    method: str
    scheme: str
    shape: tuple[int, ...] | None


def recognize(parts: Parts, config: Mapping[str, Any]) -> Recognized | None:
    """What the tensors of one module are; None if nothing here knows them."""
    for judge in _JUDGES:
        found = judge(parts, config)
        if found is not None:
            return found
    return None


def _info(parts: Parts, name: str) -> TensorInfo | None:
    return parts[name][1] if name in parts else None


def _columns_packed(parts: Parts, config: Mapping[str, Any]) -> Recognized | None:
    """GPTQ and AWQ: columns packed along the input and the output; zero-points along the output."""
    words, zeros, scales = (_info(parts, name) for name in ("qweight", "qzeros", "scales"))
    if words is None or zeros is None or scales is None:
        return None
    if any(len(info.shape) != 2 or 0 in info.shape for info in (words, zeros, scales)):
        return None
    groups, rows = scales.shape
    bits = 32 * zeros.shape[1] // rows
    if bits == 0:
        return None
    along_output = rows != words.shape[1]
    columns = words.shape[0] if along_output else 32 * words.shape[0] // bits
    label = f"int{bits} g{columns // groups}"
    return Recognized("AWQ" if along_output else "GPTQ", label, (rows, columns))


def _bitsandbytes(parts: Parts, config: Mapping[str, Any]) -> Recognized | None:
    codes = _info(parts, "weight")
    for name, place in parts.items():
        if name.startswith(_STATE):
            state, shape = _json(place), None
            if _is_shape(state.get("shape")):
                shape = tuple(state["shape"])
            nested = " nested" if "weight.nested_absmax" in parts else ""
            label = f"{name.removeprefix(_STATE)} b{state.get('blocksize', '?')}{nested}"
            return Recognized("bitsandbytes", label, shape)
    if codes is not None and "SCB" in parts:
        return Recognized("bitsandbytes", "int8 row", codes.shape)
    return None


def _json(place: Place) -> dict[str, Any]:
    """The object that is stored as the bytes of a tensor; {} if there is none."""
    path, info = place
    if info.nbytes > 1 << 16:
        return {}
    try:
        return parse_json(path, read_tensor(path, info).tobytes())
    except CheckpointError:
        return {}


def _is_shape(said: object) -> bool:
    return isinstance(said, list) and all(type(n) is int and n >= 0 for n in said)


def _mlx(parts: Parts, config: Mapping[str, Any]) -> Recognized | None:
    words, scales = _info(parts, "weight"), _info(parts, "scales")
    if words is None or scales is None or words.dtype != "U32" or len(words.shape) < 2:
        return None
    mode = config.get("mode", "affine" if "biases" in parts else "mx")
    size, bits = config.get("group_size"), config.get("bits")
    shape = None
    if type(bits) is int and bits > 0:
        shape = (*words.shape[:-1], words.shape[-1] * 32 // bits)
    label = f"{mode} {bits or '?'} bits" + (f" g{size}" if size else "")
    return Recognized("MLX", label, shape)


def _compressed(parts: Parts, config: Mapping[str, Any]) -> Recognized | None:
    """compressed-tensors: formats that bitmill does not read, or reads with a config.json only."""
    packed, weight, scale = (
        _info(parts, name) for name in ("weight_packed", "weight", "weight_scale")
    )
    if scale is None:
        return None
    if packed is not None and packed.dtype == "I32":
        shapes = {part: info.shape for part, (_, info) in parts.items()}
        shape = pack_quantized.shape_of({}, shapes, lambda part: read_tensor(*parts[part]))
        return Recognized(METHOD, "pack-quantized", shape)
    if packed is not None:
        return _packed_floats(packed.shape, scale.shape)
    if weight is not None and weight.dtype == "I8":
        return Recognized(METHOD, "int-quantized", weight.shape)
    if weight is not None and weight.dtype.startswith("F8_"):
        kind = "mxfp8" if scale.dtype in ("U8", "F8_E8M0") else "fp8"
        return Recognized(METHOD, kind, weight.shape)
    return None


def _packed_floats(packed: tuple[int, ...], scale: tuple[int, ...]) -> Recognized | None:
    """Floats of 4 and 6 bits, with a scale for each 16 or 32 in a row."""
    if not packed or packed[:-1] != scale[:-1] or scale[-1] == 0 or packed[-1] % scale[-1]:
        return None
    kind, size = _PACKED_FLOATS.get(packed[-1] // scale[-1], (None, 0))
    if kind is None:
        return None
    return Recognized(METHOD, kind, (*packed[:-1], size * scale[-1]))


_JUDGES: tuple[Callable[[Parts, Mapping[str, Any]], Recognized | None], ...] = (
    _columns_packed,
    _bitsandbytes,
    _mlx,
    _compressed,
)
