# SPDX-License-Identifier: MIT
"""Scales of least squared error for groups whose codes stand for the values of a table.

Everything is told by two sums over a group, for the codes that a scale s gives: with c = Σw·x·t and
q = Σw·t², where t is the value that stands for x, the error is Σw·x² − 2·s·c + s²·q, and the best
scale for the same codes is c/q, of error Σw·x² − c²/q.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array, dtype
from bitmill._results import Range, TwoLevelParams
from bitmill._sizes import group_count

FACTORS = np.geomspace(0.45, 1.6, 24)
"""Of the scale under which no value is clipped: those that are tried first."""

_ROUNDS = 2  # of fitting the best scales anew
_KEPT = 3  # scales that are fitted anew
_SUMS = 1 << 18  # that are held at a time, about
_INFINITE = 2.0**128 - 2.0**103  # what float32 rounds to infinity, from here on


class Tried(NamedTuple):
    """Of scales [R, G, n]: errors, less Σw·x², and the sums that tell of better scales.

    The error is infinite for a scale that is 0 or makes a value of the table infinite.
    """

    error: Array
    cross: Array
    square: Array

    def fitted(self, count: int) -> Array:
        """The best scales for the codes of the `count` scales of least error."""
        left, found = self.error.copy(), []
        for _ in range(min(count, left.shape[-1])):
            at = np.argmin(left, axis=-1)[..., np.newaxis]
            np.put_along_axis(left, at, np.inf, axis=-1)
            cross, square = (np.take_along_axis(a, at, axis=-1) for a in self[1:])
            with np.errstate(all="ignore"):
                found.append(np.where(square > 0, cross / square, 0))
        return np.concatenate(found, axis=-1)


class Groups(NamedTuple):
    """Rows of groups: a matrix, its importance [1 or R, C], a table, and the size of a group."""

    x: Array
    importance: Array | None
    values: Array
    group_size: int | None
    num_threads: int | None

    def tried(self, scales: Array) -> Tried:
        """What becomes of each of the float32 scales [R, G, n]."""
        x, w, values, size, threads = self
        sums = kernels.table_sums(x, values, scales, w, group_size=size, num_threads=threads)
        s = scales.astype(np.float64)
        with np.errstate(all="ignore"):
            error = s * sums.square
            error -= 2 * sums.cross
            error *= s
        lost = np.abs(s) * np.abs(values).max().astype(np.float64) >= _INFINITE
        error[~np.isfinite(error) | (s == 0) | lost] = np.inf
        return Tried(error, sums.cross, sums.square)

    def parts(self, per_group: int) -> Iterator[tuple[slice, Groups]]:
        """Rows a few at a time, so that so many sums for each group fit a small memory."""
        groups = group_count(self.x.shape[1], self.group_size)
        step = max(1, _SUMS // max(1, groups * per_group))
        for start in range(0, len(self.x), step):
            rows = slice(start, start + step)
            w = self.importance
            if w is not None and len(w) == len(self.x):
                w = w[rows]
            yield rows, self._replace(x=self.x[rows], importance=w)


def best_scales(
    groups: Groups,
    base: Array,
    seen: Range,
    *,
    signed: bool,
    scales: str,
    factors: Array = FACTORS,
) -> Array:
    """Scales [R, G] of least error, as `scales` stores them: `base`, those of the rule, or better.

    `seen` are the ranges of the groups. Scales below 0 are tried if `signed`. A group without an
    error to weigh keeps its scale.
    """
    out = base.copy()
    for rows, part in groups.parts(4 * len(factors)):
        lo, hi = (end[rows].astype(np.float64) for end in seen)
        first = [_unclipped(lo, hi, groups.values), -_unclipped(-hi, -lo, groups.values)]
        tried = [s[..., np.newaxis] * factors for s in first[: 1 + signed]]
        first_tried = np.concatenate(tried, axis=-1)
        out[rows] = _search(part, base[rows], first_tried, scales, signed=signed)
    return out


def _search(groups: Groups, base: Array, first: Array, scales: str, *, signed: bool) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        found = groups.tried(first.astype(np.float32))
    error = groups.tried(base[..., np.newaxis].astype(np.float32)).error[..., 0]
    best = Best(base, np.where(base == 0, 0, error))  # zeros, of which nothing is lost
    for _ in range(_ROUNDS):
        tried = _stored(found.fitted(_KEPT), scales)
        if not signed:
            tried = np.where(tried > 0, tried, tried.dtype.type(0))
        found = groups.tried(tried.astype(np.float32))
        best = best.or_better(tried, found.error)
    if scales != "float32":
        near = _neighbours(best.scale)
        best = best.or_better(near, groups.tried(near.astype(np.float32)).error)
    return best.scale


class Best(NamedTuple):
    """The best scales so far [R, G], and their errors."""

    scale: Array
    error: Array

    def or_better(self, scales: Array, errors: Array) -> Best:
        """These, or the first of least error among others [R, G, n]."""
        at = np.argmin(errors, axis=-1)[..., np.newaxis]
        scale, error = (np.take_along_axis(a, at, axis=-1)[..., 0] for a in (scales, errors))
        better = error < self.error
        return Best(np.where(better, scale, self.scale), np.where(better, error, self.error))


def _unclipped(lo: Array, hi: Array, values: Array) -> Array:
    """The least positive scale under which all of lo … hi lie within the values."""
    low, high = float(values.min()), float(values.max())
    up = hi / high if high > 0 else np.zeros_like(hi)
    down = lo / low if low < 0 else np.zeros_like(lo)
    least: Array = np.maximum(np.maximum(up, down), 0)
    return least


def _stored(scale: Array, scales: str) -> Array:
    """Rounded to float32, then to the dtype that stores them."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        single = np.ascontiguousarray(scale.astype(np.float32))
    return kernels.from_float32(single, scales)


def _neighbours(scale: Array) -> Array:
    """[R, G, 2]: the numbers of a 16-bit dtype next below and above in magnitude; finite or not."""
    bits = scale.view(np.uint16)[..., np.newaxis]
    sign, size = bits & 0x8000, bits & 0x7FFF
    steps = np.clip(size.astype(np.int32) + np.array([-1, 1]), 0, 0x7FFF).astype(np.uint16)
    near: Array = (sign | steps).view(scale.dtype)
    return near


def two_level_scales(
    groups: Groups, scale: Array, *, signed: bool, bits: int, super_groups: int, scales: str
) -> TwoLevelParams:
    """Codes of `bits` bits for `scale` (float32 [R, G]), times a step for `super_groups` of a row.

    Codes are 1 … 2^bits − 1, or if `signed` ±1 … ±(2^(bits−1) − 1); 0 for a scale of 0. Steps are
    tried from a little below to a little above the largest magnitude over the largest code; under
    each, of the nearest code and its two neighbours the one of least error is taken. What `scales`
    cannot hold is counted in `overflowed`; a step is never 0, those raised are in `underflowed`.
    """
    blocks = group_count(scale.shape[1], super_groups)
    codes = np.zeros(scale.shape, np.int8 if signed else np.uint8)
    steps = np.ones((len(scale), blocks), dtype(scales))
    overflowed = underflowed = 0
    for rows, part in groups.parts(4 * len(NEAR)):
        made = _two_level(part, scale[rows], (1 << bits - signed) - 1, super_groups, scales)
        codes[rows], steps[rows] = made.codes, made.steps
        overflowed += made.overflowed
        underflowed += made.underflowed
    return TwoLevelParams(codes, steps, None, None, overflowed, underflowed)


NEAR = np.array([0, -1, 1])
"""What is added to the nearest code of a scale."""

STEPS = 1 + np.array([0, 1, -1]) / 48
"""Of the largest magnitude over the largest code: steps that are tried."""


class _TwoLevel(NamedTuple):
    codes: Array
    steps: Array
    overflowed: int
    underflowed: int


def _two_level(groups: Groups, scale: Array, top: int, size: int, scales: str) -> _TwoLevel:
    most = _per_block(np.abs(scale), size, np.maximum)
    with np.errstate(over="ignore"):
        exact = np.where(most == 0, 1, most.astype(np.float64) / top)
        smallest = np.nextafter(dtype(scales).type(0), dtype(scales).type(1))
    stored = _stored(exact[..., np.newaxis] * STEPS, scales)
    raised = stored == 0
    tried = np.where(raised, smallest, stored)
    codes, steps, least = np.zeros(scale.shape), tried[..., 0], np.full(most.shape, np.inf)
    for step in np.moveaxis(tried, -1, 0):
        found, error = _codes(groups, scale, step, top, size)
        total = _per_block(error, size, np.add)
        better = total < least
        codes = np.where(_spread(better, size, scale.shape[1]), found, codes)
        steps, least = np.where(better, step, steps), np.where(better, total, least)
    overflowed = ~np.isfinite(tried[..., 0].astype(np.float32))
    return _TwoLevel(codes, steps, int(overflowed.sum()), int(raised[..., 0].sum()))


def _codes(groups: Groups, scale: Array, step: Array, top: int, size: int) -> tuple[Array, Array]:
    """For each group the code of least error under the step of its super-block, and that error."""
    steps = _spread(step.astype(np.float32), size, scale.shape[1])
    with np.errstate(all="ignore"):
        nearest = np.rint(np.abs(scale).astype(np.float64) / steps)
    near = np.clip(np.nan_to_num(nearest)[..., np.newaxis] + NEAR, 1, top)
    codes = np.where(scale[..., np.newaxis] < 0, -near, near)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        tried = (codes * steps[..., np.newaxis]).astype(np.float32)
    error = groups.tried(tried).error
    at = np.argmin(error, axis=-1)[..., np.newaxis]
    code, least = (np.take_along_axis(a, at, axis=-1)[..., 0] for a in (codes, error))
    return np.where(scale == 0, 0, code), np.where(scale == 0, 0, least)


def _spread(of_blocks: Array, size: int, groups: int) -> Array:
    return np.repeat(of_blocks, size, axis=1)[:, :groups]


def _per_block(of_groups: Array, size: int, combine: np.ufunc) -> Array:
    """[R, G] to [R, super-blocks], one group after the other: the order of sums is fixed."""
    blocks = group_count(of_groups.shape[1], size)
    padded = np.zeros((len(of_groups), blocks * size), of_groups.dtype)
    padded[:, : of_groups.shape[1]] = of_groups
    combined: Array = combine.accumulate(padded.reshape(-1, blocks, size), axis=2)[..., -1]
    return combined
