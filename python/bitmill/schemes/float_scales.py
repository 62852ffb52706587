# SPDX-License-Identifier: MIT
"""How float schemes choose and store their scales: as floats, powers of two, or two levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array
from bitmill._minifloats import MINIFLOATS, Minifloat
from bitmill._results import Grid
from bitmill.schemes.base import Field
from bitmill.schemes.counts import are_usual

E4M3 = "float8_e4m3fn"
_ONE = np.ones((1, 1), np.float32)
_MAX = np.finfo(np.float32).max

RULES = ("compressed-tensors", "floor")
"""How the absmax of a group becomes a power of two."""


class Made(NamedTuple):
    """The arrays of the scales, by name, and of how many groups they overflow or were raised."""

    arrays: dict[str, Array]
    overflowed: int
    underflowed: int


class FloatScales(Protocol):
    """A way to store scales. The absmax of groups comes in their shape, float32."""

    def fields(self, params: tuple[int, ...]) -> list[Field]:
        """The arrays for groups in the shape `params`."""

    def make(self, absmax: Array, whole: Array | None) -> Made:
        """Scales of groups, and, if it `is_shared`, of a tensor whose absmax is `whole`, [1]."""

    def read(self, arrays: Mapping[str, Array]) -> Array:
        """Real units per code."""

    def are_plain(self, arrays: Mapping[str, Array]) -> bool:
        """Whether scales that `make` has made tell that no group is zero, and no value clipped."""


@dataclass(frozen=True)
class Stored:
    """absmax / max as a float32, float16 or bfloat16."""

    element: Minifloat
    dtype: str

    @property
    def grid(self) -> Grid:
        """What makes the same scales."""
        return Grid(-1, int(self.element.max), "absmax", self.dtype)

    def fields(self, params: tuple[int, ...]) -> list[Field]:
        """`scale`."""
        return [Field("scale", self.dtype, params)]

    def make(self, absmax: Array, whole: Array | None) -> Made:
        """The rule of integers, with the largest value for the largest code."""
        hi = absmax.reshape(1, -1)
        made = kernels.affine_params(-hi, hi, **self.grid._asdict())
        arrays = {"scale": made.scale.reshape(absmax.shape)}
        return Made(arrays, made.overflowed, made.underflowed)

    def read(self, arrays: Mapping[str, Array]) -> Array:
        """As they are."""
        return arrays["scale"]

    def are_plain(self, arrays: Mapping[str, Array]) -> bool:
        """A scale that its dtype holds to 2^-9 divides no value to where it would be cut."""
        return are_usual(arrays["scale"])


@dataclass(frozen=True)
class PowersOfTwo:
    """2^(byte − 127): E8M0, of which 255 is NaN.

    The exponent of absmax, less that of the largest value. "floor" is the rule of the OCP's
    specification; "compressed-tensors" rounds the mantissa first, half up, to the bits that those
    of the largest value fill: so no value is cut that is not nearest to the largest one, except
    where the next power of two would make that one overflow float32.
    """

    element: Minifloat
    rule: str

    def fields(self, params: tuple[int, ...]) -> list[Field]:
        """`scale`."""
        return [Field("scale", "uint8", params)]

    def make(self, absmax: Array, whole: Array | None) -> Made:
        """By the bits of absmax, which logarithms round wrong next to powers of two."""
        bits = absmax.view(np.int32)
        if self.rule != "floor":
            bits = bits + (1 << 22 - self._rounded_bits)
        exponent = (bits >> 23) - self.element.emax
        underflowed = (exponent < 0) & (absmax.view(np.int32) != 0)
        scale = np.clip(exponent, 0, self._most).astype(np.uint8)
        return Made({"scale": scale}, 0, int(np.count_nonzero(underflowed)))

    @property
    def _most(self) -> int:
        """The byte of the largest scale whose product with the largest value is a float32."""
        return 254 - self.element.emax

    @property
    def _rounded_bits(self) -> int:
        """1.75·2^8 is the largest E4M3, since 1.875·2^8 is NaN; 1.5·2^2, all bits set, E2M1."""
        return 1 if self.element == MINIFLOATS[E4M3] else self.element.mantissa_bits

    def read(self, arrays: Mapping[str, Array]) -> Array:
        """float32; 2^-127 is a subnormal one."""
        byte = arrays["scale"].astype(np.int32)
        bits = np.where(byte == 0, 1 << 22, byte << 23)
        bits[byte == 255] = 0x7FC00000
        return bits.view(np.float32)

    def are_plain(self, arrays: Mapping[str, Array]) -> bool:
        """Zeros have the byte 0; and beyond the largest scale there was none to take."""
        byte = arrays["scale"]
        return self.rule != "floor" and bool(byte.all() and (byte < self._most).all())


@dataclass(frozen=True)
class TwoLevel:
    """E4M3 codes of scales, and one factor for the tensor that they are divided by.

    global_scale = 448·6 / absmax of the tensor; code = E4M3(global_scale·absmax / 6) of the group,
    and that of 0.125 where this is zero; every step is rounded to float32.
    """

    element: Minifloat
    ZERO = 0x20  # 0.125

    def fields(self, params: tuple[int, ...]) -> list[Field]:
        """`scale` and `global_scale`."""
        return [Field("scale", "uint8", params), Field("global_scale", "float32", (1,))]

    def make(self, absmax: Array, whole: Array | None) -> Made:
        """A tensor of zeros has the global scale 1; no one is larger than float32's largest."""
        assert whole is not None
        top = np.float32(MINIFLOATS[E4M3].max * self.element.max)
        with np.errstate(over="ignore", divide="ignore"):
            factor = np.where(whole == 0, np.float32(1), np.minimum(top / whole, _MAX))
        local = factor * (absmax / np.float32(self.element.max))
        codes = kernels.float_encode(local.reshape(1, -1), _ONE, format=E4M3).reshape(absmax.shape)
        lost = codes == 0
        codes[lost] = self.ZERO
        underflowed = int(np.count_nonzero(lost & (absmax != 0)))
        return Made({"scale": codes, "global_scale": factor}, 0, underflowed)

    def read(self, arrays: Mapping[str, Array]) -> Array:
        """float32: scale / global_scale."""
        codes = arrays["scale"]
        local = kernels.float_decode(codes.reshape(1, -1), _ONE, format=E4M3).reshape(codes.shape)
        with np.errstate(all="ignore"):
            scale: Array = local / arrays["global_scale"]
        return scale

    def are_plain(self, arrays: Mapping[str, Array]) -> bool:
        """Zeros have the scale 0.125; and a subnormal code is too coarse for its group."""
        codes = arrays["scale"]
        return bool((codes != self.ZERO).all() and (codes >= 8).all())
