# SPDX-License-Identifier: MIT
"""What kernels with several outputs return, and the grid they take: types shared with the twins."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bitmill._dtypes import Array


class Grid(NamedTuple):
    """The codes of a scheme, the rule by which a range becomes a scale, and what stores scales."""

    qmin: int
    qmax: int
    rule: str
    scales: str


class Range(NamedTuple):
    """Least and greatest value, float32; a value that equals zero is +0.0."""

    min: Array
    max: Array


Params = tuple[Array, Array | None, Array | None]
"""Scale, zero_point, offset; at most one of the last two is there."""


def each_param(function: Callable[[Array], Array], params: Params) -> Params:
    """`function` of every parameter that is there."""
    scale, zero_point, offset = params
    return (
        function(scale),
        None if zero_point is None else function(zero_point),
        None if offset is None else function(offset),
    )


class AffineParams(NamedTuple):
    """What turns codes into values, one entry per group, and what happened on the way.

    `overflowed` counts groups whose scale or offset is not finite in its storage dtype (their
    entries are unspecified), `underflowed` those whose scale was raised to the smallest positive
    value of that dtype, and `unclipped` those whose clip left no range, so that they have the full
    one.
    """

    scale: Array
    zero_point: Array | None
    offset: Array | None
    overflowed: int
    underflowed: int
    unclipped: int = 0


class TokenSums(NamedTuple):
    """Codes [M, K] of one byte, and their sums over each row, int32 [M]."""

    codes: Array
    sums: Array


class TokenCodes(NamedTuple):
    """The same with the scales [M, 1] and zero-points that `token_quantize` found.

    `nonfinite`, `overflowed` and `underflowed` count rows as those of `AffineCodes` do groups.
    """

    codes: Array
    scale: Array
    zero_point: Array | None
    sums: Array
    nonfinite: int
    overflowed: int
    underflowed: int


class TwoLevelParams(NamedTuple):
    """Codes of scales and offsets, one entry per group, and their steps, one per super-block."""

    scale: Array
    super_scale: Array
    offset: Array | None
    super_offset: Array | None
    overflowed: int
    underflowed: int


class AffineCodes(NamedTuple):
    """Codes (or packed words) with their parameters, as `affine_quantize` returns them.

    `nonfinite` counts groups that hold NaN or an infinity; their entries are unspecified.
    """

    codes: Array
    scale: Array
    zero_point: Array | None
    offset: Array | None
    nonfinite: int
    overflowed: int
    underflowed: int


class TableCodes(NamedTuple):
    """Codes (or packed words) with the scales of their groups, as `table_quantize` returns them.

    `nonfinite` counts groups that hold NaN or an infinity, `overflowed` those whose scale is not
    finite in its storage dtype (entries of both are unspecified), `underflowed` those whose scale
    was raised to the smallest positive value of that dtype.
    """

    codes: Array
    scale: Array
    nonfinite: int
    overflowed: int
    underflowed: int


class TableSums(NamedTuple):
    """Σw·x·t and Σw·t² of groups under several scales, float64 [R, groups, n]."""

    cross: Array
    square: Array


class ErrorSums(NamedTuple):
    """Sums over each row, float64: Σx², Σy², Σxy, Σ(x−y)² and max |x−y|; and the first place in the
    row of a pair so far apart, int64."""

    xx: Array
    yy: Array
    xy: Array
    dd: Array
    max_abs: Array
    max_at: Array


class OrderStatistics(NamedTuple):
    """Values of a rank and of the next one, float32 [R]; a value that equals zero is +0.0.

    `nonfinite` counts rows that hold NaN or an infinity.
    """

    low: Array
    high: Array
    nonfinite: int


class Clusters(NamedTuple):
    """Clusters of the numbers in each row, with what is theirs; see `kmeans_edges`.

    `edges` is int64 [R, k+1]: cluster c holds the values from edges[c] to before edges[c+1].
    `centroids` is float64 [R, k], in ascending order, `cost` float64 [R], Σw(x − centroid)².
    `zero` is int64 [R]: the cluster whose centroid is pinned to 0, or −1.
    """

    edges: Array
    centroids: Array
    cost: Array
    zero: Array


class ValueCounts(NamedTuple):
    """How often each of the 65,536 patterns of 16 bits occurs, int64; and its weight, float64."""

    counts: Array
    weights: Array | None


class DistinctValues(NamedTuple):
    """Different values, float32 [m], in the order of their bits as uint32; how often each occurs,
    int64; and its weight, float64."""

    values: Array
    counts: Array
    weights: Array | None


class BucketSums(NamedTuple):
    """Of the values in each bucket: how many, int64, and Σw, Σwr and Σwr², float64."""

    counts: Array
    w: Array
    wr: Array
    wrr: Array
