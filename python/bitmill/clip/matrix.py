# SPDX-License-Identifier: MIT
"""Groups as parts of the rows of a matrix, which can be looked at a few at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bitmill._dtypes import Array
from bitmill.grid import View

_VALUES = 1 << 16  # of a block, about: what is made of it in double stays within 2 MiB

Place = tuple[slice, slice]
"""Where the groups of a block lie among the parameters of `matrix_of`: rows, and groups in them."""


def matrix_of(x: Array, view: View) -> tuple[Array, int | None]:
    """`x` as a C-contiguous matrix whose groups lie along its rows, and their size (None: rows).

    Row by row its groups are those of `view.params`. Nothing is copied but channels that lie apart.

    >>> import numpy as np
    >>> from bitmill.grid import view
    >>> x = np.arange(6, dtype=np.float32).reshape(2, 3)
    >>> matrix_of(x, view(x.shape, 1, None))[0].tolist()
    [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    """
    matrix = x.reshape(view.matrix)
    if view.columns:
        return matrix.T.copy(), None
    if view.repeats > 1:
        rows, inner = view.matrix
        channels = rows // view.repeats
        parts = matrix.reshape(view.repeats, channels, inner).swapaxes(0, 1)
        return parts.reshape(channels, view.repeats * inner), None
    return matrix, view.group_size


def each_block(matrix: Array, group_size: int | None) -> Iterator[tuple[Place, Array]]:
    """All groups of a matrix, a few of one length at a time: place, and [rows, groups, length].

    The arrays are views of `matrix`. A group that is longer than a block comes alone.

    >>> import numpy as np
    >>> [(place, values.tolist()) for place, values in each_block(np.arange(3.0)[None], 2)]
    ... # doctest: +NORMALIZE_WHITESPACE
    [((slice(0, 1, None), slice(0, 1, None)), [[[0.0, 1.0]]]),
     ((slice(0, 1, None), slice(1, 2, None)), [[[2.0]]])]
    """
    rows, length = matrix.shape
    size = min(group_size or length, length)
    if matrix.size == 0:
        return
    whole = length // size
    step = max(1, _VALUES // length)
    several = max(1, _VALUES // size)
    for row in range(0, rows, step):
        part = matrix[row : row + step]
        here = slice(row, row + len(part))
        for group in range(0, whole, several):
            stop = min(group + several, whole)
            values = part[:, group * size : stop * size].reshape(len(part), stop - group, size)
            yield (here, slice(group, stop)), values
        if whole * size < length:
            yield (here, slice(whole, whole + 1)), part[:, np.newaxis, whole * size :]
