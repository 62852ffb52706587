# SPDX-License-Identifier: MIT
"""A tensor as a matrix whose rows hold groups, for what must see all values of a group at once."""

from __future__ import annotations

from bitmill import _check
from bitmill._dtypes import Array
from bitmill.grid import View


def matrix_of(x: Array, view: View) -> tuple[Array, int | None]:
    """`x` as a C-contiguous matrix, and the size of the groups along its rows (None: the rows).

    The groups are those of `view`, in the order of its parameters. It is `x` itself where groups
    run along its rows; channels that lie apart are copied together.

    >>> import numpy as np
    >>> from bitmill.grid import view
    >>> x = np.arange(6, dtype=np.float32).reshape(3, 2)
    >>> matrix_of(x, view((3, 2), 1, None))[0]
    array([[0., 2., 4.],
           [1., 3., 5.]], dtype=float32)
    """
    matrix = x.reshape(view.matrix)
    if view.columns:
        return _check.array(matrix.T), None
    if view.repeats > 1:
        apart = matrix.reshape(view.repeats, -1, matrix.shape[1])
        return _check.array(apart.swapaxes(0, 1)).reshape(apart.shape[1], -1), None
    return matrix, view.group_size
