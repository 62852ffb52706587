# SPDX-License-Identifier: MIT
"""Error sums in a fixed order of additions, so that neither ISA nor threads can matter."""

from __future__ import annotations

import math

import numpy as np

from bitmill import _arguments
from bitmill._dtypes import Array
from bitmill._results import ErrorSums
from bitmill.reference.affine import affine_decode, affine_encode
from bitmill.reference.convert import to_float32

LANES, BLOCK = 16, 4096


def error_sums(x: Array, y: Array, *, num_threads: int | None = None) -> ErrorSums:
    """Σx², Σy², Σxy, Σ(x−y)² and max |x−y| over each row of `x` and `y` (float32) [R, C], and the
    first column with that difference (0 in a row without any).

    Both are finite float32 (a float64 `x` is rounded), widened to float64. A row is cut into blocks
    of 4,096; element i of a block goes to lane i mod 16; lanes are added 8+8, 4+4, 2+2, 1+1; then
    the blocks in index order.
    """
    x, y = _arguments.error_sums(x, y)
    a, b = _blocks(to_float32(x)), _blocks(y)
    d = a - b
    sums = [_tree_sum(u * v) for u, v in ((a, a), (b, b), (a, b), (d, d))]
    apart = np.abs(d).reshape(len(x), math.prod(d.shape[1:]))
    max_at = apart.argmax(axis=1) if x.size else np.zeros(len(x), np.int64)
    return ErrorSums._make([*sums, apart.max(axis=1, initial=0), max_at])


def affine_error(
    x: Array,
    scale: Array,
    zero_point: Array | None = None,
    offset: Array | None = None,
    *,
    qmin: int,
    qmax: int,
    group_size: int | None = None,
    num_threads: int | None = None,
) -> Array:
    """Σ(x − x̂)² over each row of `x` [R, C], float64 [R], where x̂ is `affine_decode` of
    `affine_encode` of `x` by these parameters [R, groups]. Terms are added in the order of
    `error_sums`.

    A scale that is not finite gives codes 0, which stand for 0, or for the offset.
    """
    x, given, _ = _arguments.affine_error(x, (scale, zero_point, offset), qmin, qmax, group_size)
    codes = affine_encode(x, *given, qmin=qmin, qmax=qmax, group_size=group_size)
    finite = np.isfinite(given[0].astype(np.float32))
    stored = np.where(finite, given[0], given[0].dtype.type(0))
    values = affine_decode(codes, stored, *given[1:], group_size=group_size)
    return error_sums(x, values).dd


def weighed_error(
    x: Array, y: Array, importance: Array, *, num_threads: int | None = None
) -> Array:
    """Σ w·(x−y)² over each row of `x` and `y` (float32) [R, C], float64 [R].

    `importance` holds the w: float32 [1, C] from 0 to 1, one for each column, or [R, C]. x and y
    are finite; all are widened to float64. Terms are added in the order of `error_sums`.
    """
    x, y, importance = _arguments.weighed_error(x, y, importance)
    d = _blocks(to_float32(x)) - _blocks(y)
    return _tree_sum(_blocks(importance) * (d * d))


def _blocks(x: Array) -> Array:
    """float64 [R, blocks, steps, lanes]; the zeros that fill the last block change no sum."""
    rows, length = x.shape
    blocks = -(-length // BLOCK)
    padded = np.zeros((rows, blocks * BLOCK))
    padded[:, :length] = x
    return padded.reshape(rows, blocks, BLOCK // LANES, LANES)


def _tree_sum(terms: Array) -> Array:
    lanes = _in_order(terms, axis=2)
    for half in (8, 4, 2, 1):
        lanes = lanes[..., :half] + lanes[..., half:]
    return _in_order(lanes[..., 0], axis=1) + 0.0  # sums start at +0.0


def _in_order(terms: Array, axis: int) -> Array:
    """The sum of terms added one after another (np.sum would pair them up)."""
    if terms.shape[axis] == 0:
        return np.zeros(np.delete(terms.shape, axis))
    total: Array = np.take(np.add.accumulate(terms, axis=axis), -1, axis=axis)
    return total
