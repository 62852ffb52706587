# SPDX-License-Identifier: MIT
"""`int-quantized` of compressed-tensors: one int8 for each code, of up to 8 bits.

A module `M` with a weight [R, C] and G scales per row becomes
    M.weight             I8 [R, C]   q; asymmetric codes u as u − 2^(b−1)
    M.weight_scale          [R, G]   float32, float16 or bfloat16; [1] for one scale per tensor
    M.weight_zero_point  I8          asymmetric only; zero-points in the shape of the scales, as q
Layout as compressed-tensors 0.20 writes and reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bitmill._dtypes import Array
from bitmill.formats import affine
from bitmill.formats.base import held
from bitmill.layouts import pack
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine, Field, Scheme, total

scheme_of = affine.scheme_of


def why_not(scheme: object, shape: tuple[int, ...]) -> str | None:
    """Why the format cannot hold a weight of this shape under this scheme; None if it can.

    >>> why_not(Affine(8, axis=1), (64, 64))
    'the format holds one scale per tensor, row or group of a row only'
    """
    return affine.why_not(scheme, shape, ranks=(2,), strategies=("tensor", "channel", "group"))


def tensors(scheme: Scheme, shape: tuple[int, ...]) -> list[Field]:
    """Name (behind `M.`), dtype and shape of every tensor that stands for a module's weight.

    >>> for tensor in tensors(Affine(8, scales="bfloat16"), (512, 384)):
    ...     print(*tensor)
    weight int8 (512, 384)
    weight_scale bfloat16 (512, 1)
    """
    known = affine.checked(scheme, shape, why_not)
    made = [Field("weight", "int8", shape), _scale(known, shape)]
    if not known.symmetric:
        made.append(Field("weight_zero_point", "int8", made[1].shape))
    return made


def nbytes(scheme: Scheme, shape: tuple[int, ...]) -> int:
    """Bytes of tensor data that the format takes for a weight of this shape.

    >>> nbytes(Affine(8, scales="bfloat16"), (512, 384))
    197632
    """
    return total(tensors(scheme, shape))


def row_step(scheme: Scheme) -> int:
    """1: no array packs several rows together."""
    return 1


def encode(q: QTensor, shape: tuple[int, ...] | None = None) -> dict[str, Array]:
    """The arrays that `tensors` lists, for one quantized weight or a piece of one."""
    scheme = affine.checked(q.scheme, q.shape, why_not)
    shape = _scale(scheme, q.shape).shape
    arrays = {
        "weight": _signed(q.codes, scheme.bits),
        "weight_scale": q.arrays["scale"].reshape(shape),
    }
    if q.zero_point is not None:
        arrays["weight_zero_point"] = _signed(q.zero_point, scheme.bits).reshape(shape)
    return arrays


def decode(
    arrays: Mapping[str, Array], described: Mapping[str, Any], *, dtype_name: str | None = None
) -> QTensor:
    """The inverse of `encode`: arrays by name, and `weights` of the module's configuration group.

    `dtype_name` is the dtype that the weight had, by default that of its scales. Raises ValueError
    naming the array that is missing or does not fit.
    """
    scale, stored = held(arrays, "weight_scale"), held(arrays, "weight")
    scheme = scheme_of(described, {"weight_scale": scale.dtype.name})
    affine.check_arrays(arrays, tensors(scheme, stored.shape), stored.shape)
    codes = _codes(stored, scheme, "weight")
    params = affine.scale(scheme, stored.shape).shape
    fields = {"scale": scale.reshape(params)}
    if scheme.packed_bits is None:
        fields["codes"] = codes
    else:
        fields["packed"] = pack(codes, scheme.bits)
    if not scheme.symmetric:
        points = _codes(arrays["weight_zero_point"], scheme, "weight_zero_point")
        fields["zero_point"] = points.reshape(params)
    return QTensor(scheme, stored.shape, dtype_name or scale.dtype.name, fields)


def fields(described: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of what may stand for a weight."""
    return ("weight", "weight_scale", "weight_zero_point")


def shape_of(
    described: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], Array],
) -> tuple[int, ...] | None:
    """The shape, which is that of the codes."""
    return shapes.get("weight")


def _scale(scheme: Affine, shape: tuple[int, ...]) -> Field:
    """The scales as the file has them."""
    found = affine.scale(scheme, shape)
    return Field("weight_scale", found.dtype, (1,) if scheme.axis is None else found.shape)


def _signed(codes: Array, bits: int) -> Array:
    """Codes as the file has them: signed ones as they are, unsigned ones less 2^(b−1)."""
    if codes.dtype == np.int8:
        return codes
    return (codes - np.uint8(1 << (bits - 1))).view(np.int8)  # wraps around, as it should


def _codes(stored: Array, scheme: Affine, name: str) -> Array:
    """The inverse of `_signed`; ValueError for a code that the scheme does not have."""
    half = 1 << (scheme.bits - 1)
    if stored.size and not -half <= stored.min() <= stored.max() < half:
        raise ValueError(f"{name} holds codes outside {-half} to {half - 1}")
    return stored if scheme.symmetric else stored.view(np.uint8) + np.uint8(half)
