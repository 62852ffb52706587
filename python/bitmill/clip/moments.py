# SPDX-License-Identifier: MIT
"""Sums over every group, in double and in an order that nothing but its length decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bitmill._dtypes import Array
from bitmill._sizes import group_count
from bitmill.clip.matrix import each_block, matrix_of
from bitmill.grid import View

_CHUNK = 1 << 16  # values of one group that are summed at a time


def tree_sum(terms: Array) -> Array:
    """Sums along the last axis of a float64 array: the second half is added to the first, again.

    The order is spelled out, for that of `np.sum` is NumPy's own.

    >>> tree_sum(np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]))
    array([15.])
    """
    if terms.shape[-1] == 0:
        return np.zeros(terms.shape[:-1])
    while (length := terms.shape[-1]) > 1:
        half = (length + 1) // 2
        folded = terms[..., :half].copy()
        folded[..., : length - half] += terms[..., half:]
        terms = folded
    return terms[..., 0]


def group_sums(
    x: Array,
    view: View,
    functions: Sequence[Callable[[Array], Array]],
    centre: Array | None = None,
) -> Array:
    """Σ f(x − centre) over every group, for every f: float64, shape (functions, *view.params).

    `centre` has one float64 value per group; None is 0. float64 values are rounded to float32
    first, as everywhere. Some MiB at most are held beside what `matrix_of` copies.

    >>> from bitmill.grid import view
    >>> x = np.array([[1.0, -2.0, 3.0], [0.0, 0.0, 5.0]], np.float32)
    >>> group_sums(x, view(x.shape, "row", None), (np.abs, np.square)).tolist()
    [[[6.0], [5.0]], [[14.0], [25.0]]]
    """
    matrix, group_size = matrix_of(x, view)
    shape = (matrix.shape[0], group_count(matrix.shape[1], group_size))
    about = np.zeros(shape) if centre is None else centre.reshape(shape)
    sums = np.zeros((len(functions), *shape))
    for place, values in each_block(matrix, group_size):
        for start in range(0, values.shape[-1], _CHUNK):
            part = values[..., start : start + _CHUNK].astype(np.float32).astype(np.float64)
            part -= about[place][..., np.newaxis]
            for total, function in zip(sums, functions, strict=True):
                total[place] += tree_sum(function(part))
    return sums.reshape(len(functions), *view.params)


def lengths(view: View) -> Array:
    """How many values each group has, float64, in the shape `view.params`; 1 where there is none.

    >>> from bitmill.grid import view
    >>> lengths(view((2, 5), "row", 3)).tolist()
    [[3.0, 2.0], [3.0, 2.0]]
    """
    rows, inner = view.matrix
    if view.columns:
        return np.full(view.params, max(1.0, rows))
    size = view.group_size or max(1, inner * view.repeats)
    counts = np.full(view.params, float(size))
    if view.group_size and inner % size:
        counts[..., -1] = inner % size
    return counts


def means(x: Array, view: View) -> Array:
    """The mean of every group of `x`, float64, in the shape `view.params`.

    >>> from bitmill.grid import view
    >>> x = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]], np.float32)
    >>> means(x, view(x.shape, "row", None)).tolist()
    [[3.0], [0.0]]
    """
    sums: Array = group_sums(x, view, (np.positive,))[0] / lengths(view)
    return sums


def mean_square(x: Array, view: View, centre: Array) -> Array:
    """The mean of (x − centre)² in every group, float64, in the shape `view.params`.

    About the means it is the variance of the population.
    """
    sums: Array = group_sums(x, view, (np.square,), centre)[0] / lengths(view)
    return sums
