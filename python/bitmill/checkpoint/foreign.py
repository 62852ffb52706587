# SPDX-License-Identifier: MIT
"""Weights that others quantized: told by the names, dtypes and shapes of their tensors.

`config` below is what config.json says about quantization, {} where it is silent: tensors tell most
of it, so that a lone file is recognized too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.read import read_tensor

Parts = Mapping[str, Any]
"""A module's tensors by the last part of their names: (path, TensorInfo)."""


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
    """GPTQ and AWQ: both have `qweight` and `scales`, packed along other axes."""
    words, scales = _info(parts, "qweight"), _info(parts, "scales")
    if words is None or scales is None or len(words.shape) != 2 or len(scales.shape) != 2:
        return None
    groups, rows = scales.shape
    along_output = rows != words.shape[1]
    columns, bits = words.shape[0], config.get("bits", config.get("w_bit", 4))
    if along_output:
        bits = 32 * words.shape[1] // rows if rows else bits
    else:
        order = _info(parts, "g_idx")
        columns = order.shape[0] if order is not None else 32 * words.shape[0] // bits
    size = columns // groups if groups else columns
    return Recognized("AWQ" if along_output else "GPTQ", f"int{bits} g{size}", (rows, columns))


def _bitsandbytes(parts: Parts, config: Mapping[str, Any]) -> Recognized | None:
    codes = _info(parts, "weight")
    for name in parts:
        if name.startswith("quant_state.bitsandbytes__"):
            kind = name.rpartition("__")[2]
            state = _json(parts[name])
            shape = state.get("shape")
            nested = " nested" if "nested_absmax" in parts else ""
            return Recognized(
                "bitsandbytes",
                f"{kind} b{state.get('blocksize', '?')}{nested}",
                tuple(shape) if isinstance(shape, list) else None,
            )
    if codes is not None and "SCB" in parts:
        return Recognized("bitsandbytes", "int8 row", codes.shape)
    return None


def _json(place: Any) -> dict[str, Any]:
    """The object that is stored as the bytes of a tensor; {} if there is none."""
    path, info = place
    if info.nbytes > 1 << 16:
        return {}
    try:
        said = json.loads(read_tensor(path, info).tobytes())
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _mlx(parts: Parts, config: Mapping[str, Any]) -> Recognized | None:
    words, scales = _info(parts, "weight"), _info(parts, "scales")
    if words is None or scales is None or words.dtype != "U32" or len(words.shape) < 2:
        return None
    mode = config.get("mode", "affine" if "biases" in parts else "mx")
    size, bits = config.get("group_size"), config.get("bits")
    shape = None
    if isinstance(bits, int) and bits > 0:
        shape = (*words.shape[:-1], words.shape[-1] * 32 // bits)
    label = f"{mode} {bits or '?'} bits" + (f" g{size}" if size else "")
    return Recognized("MLX", label, shape)


def _compressed_floats(parts: Parts, config: Mapping[str, Any]) -> Recognized | None:
    """The formats of compressed-tensors that bitmill does not read."""
    packed, weight, scale = (
        _info(parts, name) for name in ("weight_packed", "weight", "weight_scale")
    )
    if scale is None:
        return None
    if packed is not None:
        if packed.dtype == "I32":
            return Recognized("compressed-tensors", "pack-quantized", None)
        shape = (*packed.shape[:-1], 2 * packed.shape[-1])
        kind = "nvfp4" if "weight_global_scale" in parts else "mxfp4"
        return Recognized("compressed-tensors", kind, shape)
    if weight is None:
        return None
    if weight.dtype == "I8":
        return Recognized("compressed-tensors", "int-quantized", weight.shape)
    kind = "mxfp8" if scale.dtype in ("U8", "F8_E8M0") else "fp8"
    return Recognized("compressed-tensors", kind, weight.shape)


_JUDGES: tuple[Callable[[Parts, Mapping[str, Any]], Recognized | None], ...] = (
    _columns_packed,
    _bitsandbytes,
    _mlx,
    _compressed_floats,
)
