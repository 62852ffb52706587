# SPDX-License-Identifier: MIT
"""Ranges: absmax and min/max of groups along rows, and of columns.

Values are compared by their bits, where NaN lies beyond infinity: a result that is not finite says
that the group holds NaN or an infinity. float64 is rounded to float32 first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bitmill import _arguments, _check
from bitmill._dtypes import Array
from bitmill._results import Range
from bitmill._sizes import group_count
from bitmill.reference.convert import to_float32


def absmax(x: Array, group_size: int | None = None, *, num_threads: int | None = None) -> Array:
    """max |x| of each group of `group_size` along the rows of `x` [R, C]: float32 [R, groups].

    `None` is one group per row. The last group of a row may be short; an empty one gives 0.
    """
    x, size = _arguments.ranges(x, group_size)
    return _groupwise(np.max, as_bits(x) & 0x7FFFFFFF, size).view(np.float32)


def minmax(x: Array, group_size: int | None = None, *, num_threads: int | None = None) -> Range:
    """min and max of each group of `group_size` along the rows of `x` [R, C]: float32 [R, groups].

    A result that equals zero is +0.0; an empty group gives 0, 0.
    """
    x, size = _arguments.ranges(x, group_size)
    keys = ordered(as_bits(x))
    return Range(_value(_groupwise(np.min, keys, size)), _value(_groupwise(np.max, keys, size)))


def column_absmax(x: Array, *, num_threads: int | None = None) -> Array:
    """max |x| of each column of `x` [R, C]: float32 [C]; 0 where R is 0."""
    magnitude = as_bits(_check.matrix(x, "x")) & 0x7FFFFFFF
    largest: Array = magnitude.max(axis=0, initial=0)
    return largest.view(np.float32)


def column_minmax(x: Array, *, num_threads: int | None = None) -> Range:
    """min and max of each column of `x` [R, C]: float32 [C]; 0, 0 where R is 0."""
    keys = ordered(as_bits(_check.matrix(x, "x")))
    if x.shape[0] == 0:
        keys = np.zeros((1, x.shape[1]), np.int32)
    return Range(_value(keys.min(axis=0)), _value(keys.max(axis=0)))


def as_bits(x: Array) -> Array:
    """The values as float32, read as int32."""
    return to_float32(x).view(np.int32)


def ordered(bits: Array) -> Array:
    """Integers in the order of the float32 values; the map is its own inverse."""
    flipped: Array = bits >> 31 & 0x7FFFFFFF
    return np.bitwise_xor(bits, flipped)


def _value(keys: Array) -> Array:
    values: Array = ordered(keys).view(np.float32)
    with np.errstate(invalid="ignore"):  # a signalling NaN
        return np.add(values, np.float32(0))  # -0.0 + 0.0 is +0.0


def _groupwise(reduce: Callable[..., Array], values: Array, size: int | None) -> Array:
    rows, length = values.shape
    result = np.zeros((rows, group_count(length, size)), values.dtype)
    for group in range(result.shape[1] if length else 0):
        start, stop = (0, length) if size is None else (group * size, (group + 1) * size)
        result[:, group] = reduce(values[:, start:stop], axis=1)
    return result
