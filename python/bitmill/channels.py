# SPDX-License-Identifier: MIT
"""The channels of a tensor as the rows of a matrix: those along the last axis, or of one axis."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill.grid import Axis, channel_axis, rows_of

Channel = int | str
"""An axis counted from the front, or "row": everything along the last one."""


def channel(axis: Axis, ndim: int) -> Channel | None:
    """`axis` as it is meant for a tensor of `ndim` axes; None stays None."""
    if axis is None or axis == "row":
        return axis
    if isinstance(axis, str):
        raise ValueError(f"axis={axis!r} is not 'row', None or an int")
    return channel_axis(_check.integer(axis, "axis", low=-64, high=63), ndim)


def shape_of(shape: tuple[int, ...], axis: Channel) -> tuple[int, ...]:
    """The shape of what there is one of per channel."""
    return (shape[axis],) if isinstance(axis, int) else shape[:-1] or (1,)


def matrix_of(x: Array, axis: Channel) -> Array:
    """One row per channel, copied unless they lie so.

    >>> matrix_of(np.arange(6).reshape(2, 3), 1)
    array([[0, 3],
           [1, 4],
           [2, 5]])
    """
    if not isinstance(axis, int):
        return rows_of(x)
    rest = x.shape[:axis] + x.shape[axis + 1 :]
    moved = np.ascontiguousarray(np.moveaxis(x, axis, 0))
    return moved.reshape(x.shape[axis], math.prod(rest))


def index_of(at: Array, shape: tuple[int, ...], axis: Channel) -> Array:
    """Indices [..., ndim] in a tensor of what lies at these places of its matrix, laid flat.

    >>> index_of(np.array([1, 4]), (2, 3), 1)
    array([[1, 0],
           [0, 2]])
    """
    first = axis if isinstance(axis, int) else 0
    rest = shape[:first] + shape[first + 1 :]
    sizes = [max(1, size) for size in (shape[first], *rest)]  # where there are no values, 0 is one
    place = np.stack(np.unravel_index(at, sizes), axis=-1)
    return np.concatenate([place[..., 1 : first + 1], place[..., :1], place[..., first + 1 :]], -1)


def pieces(shape: tuple[int, ...], axis: Channel) -> Iterator[tuple[slice, ...]]:
    """Where each channel lies, as slices that keep all axes."""
    if isinstance(axis, int):
        for i in range(shape[axis]):
            yield (*(slice(None),) * axis, slice(i, i + 1))
    else:
        for index in np.ndindex(shape[:-1]):
            yield tuple(slice(i, i + 1) for i in index)
