# SPDX-License-Identifier: MIT
"""The dtypes that bitmill reads and writes, by their ml_dtypes names."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FLOATS = ("float32", "float16", "bfloat16", "float64")
"""Input dtypes of every kernel, in the order of the kernels' tables (`csrc/table.hpp`)."""

STORAGES = ("float32", "float16", "bfloat16")
"""Dtypes that scales and offsets can be stored in."""


_OF_ML_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu")


@lru_cache(maxsize=64)
def name_of(of: np.dtype[Any]) -> str:
    """`of.name`, which NumPy puts together anew each time: a few microseconds of every small call.

    >>> name_of(np.dtype(np.float16))
    'float16'
    """
    return of.name


@lru_cache(maxsize=64)
def dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype called `name`; bfloat16 and those of 8 bits are of ml_dtypes.

    >>> dtype("bfloat16").itemsize, dtype("float8_e4m3fn").itemsize
    (2, 1)
    """
    return np.dtype(getattr(ml_dtypes, name) if name in _OF_ML_DTYPES else name)


def code(name: str) -> int:
    """Index of the float dtype `name` in the kernels' tables."""
    return FLOATS.index(name)


def carrier(array: Array) -> Array:
    """`array` as the compiled module sees it: uint16 for bfloat16, which has no buffer format."""
    return array.view(np.uint16) if name_of(array.dtype) == "bfloat16" else array
