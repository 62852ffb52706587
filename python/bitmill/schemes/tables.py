# SPDX-License-Identifier: MIT
"""Tables of values: any that the user gives, and those that are known by a name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import KW_ONLY, dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill.schemes.base import register
from bitmill.schemes.table_scheme import TableScheme

_MOST = 256  # values, for codes of 8 bits
_FP4 = (0, 0.0625, 8, 12, 4, 6, 2, 3)  # twelfths


@register
@dataclass(frozen=True, repr=False)
class Table(TableScheme):
    """Codes that stand for the values of a table: x̂ = values[code]·scale.

    The code is that of the value nearest to the float32 product x·(1/scale) with the scale as it is
    stored; halfway between two values that of the lower one.

    Parameters
    ----------
    values
        2 to 256 finite numbers in any order, equal ones too, kept as float32. Codes take as
        few bits as there are values for.
    group_size
        One scale for every so many values along a row, 16 to 4096; None for one per row.
    clip
        "minmax": scales by `scale_rule`. "mse": scales of least squared error, searched among those
        that are stored; `importance` may weigh it. 0.05 to 0.1 s per million weights.
    scale_rule
        "absmax": max |x| / max |values|. "signed_max": the x of largest magnitude over the value of
        largest magnitude, so that the scale may be negative; with clip="mse" both signs are tried,
        which suits tables that are not symmetric.
    scales
        Storage dtype: "float32", "float16" or "bfloat16"; or `bm.Scales`: few bits each, and a step
        that a super-block of groups shares.
    double_quantization
        8-bit codes of scales as in QLoRA: 8.127 bits per group instead of 32. Codes of weights are
        made with the exact scales. Codes of scales lie around the mean of all: where one scale is
        far above the others, small ones may be read back as 0 or less, and those of groups of zeros
        as a little more, as in bitsandbytes.

    A group of zeros has the scale 1 if 0 is among the values, else 0. A scale that underflows
    becomes the smallest positive value of its dtype (counted in `QTensor.health`); one that
    overflows, or makes a value of the table overflow float32, is a ValueError.

    Raises ValueError for values out of range and for options that exclude each other, TypeError for
    values of a wrong type.

    >>> import bitmill as bm, numpy as np
    >>> scheme = bm.Table((-1, -0.25, 0, 0.5), 16)
    >>> q = bm.quantize(np.float32([[0.0, 4.0, -4.0, -8.0]]), scheme)
    >>> q.codes, q.scale, np.asarray(q).tolist()
    (array([[2, 3, 1, 0]], dtype=uint8), array([[8.]], dtype=float32), [[0.0, 4.0, -2.0, -8.0]])
    """

    values: tuple[float, ...]
    group_size: int | None = 64

    positional: ClassVar[tuple[str, ...]] = ("values", "group_size")

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _values(self.values))
        super().__post_init__()

    @property
    def size(self) -> int:
        """Number of values in the table."""
        return len(self.values)

    def table_of(self, arrays: Mapping[str, Array]) -> Array:
        """The values, float32."""
        return np.array(self.values, np.float32)

    def describe(self) -> str:
        """A few words for tables.

        >>> Table((-1, 0, 1), 128).describe()
        'Table of 3 g128'
        """
        return super().describe().replace("Table", f"Table of {self.size}", 1)


@dataclass(frozen=True, repr=False)
class _Named(TableScheme):
    """A table of 16 values that is known by a name."""

    group_size: int | None = 64

    VALUES: ClassVar[tuple[float, ...]]

    @property
    def size(self) -> int:
        """Number of values in the table."""
        return len(self.VALUES)

    def table_of(self, arrays: Mapping[str, Array]) -> Array:
        """The values, float32."""
        return np.array(self.VALUES, np.float32)


@register
@dataclass(frozen=True, repr=False)
class NF4(_Named):
    """NormalFloat with 4 bits: 16 quantiles of the normal distribution, −1 … 1, with an exact 0.

    Options are those of `bm.Table`. With the defaults, codes and scales are the bytes of
    bitsandbytes; `double_quantization=True` is that of QLoRA, which may read scales far below the
    others back as 0 or less: their weights come out as 0 or with the other sign, which the health
    of a checkpoint counts as negative scales. After Dettmers et al., "QLoRA" (2023), whose
    constants these are.

    >>> import bitmill as bm
    >>> bm.NF4().layout((4096, 4096))[1]
    Field(name='scale', dtype='float32', shape=(4096, 64))
    >>> bm.NF4(double_quantization=True).describe()
    'NF4 g64 dq'
    """

    VALUES = (
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    )  # fmt: skip


@register
@dataclass(frozen=True, repr=False)
class FP4(_Named):
    """The 4-bit float of bitsandbytes: a sign, and 0, 1/192, 1/6, 1/4, 1/3, 1/2, 2/3 or 1.

    By its code: 0, 1/192, 2/3, 1, 1/3, 1/2, 1/6, 1/4, then the same with the sign. It is not E2M1,
    the float of MXFP4. Options are those of `bm.Table`.

    >>> import bitmill as bm
    >>> bm.FP4(group_size=128)
    FP4(group_size=128)
    """

    VALUES = (*(v / 12 for v in _FP4), *(-v / 12 + 0.0 for v in _FP4))


@register
@dataclass(frozen=True, repr=False)
class IQ4_NL(_Named):  # noqa: N801 -- the name that it has in ggml
    """The table of ggml's IQ4_NL and IQ4_XS: 16 whole numbers from −127 to 113.

    It is not symmetric, so scales have a sign; searched ones keep the most of all tables here that
    are not made for the weights. Options are those of `bm.Table`, with other defaults: groups of 32
    and scale_rule="signed_max".

    >>> import bitmill as bm
    >>> scales = bm.Scales("float16", bits=6, super_block=384)
    >>> bm.IQ4_NL(16, clip="mse", scales=scales).describe()
    'IQ4_NL g16 s6'
    """

    group_size: int | None = 32
    _: KW_ONLY
    scale_rule: str = "signed_max"

    VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def _values(given: Any) -> tuple[float, ...]:
    """The values as floats that float32 holds."""
    if isinstance(given, (str, bytes, Mapping, Set)) or not hasattr(given, "__iter__"):
        kind = type(given).__name__
        raise TypeError(f"values={given!r} is a {kind}; values takes numbers in order")
    _check.unmasked(given, "values")
    if getattr(given, "ndim", 1) != 1:
        raise ValueError(f"values has shape {given.shape}; wanted 1-D")
    numbers = tuple(islice(given, _MOST + 1))
    if not 2 <= len(numbers) <= _MOST:
        count = len(numbers) if len(numbers) <= _MOST else f"more than {_MOST}"
        raise ValueError(f"values has {count} numbers; wanted 2 to {_MOST}")
    made = tuple(_value(number, f"values[{at}]") for at, number in enumerate(numbers))
    if not any(made):
        raise ValueError("values are all 0 in float32: no scale makes anything of them")
    return made


def _value(given: Any, name: str) -> float:
    with np.errstate(over="ignore"):
        value = float(np.float32(_check.number(given, name)))
    if not math.isfinite(value):
        raise ValueError(f"{name}={given!r} is NaN, infinity, or a number that float32 cannot hold")
    return value
