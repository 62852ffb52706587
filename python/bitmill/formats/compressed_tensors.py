# SPDX-License-Identifier: MIT
"""The `pack-quantized` format of compressed-tensors, which vLLM, SGLang and Transformers load.

A module `M` with a weight [R, C] and G scales per row becomes
    M.weight_packed      I32 [R, ceil(C·b/32)]   a row's codes as one bit stream, u = q + 2^(b−1)
    M.weight_scale           [R, G]              float32, float16 or bfloat16
    M.weight_shape       I64 [2]                 R, C
    M.weight_zero_point  I32 [ceil(R·b/32), G]   asymmetric only; streams along the rows, as u
The streams are those of `bitmill.pack`; bitmill's unsigned codes and zero-points are the u's.
Layout and configuration as compressed-tensors 0.20 writes and reads them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from bitmill._dtypes import Array, dtype
from bitmill._sizes import word_count
from bitmill.formats import Weight, total
from bitmill.layouts import pack, unpack
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine, Field, Scheme

NAME = "pack-quantized"


def why_not(scheme: object, shape: tuple[int, ...]) -> str | None:
    """Why the format cannot hold a weight of this shape under this scheme; None if it can.

    >>> why_not(Affine(4, group_size=128), (512, 300))
    'rows of 300 weights are not a whole number of groups of 128 (choose another size, or none)'
    >>> why_not(Affine(4, group_size=128), (512, 384))
    """
    if not isinstance(scheme, Affine):
        return f"the format holds affine codes only, no {type(scheme).__name__}"
    if scheme.bits > 8:
        return f"the format holds 2 to 8 bits, not {scheme.bits}"
    if scheme.offset:
        return "the format holds integer zero-points only, no real offsets"
    if len(shape) != 2:
        return f"the format holds 2-D weights only, not {len(shape)}-D"
    if 0 in shape:
        return "there are no weights in it"
    if scheme.group_size is None and _scale(scheme, shape).shape != (shape[0], 1):
        return "the format holds one scale per row or group of a row only"
    if scheme.group_size is not None and shape[1] % scheme.group_size:
        return (
            f"rows of {shape[1]} weights are not a whole number of groups of {scheme.group_size} "
            "(choose another size, or none)"
        )
    return None


def tensors(scheme: Scheme, shape: tuple[int, ...]) -> list[Field]:
    """Name (behind `M.`), dtype and shape of every tensor that stands for a module's weight.

    >>> for tensor in tensors(Affine(4, group_size=128, scales="bfloat16"), (512, 384)):
    ...     print(*tensor)
    weight_packed int32 (512, 48)
    weight_scale bfloat16 (512, 3)
    weight_shape int64 (2,)
    """
    scheme = _affine(scheme, shape)
    rows, columns = shape
    scale = _scale(scheme, shape)
    made = [
        Field("weight_packed", "int32", (rows, word_count(columns, scheme.bits))),
        Field("weight_scale", scale.dtype, scale.shape),
        Field("weight_shape", "int64", (2,)),
    ]
    if not scheme.symmetric:
        words = word_count(rows, scheme.bits)
        made.append(Field("weight_zero_point", "int32", (words, scale.shape[1])))
    return made


def nbytes(scheme: Scheme, shape: tuple[int, ...]) -> int:
    """Bytes of tensor data that the format takes for a weight of this shape.

    >>> nbytes(Affine(4, group_size=128, scales="bfloat16"), (512, 384))
    101392
    """
    return total(tensors(scheme, shape))


def encode(q: QTensor) -> dict[str, Array]:
    """The arrays that `tensors` lists, for one quantized weight."""
    bits = _affine(q.scheme, q.shape).bits
    words = q.packed if bits < 8 else pack(q.codes, bits)
    arrays = {
        "weight_packed": words.view(np.int32),
        "weight_scale": q.scale,
        "weight_shape": np.array(q.shape, np.int64),
    }
    if q.zero_point is not None:
        streams = pack(q.zero_point.T, bits)
        arrays["weight_zero_point"] = np.ascontiguousarray(streams.T).view(np.int32)
    return arrays


def decode(
    arrays: Mapping[str, Array], described: Mapping[str, Any], *, dtype_name: str | None = None
) -> QTensor:
    """The inverse of `encode`: arrays by name, and `weights` of the module's configuration group.

    `dtype_name` is the dtype that the weight had, by default that of its scales. How the ranges
    were chosen is not stored; the scheme returned names the defaults. Raises ValueError naming the
    array that is missing or does not fit.
    """
    scale = _array(arrays, "weight_scale")
    scheme = Affine(  # what is not said has the defaults of compressed-tensors
        described.get("num_bits", 8),
        symmetric=described.get("symmetric", True),
        group_size=described.get("group_size") if described.get("strategy") == "group" else None,
        scales=scale.dtype.name,
    )
    rows, columns = _shape(_array(arrays, "weight_shape"))
    for name, kind, shape in tensors(scheme, (rows, columns)):
        found = _array(arrays, name)
        if found.dtype != dtype(kind) or found.shape != shape:
            raise ValueError(
                f"{name} is {found.dtype} {found.shape}; a {rows}x{columns} weight takes "
                f"{kind} {shape}"
            )
    words, bits = arrays["weight_packed"].view(np.uint32), scheme.bits
    if bits < 8:
        fields = {"packed": words, "scale": scale}
    else:
        codes = unpack(words, bits, columns, signed=scheme.symmetric)
        fields = {"codes": codes, "scale": scale}
    if not scheme.symmetric:
        streams = arrays["weight_zero_point"].view(np.uint32).T
        fields["zero_point"] = np.ascontiguousarray(unpack(streams, bits, rows, signed=False).T)
    return QTensor(scheme, (rows, columns), dtype_name or scale.dtype.name, fields)


def config(
    weights: Mapping[str, Weight], *, linear: Collection[str] = (), ignore: Sequence[str] = ()
) -> dict[str, Any]:
    """The `quantization_config` for these modules; `ignore` are the others' names.

    `linear` names the modules that loaders are sure to see as class `Linear`. One scheme targets
    that class. Several target exact names: vLLM takes a fused q/k/v for a `Linear` before it looks
    at the names of its parts.
    """
    groups: dict[str, list[str]] = {}
    for module, (scheme, shape, _) in weights.items():
        groups.setdefault(json.dumps(_weights(_affine(scheme, shape))), []).append(module)
    if len(groups) == 1:
        (key,) = groups
        groups[key] = ["Linear", *(module for module in weights if module not in linear)]
    if not any(name.rpartition(".")[2] == "lm_head" for name in (*weights, *ignore)):
        ignore = [*ignore, "lm_head"]  # tied to the embedding: a module without a tensor
    return {
        "quant_method": "compressed-tensors",
        "format": NAME,
        "quantization_status": "compressed",  # without it loaders leave the weights random
        "config_groups": {
            f"group_{i}": {"targets": targets, "format": NAME, "weights": json.loads(said)}
            for i, (said, targets) in enumerate(groups.items())
        },
        "ignore": list(ignore),
    }


def notes(scheme: Scheme) -> list[str]:
    """What to know about the runtimes before such weights are handed to them; mostly nothing.

    >>> notes(Affine(4, group_size=128))
    []
    """
    found: list[str] = []
    if not isinstance(scheme, Affine):
        return found
    if not scheme.symmetric:
        found.append(
            "Transformers with compressed-tensors 0.18 to 0.20 loads asymmetric weights only with "
            "dequantize=True"
        )
    if scheme.bits in (3, 5, 6, 7):
        found.append(f"{scheme.bits}-bit weights need compressed-tensors 0.18 or newer")
    if scheme.scale_rule == "signed_max":
        found.append("scale rule signed_max gives negative scales, which runtimes may not expect")
    return found


def _affine(scheme: object, shape: tuple[int, ...]) -> Affine:
    """`scheme`, if the format can hold a weight of this shape under it."""
    reason = why_not(scheme, shape)
    if reason is not None or not isinstance(scheme, Affine):
        raise ValueError(f"compressed-tensors cannot hold this {shape} weight: {reason}")
    return scheme


def _scale(scheme: Affine, shape: tuple[int, ...]) -> Field:
    """Dtype and shape of the scales."""
    return next(field for field in scheme.layout(shape) if field.name == "scale")


def _weights(scheme: Affine) -> dict[str, Any]:
    """The `weights` of a configuration group."""
    said = {"num_bits": scheme.bits, "type": "int", "symmetric": scheme.symmetric}
    if scheme.group_size is None:
        return {**said, "strategy": "channel"}
    return {**said, "strategy": "group", "group_size": scheme.group_size}


def _shape(array: Array) -> tuple[int, int]:
    if array.shape != (2,) or array.dtype.kind not in "iu":
        raise ValueError(f"weight_shape is {array.dtype} {array.shape}; wanted two integers")
    return int(array[0]), int(array[1])


def _array(arrays: Mapping[str, Array], name: str) -> Array:
    if name not in arrays:
        raise ValueError(f"{name} is missing; found {', '.join(arrays) or 'nothing'}")
    return arrays[name]
