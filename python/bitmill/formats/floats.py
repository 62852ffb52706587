# SPDX-License-Identifier: MIT
"""The float formats of compressed-tensors: FP8, microscaling formats, NVFP4.

A module `M` with a weight [R, C], in groups that G of make a row, becomes
    M.weight               F8_E4M3 [R, C]         elements of 8 bits
    M.weight_packed        U8 [R, C·b/8]          of 4 and 6 bits, as one bit stream a row
    M.weight_scale         [R, G], or [1] for one scale per tensor: float32, float16 or bfloat16
                           (float-quantized), U8 (mxfp: 2^(byte − 127)), F8_E4M3 (nvfp4)
    M.weight_global_scale  F32 [1]                nvfp4 only: scales are divided by it
Layout as compressed-tensors 0.20 writes and reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitmill._dtypes import STORAGES, Array, dtype
from bitmill.formats import affine
from bitmill.formats.base import held
from bitmill.formats.layer import FLOAT_FORMATS
from bitmill.qtensor import QTensor
from bitmill.schemes import Field, Float, Scheme, total

_NAMES = {
    "codes": "weight",
    "packed": "weight_packed",
    "scale": "weight_scale",
    "global_scale": "weight_global_scale",
}
"""What a file calls the arrays of a scheme."""

_SCALE_DTYPES = {"mxfp": "torch.uint8", "nvfp": "torch.float8_e4m3fn"}


@dataclass(frozen=True)
class FloatFormat:
    """A format for weights of one kind."""

    kind: str

    def why_not(self, scheme: object, shape: tuple[int, ...]) -> str | None:
        """Why the format cannot hold a weight of this shape under this scheme; None if it can.

        >>> FloatFormat("mxfp4").why_not(Float("mxfp4"), (512, 300))
        'rows of 300 weights are not a whole number of groups of 32'
        """
        if not isinstance(scheme, Float):
            return f"the format holds {self.kind} only, no {type(scheme).__name__}"
        if scheme.kind != self.kind:
            return f"the format holds {self.kind} only, not {scheme.kind}"
        return affine.why_not_shape(shape, (2,)) or affine.why_no_groups(shape, scheme.group_size)

    def tensors(self, scheme: Scheme, shape: tuple[int, ...]) -> list[Field]:
        """Name (behind `M.`), dtype and shape of every tensor that stands for a module's weight.

        >>> for tensor in FloatFormat("nvfp4").tensors(Float("nvfp4"), (512, 384)):
        ...     print(*tensor)
        weight_packed uint8 (512, 192)
        weight_scale float8_e4m3fn (512, 24)
        weight_global_scale float32 (1,)
        """
        known = self._checked(scheme, shape)
        return [_stored(known, field) for field in known.layout(shape)]

    def nbytes(self, scheme: Scheme, shape: tuple[int, ...]) -> int:
        """Bytes of tensor data that the format takes for a weight of this shape."""
        return total(self.tensors(scheme, shape))

    def row_step(self, scheme: Scheme) -> int:
        """1: no array packs several rows together."""
        return 1

    def encode(self, q: QTensor, shape: tuple[int, ...] | None = None) -> dict[str, Array]:
        """The arrays that `tensors` lists, for one quantized weight or a piece of one."""
        stored = {_NAMES[name]: array for name, array in q.arrays.items()}
        return {
            name: stored[name].view(dtype(kind)).reshape(of)
            for name, kind, of in self.tensors(q.scheme, q.shape)
        }

    def decode(
        self,
        arrays: Mapping[str, Array],
        described: Mapping[str, Any],
        *,
        dtype_name: str | None = None,
    ) -> QTensor:
        """The inverse of `encode`: arrays by name, and `weights` of the configuration group.

        `dtype_name` is the dtype that the weight had, by default that of its scales, or bfloat16
        where these are bytes. How mxfp scales were chosen is not stored; the scheme returned has
        the default. Raises ValueError naming the array that is missing or does not fit.
        """
        scale = held(arrays, "weight_scale")
        scheme = self.scheme_of(described, {"weight_scale": scale.dtype.name})
        codes = _NAMES["codes" if scheme.bits == 8 else "packed"]
        shapes = {codes: held(arrays, codes).shape}
        shape = self.shape_of(described, shapes, lambda name: arrays[name])
        if shape is None:
            raise ValueError(f"{codes} has shape {shapes[codes]}; wanted a matrix")
        affine.check_arrays(arrays, self.tensors(scheme, shape), shape)
        fields = {
            name: np.ascontiguousarray(arrays[_NAMES[name]]).view(dtype(kind)).reshape(of)
            for name, kind, of in scheme.layout(shape)
        }
        known = scale.dtype.name if scale.dtype.name in STORAGES else "bfloat16"
        return QTensor(scheme, shape, dtype_name or known, fields)

    def fields(self, described: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of what may stand for a weight."""
        return tuple(_NAMES.values())

    def scheme_of(self, described: Mapping[str, Any], dtypes: Mapping[str, str | None]) -> Float:
        """The scheme, by its description and the dtype of the scales."""
        scales = dtypes.get("weight_scale")
        if scales is None:
            raise ValueError("weight_scale is missing, or of a dtype that NumPy lacks")
        found = Float(self.kind)
        if found.group_size is None:
            found = _fp8_of(self.kind, described, scales)
        wanted, said = arguments(found, (1, 1)), dict(described)
        for key in ("num_bits", "type", "group_size"):
            if wanted.get(key) != said.get(key, wanted.get(key)):
                raise ValueError(f"its {key} is {said[key]!r}; {self.kind} has {wanted.get(key)!r}")
        return found

    def shape_of(
        self,
        described: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
        read: Callable[[str], Array],
    ) -> tuple[int, ...] | None:
        """The shape, by that of the codes."""
        bits = Float(self.kind).bits
        found = shapes.get(_NAMES["codes" if bits == 8 else "packed"])
        return None if found is None or len(found) != 2 else (found[0], found[1] * 8 // bits)

    def _checked(self, scheme: Scheme, shape: tuple[int, ...]) -> Float:
        reason = self.why_not(scheme, shape)
        if reason is not None or not isinstance(scheme, Float):
            raise ValueError(f"compressed-tensors cannot hold this {shape} weight: {reason}")
        return scheme


FORMATS = {name: FloatFormat(kind) for kind, name in FLOAT_FORMATS.items()}
"""By their names in compressed-tensors."""


def arguments(scheme: Float, shape: tuple[int, ...]) -> dict[str, Any]:
    """The `weights` of a configuration group; `scheme_of` reads them back.

    >>> arguments(Float("nvfp4"), (512, 384))["strategy"]
    'tensor_group'
    """
    said: dict[str, Any] = {"num_bits": scheme.bits, "type": "float", "symmetric": True}
    said["strategy"] = "tensor_group" if scheme.kind == "nvfp4" else affine.strategy(scheme, shape)
    if scheme.group_size is not None:
        said["group_size"] = scheme.group_size
    if scheme.kind[:4] in _SCALE_DTYPES:
        said["scale_dtype"] = _SCALE_DTYPES[scheme.kind[:4]]
    return said


def label(described: Mapping[str, Any]) -> str | None:
    """The format of weights that are described so, where none is named; None if they are no floats.

    >>> label({"type": "float", "num_bits": 4, "group_size": 32})
    'mxfp4-pack-quantized'
    """
    if described.get("type") != "float":
        return None
    bits = int(described.get("num_bits", 8))
    of_bytes = described.get("scale_dtype") == _SCALE_DTYPES["mxfp"]
    if bits == 4 and described.get("group_size") == 16:
        return FLOAT_FORMATS["nvfp4"]
    kinds = {4: "mxfp4", 6: "mxfp6_e2m3", 8: "mxfp8_e4m3" if of_bytes else "fp8_e4m3"}
    return FLOAT_FORMATS.get(kinds.get(bits, ""))


def _fp8_of(kind: str, described: Mapping[str, Any], scales: str) -> Float:
    granularity = described.get("strategy", "tensor")
    if granularity not in ("tensor", "channel", "group"):
        raise ValueError(
            f"its weights are of strategy {granularity!r}; bitmill reads tensor, channel, group"
        )
    return Float(
        kind,
        axis=None if granularity == "tensor" else "row",
        group_size=described.get("group_size") if granularity == "group" else None,
        scales=scales,
    )


def _stored(scheme: Float, field: Field) -> Field:
    """An array of the scheme as a file has it."""
    name, kind, shape = field
    if name == "codes":
        kind = scheme.format
    elif name == "packed":
        kind, shape = "uint8", (*shape[:-1], 4 * shape[-1])
    elif name == "scale" and scheme.kind == "nvfp4":
        kind = "float8_e4m3fn"
    elif name == "scale" and scheme.axis is None:
        shape = (1,)
    return Field(_NAMES[name], kind, shape)
