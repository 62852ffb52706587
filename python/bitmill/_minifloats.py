# SPDX-License-Identifier: MIT
"""Floats of 4, 6 and 8 bits, by their ml_dtypes names: a sign, an exponent, a mantissa."""

from __future__ import annotations

from typing import NamedTuple


class Minifloat(NamedTuple):
    """A format: bits of its exponent and mantissa, its largest value, whether it has infinities.

    An exponent field e > 0 stands for 2^(e − bias)·(1 + mantissa/2^mantissa_bits), with IEEE's bias
    2^(exponent_bits − 1) − 1; the field 0 for subnormal numbers, 2^(1 − bias)·mantissa/2^… . Codes
    above that of the largest value are infinity, where there is one, and NaN.
    """

    exponent_bits: int
    mantissa_bits: int
    max: float
    has_infinity: bool = False

    @property
    def bits(self) -> int:
        """Width of a code."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def emin(self) -> int:
        """Exponent of the least normal number, and of the subnormal ones.

        >>> MINIFLOATS["float4_e2m1fn"].emin, MINIFLOATS["float8_e4m3fn"].emin
        (0, -6)
        """
        return 2 - (1 << self.exponent_bits - 1)

    @property
    def emax(self) -> int:
        """Exponent of the largest value.

        >>> MINIFLOATS["float4_e2m1fn"].emax, MINIFLOATS["float8_e4m3fn"].emax
        (2, 8)
        """
        return int(self.max).bit_length() - 1

    @property
    def top(self) -> int:
        """Code of the largest value.

        >>> hex(MINIFLOATS["float8_e4m3fn"].top), hex(MINIFLOATS["float8_e5m2"].top)
        ('0x7e', '0x7b')
        """
        steps = int(self.max * 2.0 ** (self.mantissa_bits - self.emax))
        return (self.emax - self.emin << self.mantissa_bits) + steps


MINIFLOATS = {
    "float8_e4m3fn": Minifloat(4, 3, 448.0),
    "float8_e5m2": Minifloat(5, 2, 57344.0, has_infinity=True),
    "float6_e3m2fn": Minifloat(3, 2, 28.0),
    "float6_e2m3fn": Minifloat(2, 3, 7.5),
    "float4_e2m1fn": Minifloat(2, 1, 6.0),
}
"""The formats that `bitmill.kernels.float_encode` makes."""
