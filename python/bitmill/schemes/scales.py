# SPDX-License-Identifier: MIT
"""Scales and offsets of groups as few bits each, with a step that a super-block of them shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import STORAGES, Array
from bitmill._results import Grid, Params, TwoLevelParams
from bitmill._sizes import word_count
from bitmill.grid import rows_of
from bitmill.schemes.base import Field


@dataclass(frozen=True)
class Scales:
    """Two-level scales, for `bm.Affine(scales=…)` and schemes of tables, with groups.

    scale = super_scale·code, and with `offset=True` offset = super_offset·code: the groups of
    `super_block` weights along a row (the last ones of a row may be fewer) share one super_scale
    and one super_offset, and hold codes of `bits` bits. With int4 and offsets, groups of 32 in
    super-blocks of 384 take 4.458 bits per weight instead of 5; of all that needs no data it is the
    best quality per bit. No runtime reads it: files are in bitmill's own format.

    Scales are found by the scheme's clip; then, for scale and offset of a group together, of the
    nearest codes and their neighbours those are taken whose squared error is least, and the codes
    of the weights are rounded for what is stored. Codes of scales are not 0, except in groups
    whose values are all equal (without an offset: all 0). With `scale_rule="signed_max"` they have
    a sign. Offsets of a super-block share a sign; those of the other sign become 0.

    Parameters
    ----------
    dtype
        What stores super_scale and super_offset: "float16", "bfloat16" or "float32".
    bits
        Of a code: 4 to 8.
    super_block
        In weights: a multiple of the group size.

    Raises ValueError for values out of range, TypeError for values of a wrong type.

    >>> import bitmill as bm
    >>> scales = bm.Scales("float16", bits=6, super_block=384)
    >>> scheme = bm.Affine(4, group_size=32, symmetric=False, offset=True, scales=scales)
    >>> for field in scheme.layout((1536, 384)):
    ...     print(*field)
    packed uint32 (1536, 48)
    scale uint8 (1536, 9)
    super_scale float16 (1536, 1)
    offset uint8 (1536, 9)
    super_offset float16 (1536, 1)
    """

    dtype: str = "float16"
    _: KW_ONLY
    bits: int = 6
    super_block: int = 256

    def __post_init__(self) -> None:
        _check.choice(self.dtype, "dtype", STORAGES)
        for name, low, high in (("bits", 4, 8), ("super_block", 1, 1 << 30)):
            value = _check.integer(getattr(self, name), name, low=low, high=high)
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """All options, as JSON can hold them."""
        return asdict(self)

    def fields(self, params: tuple[int, ...], group_size: int, *, offset: bool) -> list[Field]:
        """The arrays for groups in the shape `params`; codes fill whole bytes for every row."""
        *rows, groups = params
        codes = (*rows, _bytes(groups, self.bits))
        steps = (*rows, -(-groups // self.groups(group_size)))
        names = ("scale", "offset") if offset else ("scale",)
        return [
            field
            for name in names
            for field in (
                Field(name, "uint8", codes),
                Field(f"super_{name}", self.dtype, steps),
            )
        ]

    def store(
        self,
        x: Array,
        params: Params,
        importance: Array | None,
        grid: Grid,
        group_size: int,
        num_threads: int | None,
    ) -> dict[str, Array]:
        """The arrays for a matrix `x` [R, C] whose groups have these parameters, float32."""
        scale, zero_point, offset = params
        made = kernels.two_level_params(
            x, scale, zero_point, offset, importance,
            qmin=grid.qmin, qmax=grid.qmax, bits=self.bits, signed=grid.rule == "signed_max",
            super_groups=self.groups(group_size), scales=self.dtype, group_size=group_size,
            num_threads=num_threads,
        )  # fmt: skip
        return self.packed(made)

    def packed(self, made: TwoLevelParams) -> dict[str, Array]:
        """The arrays of `fields` for these codes and steps; ValueError for steps that overflow."""
        if made.overflowed:
            raise ValueError(
                f"x: a scale or offset of a super-block overflows {self.dtype}: "
                "use Scales('bfloat16') or scale x"
            )
        arrays = {"scale": _pack(made.scale, self.bits), "super_scale": made.super_scale}
        if made.offset is not None and made.super_offset is not None:
            arrays |= {"offset": _pack(made.offset, self.bits), "super_offset": made.super_offset}
        return arrays

    def nearest(
        self, scale: Array, offset: Array | None, group_size: int, *, signed: bool
    ) -> dict[str, Array]:
        """The arrays whose scales and offsets are nearest to these, float32 [R, groups].

        Steps are the value of a super-block that lies furthest from 0 over the largest code; what
        the step's dtype cannot hold becomes infinite.
        """
        step, each = self._steps(np.abs(scale), (1 << self.bits - signed) - 1, group_size)
        size = np.where(scale == 0, 0, np.clip(_whole(np.abs(scale) / each), 1, None))
        codes = np.copysign(size, scale).astype(np.int8 if signed else np.uint8)
        arrays = {"scale": _pack(codes, self.bits), "super_scale": step}
        if offset is not None:
            step, each = self._steps(offset, (1 << self.bits) - 1, group_size)
            codes = np.maximum(_whole(offset / each), 0).astype(np.uint8)
            arrays |= {"offset": _pack(codes, self.bits), "super_offset": step}
        return arrays

    def _steps(self, values: Array, top: int, group_size: int) -> tuple[Array, Array]:
        """Of each super-block, as it is stored, and of each group, float64 and not 0."""
        size = self.groups(group_size)
        starts = np.arange(0, values.shape[1], size)
        low, high = (f.reduceat(values, starts, axis=1) for f in (np.minimum, np.maximum))
        most = np.where(high > -low, high, low) / np.float32(top)
        with np.errstate(over="ignore"):
            step = kernels.from_float32(np.where(most == 0, np.float32(1), most), self.dtype)
        each = np.repeat(step.astype(np.float64), size, axis=1)[:, : values.shape[1]]
        return step, np.where(each == 0, 1, each)

    def read(
        self, arrays: Mapping[str, Array], params: tuple[int, ...], group_size: int, *, signed: bool
    ) -> tuple[Array, Array | None]:
        """Scales and offsets, float32 in the shape `params`: step times code, rounded once."""

        def values(name: str, *, signed: bool) -> Array:
            codes = _unpack(arrays[name], self.bits, params[-1], signed=signed)
            steps = np.repeat(arrays[f"super_{name}"], self.groups(group_size), axis=-1)
            return kernels.affine_decode(
                rows_of(codes), _float32(rows_of(steps[..., : params[-1]])), group_size=1
            ).reshape(params)

        offset = values("offset", signed=False) if "offset" in arrays else None
        return values("scale", signed=signed), offset

    def groups(self, group_size: int) -> int:
        """How many share a step."""
        return self.super_block // group_size

    def check(self, group_size: int | None) -> None:
        """Raise ValueError unless whole groups of this size make a super-block."""
        if group_size is None:
            raise ValueError(f"scales={self!r} goes with groups: group_size=32")
        if self.super_block % group_size:
            raise ValueError(
                f"super_block={self.super_block} is not a multiple of group_size={group_size}"
            )


def scales_of(given: Any) -> str | Scales:
    """What `Affine(scales=…)` was given; a mapping is what `Scales.to_dict` wrote."""
    if isinstance(given, Scales):
        return given
    if isinstance(given, Mapping):
        try:
            return Scales(**given)
        except TypeError as error:
            raise ValueError(f"scales={dict(given)} is no description of Scales: {error}") from None
    return _check.choice(given, "scales", STORAGES)


def _whole(codes: Array) -> Array:
    """Rounded to the nearest code; none is above 255, however small the step became."""
    return np.minimum(np.rint(codes), 255)


def _float32(x: Array) -> Array:
    return kernels.to_float32(np.ascontiguousarray(x))


def _bytes(codes: int, bits: int) -> int:
    return (codes * bits + 7) // 8


def _pack(codes: Array, bits: int) -> Array:
    """The bit stream of each row, up to its last byte."""
    words = kernels.pack(codes, bits)
    return np.ascontiguousarray(words.view(np.uint8)[:, : _bytes(codes.shape[1], bits)])


def _unpack(packed: Array, bits: int, length: int, *, signed: bool) -> Array:
    rows = rows_of(packed)
    padded = np.zeros((len(rows), 4 * word_count(length, bits)), np.uint8)
    padded[:, : rows.shape[1]] = rows
    codes = kernels.unpack(padded.view(np.uint32), bits, length, signed=signed)
    return codes.reshape(*packed.shape[:-1], length)
