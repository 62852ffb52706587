# SPDX-License-Identifier: MIT
"""How many outliers each row gets, so that those of all rows together remove the most error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import fsum

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array
from bitmill.schemes.outlier_ranks import largest

_BLOCK = 1 << 20  # values whose places are sorted at a time


def by_loss(x: Array, count: int, errors: Callable[[Array], Array]) -> Array:
    """Places in `x` [R, C], laid flat and ascending, of `count` outliers: int64.

    `errors` tells the squared error of each row, float64 [R], if what lies at such places is kept
    apart. Every row is tried with its 0, 1, 2, 3, 4, 6, 8, 12, 16, … largest magnitudes. Between
    the trials that lie on the lower convex hull of a row's errors, each outlier removes the same
    error; those that remove most are taken, of equal ones those of the first row. If the largest
    magnitudes of all, whatever their rows, remove more, it is they.
    """
    shared = _shared_out(x, count, errors)
    plain = largest(x.reshape(1, -1), count)[0]
    return shared if fsum(errors(shared)) < fsum(errors(plain)) else plain


def _shared_out(x: Array, count: int, errors: Callable[[Array], Array]) -> Array:
    """Places by what is known of the rows."""
    most = min(x.shape[1], count)
    order = _by_magnitude(x, most)
    steps = sorted({first << k for first in (1, 3) for k in range(most.bit_length())})
    trials = [0, *(n for n in steps if n < most), most]
    found = np.stack([errors(_places(order[:, :n], x.shape[1])) for n in trials], axis=1)
    taken = _allot(found, trials, count)
    is_taken = np.arange(most) < taken[:, np.newaxis]
    rows, at = np.nonzero(is_taken)
    return np.sort(rows * x.shape[1] + order[rows, at])


def _by_magnitude(x: Array, most: int) -> Array:
    """Columns of the `most` largest magnitudes of each row, largest first, of equal ones the first:
    int32 [R, most]."""
    order = np.empty((x.shape[0], most), np.int32)
    step = max(1, _BLOCK // x.shape[1])
    for start in range(0, x.shape[0], step):
        part = slice(start, start + step)
        magnitude = kernels.to_float32(x[part]).view(np.int32) & 0x7FFFFFFF
        order[part] = np.argsort(-magnitude, axis=1, kind="stable")[:, :most]
    return order


def _places(columns: Array, length: int) -> Array:
    """Laid flat and ascending, of columns [R, n] of rows of this length."""
    starts = np.arange(len(columns), dtype=np.int64)[:, np.newaxis] * length
    return np.sort(columns.astype(np.int64) + starts, axis=1).reshape(-1)


def _allot(errors: Array, trials: list[int], count: int) -> Array:
    """How many outliers each row gets, by its errors [R, T] with as many as each trial has."""
    gains = [(-gain, row, n) for row, e in enumerate(errors) for gain, n in _hull(trials, e)]
    taken = np.zeros(len(errors), np.int64)
    for _, row, n in sorted(gains):
        given = min(n, count)
        taken[row] += given
        count -= given
        if count == 0:
            break
    return taken


def _hull(trials: list[int], errors: Array) -> Iterator[tuple[float, int]]:
    """Error removed by each of so many outliers, along the lower convex hull: less and less.

    >>> list(_hull([0, 1, 2, 4], np.array([9.0, 8.0, 3.0, 1.0])))
    [(3.0, 2), (1.0, 2)]
    """
    hull: list[tuple[int, float]] = []
    for point in zip(trials, errors.tolist(), strict=True):
        while len(hull) > 1 and _gain(hull[-2], hull[-1]) <= _gain(hull[-1], point):
            hull.pop()
        hull.append(point)
    for before, after in pairwise(hull):
        yield _gain(before, after), after[0] - before[0]


def _gain(before: tuple[int, float], after: tuple[int, float]) -> float:
    return (before[1] - after[1]) / (after[0] - before[0])
