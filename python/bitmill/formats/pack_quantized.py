# SPDX-License-Identifier: MIT
"""`pack-quantized` of compressed-tensors: integer codes as a bit stream in 32-bit words.

A module `M` with a weight [R, C] and G scales per row becomes
    M.weight_packed      I32 [R, ceil(C·b/32)]   a row's codes as one bit stream, u = q + 2^(b−1)
    M.weight_scale           [R, G]              float32, float16 or bfloat16
    M.weight_shape       I64 [2]                 R, C
    M.weight_zero_point  I32 [ceil(R·b/32), G]   asymmetric only; streams along the rows, as u
The streams are those of `bitmill.pack`; bitmill's unsigned codes and zero-points are the u's. A
stack of experts [E, R, C] has the axis E in front of all but the shape, which has three entries.
Layout as compressed-tensors 0.20 writes and reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bitmill._dtypes import Array
from bitmill._sizes import word_count
from bitmill.formats import affine
from bitmill.formats.base import held
from bitmill.layouts import pack, unpack
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine, Field, Scheme, total

scheme_of = affine.scheme_of


def why_not(scheme: object, shape: tuple[int, ...]) -> str | None:
    """Why the format cannot hold a weight of this shape under this scheme; None if it can.

    >>> from bitmill import Affine
    >>> why_not(Affine(4, group_size=128), (512, 300))
    'rows of 300 weights are not a whole number of groups of 128 (choose another size, or none)'
    >>> why_not(Affine(4, group_size=128), (512, 384))
    """
    return affine.why_not(scheme, shape, ranks=(2, 3), strategies=("channel", "group"))


def tensors(scheme: Scheme, shape: tuple[int, ...]) -> list[Field]:
    """Name (behind `M.`), dtype and shape of every tensor that stands for a module's weight.

    >>> from bitmill import Affine
    >>> for tensor in tensors(Affine(4, group_size=128, scales="bfloat16"), (512, 384)):
    ...     print(*tensor)
    weight_packed int32 (512, 48)
    weight_scale bfloat16 (512, 3)
    weight_shape int64 (2,)
    """
    known = affine.checked(scheme, shape, why_not)
    *experts, rows, columns = shape
    scale = affine.scale(known, shape)
    made = [
        Field("weight_packed", "int32", (*shape[:-1], word_count(columns, known.bits))),
        Field("weight_scale", scale.dtype, scale.shape),
        Field("weight_shape", "int64", (len(shape),)),
    ]
    if not known.symmetric:
        words = word_count(rows, known.bits)
        made.append(Field("weight_zero_point", "int32", (*experts, words, scale.shape[-1])))
    return made


def nbytes(scheme: Scheme, shape: tuple[int, ...]) -> int:
    """Bytes of tensor data that the format takes for a weight of this shape.

    >>> from bitmill import Affine
    >>> nbytes(Affine(4, group_size=128, scales="bfloat16"), (512, 384))
    101392
    """
    return total(tensors(scheme, shape))


def row_step(scheme: Scheme) -> int:
    """The rows whose zero-points fill whole words.

    >>> from bitmill import Affine
    >>> [row_step(Affine(bits, symmetric=False)) for bits in (8, 4, 3)], row_step(Affine(3))
    ([4, 8, 32], 1)
    """
    assert isinstance(scheme, Affine)  # as `why_not` asks for
    return 1 if scheme.symmetric else 32 // math.gcd(32, scheme.bits)


def encode(q: QTensor, shape: tuple[int, ...] | None = None) -> dict[str, Array]:
    """The arrays that `tensors` lists, for one quantized weight or a piece of one of this shape."""
    bits = affine.checked(q.scheme, q.shape, why_not).bits
    words = q.packed if bits < 8 else pack(q.codes, bits)
    arrays = {
        "weight_packed": words.view(np.int32),
        "weight_scale": q.arrays["scale"],
        "weight_shape": np.array(shape or q.shape, np.int64),
    }
    if q.zero_point is not None:
        streams = pack(q.zero_point.swapaxes(-1, -2), bits).swapaxes(-1, -2)
        arrays["weight_zero_point"] = np.ascontiguousarray(streams).view(np.int32)
    return arrays


def decode(
    arrays: Mapping[str, Array], described: Mapping[str, Any], *, dtype_name: str | None = None
) -> QTensor:
    """The inverse of `encode`: arrays by name, and `weights` of the module's configuration group.

    `dtype_name` is the dtype that the weight had, by default that of its scales. How the ranges
    were chosen is not stored; the scheme returned names the defaults. Raises ValueError naming the
    array that is missing or does not fit.
    """
    scale = held(arrays, "weight_scale")
    scheme = scheme_of(described, {"weight_scale": scale.dtype.name})
    shape = _shape(held(arrays, "weight_shape"))
    affine.check_arrays(arrays, tensors(scheme, shape), shape)
    words, bits = arrays["weight_packed"].view(np.uint32), scheme.bits
    if bits < 8:
        fields = {"packed": words, "scale": scale}
    else:
        codes = unpack(words, bits, shape[-1], signed=scheme.symmetric)
        fields = {"codes": codes, "scale": scale}
    if not scheme.symmetric:
        streams = arrays["weight_zero_point"].view(np.uint32).swapaxes(-1, -2)
        points = unpack(streams, bits, shape[-2], signed=False).swapaxes(-1, -2)
        fields["zero_point"] = np.ascontiguousarray(points)
    return QTensor(scheme, shape, dtype_name or scale.dtype.name, fields)


def fields(described: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of what may stand for a weight."""
    return ("weight_packed", "weight_scale", "weight_shape", "weight_zero_point")


def shape_of(
    described: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], Array],
) -> tuple[int, ...] | None:
    """The shape, which is a field."""
    if shapes.get("weight_shape") not in ((2,), (3,)):
        return None
    array = read("weight_shape")
    return _shape(array) if array.dtype.kind in "iu" else None


def _shape(array: Array) -> tuple[int, ...]:
    if array.shape not in ((2,), (3,)) or array.dtype.kind not in "iu":
        raise ValueError(
            f"weight_shape is {array.dtype} {array.shape}; wanted two integers, or three"
        )
    return tuple(map(int, array))
