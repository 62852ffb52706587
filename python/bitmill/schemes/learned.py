# SPDX-License-Identifier: MIT
"""A table that is made for the weights: few bytes, and the best values for their distribution."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array
from bitmill._floats import default_floats
from bitmill.grid import rows_of
from bitmill.kmeans import centroids
from bitmill.schemes.base import Cut, Field, register
from bitmill.schemes.table_scheme import TableScheme
from bitmill.schemes.table_search import Groups, best_scales
from bitmill.schemes.tables import Table

_SAMPLE = 1 << 16  # values that a table is learned from
_NARROW = 16  # values of the smallest group that there is
_ROUNDS = 6
_FACTORS = np.geomspace(0.75, 1.6, 10)  # fewer than for scales that stay
_MOST = 127
_USUAL = (-127, -99, -76, -59, -44, -31, -19, -8, 2, 12, 22, 34, 46, 62, 80, 105)


@register
@dataclass(frozen=True, repr=False)
class LearnedTable(TableScheme):
    """A table of 2^bits whole numbers, −127 … 127, for each tensor: x̂ = table[code]/127·scale.

    Table and scales are found in turns, from a sample of 65,536 weights, evenly spaced groups:
    scales of least error, then the values of least error for the codes they give. It begins with
    exact k-means, or, for 4 bits, with the table that weights of transformers lead to. Of 16 values
    in groups of 32, scales in float16, the matrices of MiniLM keep 0.1 dB more than with IQ4_NL,
    whose table was made for such weights by hand.

    Parameters
    ----------
    bits
        Width of a code, 2 to 8.
    group_size, clip, scale_rule, scales, double_quantization
        As for `bm.Table`, with other defaults: groups of 32 and searched scales of both signs.

    >>> import bitmill as bm
    >>> bm.LearnedTable(4).layout((64, 64))[-1]
    Field(name='table', dtype='int8', shape=(16,))
    """

    bits: int = 4
    group_size: int | None = 32
    _: KW_ONLY
    clip: str = "mse"
    scale_rule: str = "signed_max"

    positional: ClassVar[tuple[str, ...]] = ("bits", "group_size")

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", _check.integer(self.bits, "bits", low=2, high=8))
        super().__post_init__()

    @property
    def size(self) -> int:
        """Number of values in the table."""
        return 1 << self.bits

    def table_of(self, arrays: Mapping[str, Array]) -> Array:
        """The values, float32."""
        return _values(arrays["table"])

    def layout(self, shape: tuple[int, ...]) -> list[Field]:
        """The arrays that a tensor of this shape takes: the one source of sizes."""
        return [*super().layout(shape), Field("table", "int8", (self.size,))]

    def describe(self) -> str:
        """A few words for tables.

        >>> LearnedTable(3, 64).describe()
        'learned3 g64'
        """
        return super().describe().replace(self.name, f"learned{self.bits}", 1)

    def cut(self, shape: tuple[int, ...]) -> Cut:
        """Nowhere: all weights share the table."""
        return Cut(None)

    @default_floats()
    def learn(self, arrays: Iterable[Any], *, num_threads: int | None = None) -> Table:
        """One table for all these arrays, with the other options of this scheme.

        Groups are cut to the narrowest rows, of which those of fewer than 16 weights tell too
        little of a group: they are left out where there are others.

        >>> import bitmill as bm, numpy as np
        >>> weights = np.tile(np.float32([-4, -1, 1, 2]), (2, 8))
        >>> (np.array(bm.LearnedTable(2).learn([weights]).values) * 127).round().tolist()
        [-64.0, -32.0, 32.0, 127.0]
        """
        taken = [self._sample(_check.array(x), None)[0] for x in arrays]
        taken = [groups for groups in taken if groups.size]
        if not taken:
            raise ValueError("arrays holds no weights: there is nothing to learn from")
        taken = [groups for groups in taken if groups.shape[1] >= _NARROW] or taken
        width = min(groups.shape[1] for groups in taken)
        parts = [groups[:, : groups.shape[1] // width * width] for groups in taken]
        every = np.concatenate([part.reshape(-1, width) for part in parts])
        every = every[:: max(1, every.size // _SAMPLE)]
        table = self._learned(np.ascontiguousarray(every), None, num_threads)
        same = {f.name: getattr(self, f.name) for f in fields(TableScheme)}
        return Table(tuple(_values(table).tolist()), self.group_size, **same)

    def _table_for(
        self, x: Array, importance: Array | None, num_threads: int | None
    ) -> tuple[Array, dict[str, Array]]:
        table = self._learned(*self._sample(x, importance), num_threads)
        return _values(table), {"table": table}

    def _sample(self, x: Array, importance: Array | None) -> tuple[Array, Array | None]:
        """Evenly spaced groups [N, size] of the weights, float32, and their importance."""
        if x.size == 0:
            return np.zeros((0, 1), np.float32), None
        rows = rows_of(x)
        size = min(self.group_size or rows.shape[1], rows.shape[1])
        per_row = rows.shape[1] // size
        count = len(rows) * per_row
        step = max(1, count * size // _SAMPLE)
        while math.gcd(step, per_row) > 1:  # else some columns would never be seen
            step += 1
        at = np.arange(0, count, step)
        row, first = at // per_row, at % per_row * size
        place = row[:, np.newaxis], first[:, np.newaxis] + np.arange(size)
        taken = kernels.to_float32(np.ascontiguousarray(rows[place]))
        if not np.isfinite(taken).all():
            raise _check.nonfinite_error(x)
        if importance is None:
            return taken, None
        weights = importance.reshape(-1, rows.shape[1])
        return taken, np.ascontiguousarray(np.broadcast_to(weights, rows.shape)[place])

    def _learned(self, groups: Array, importance: Array | None, num_threads: int | None) -> Array:
        """The table, int8, for groups [N, size]."""
        lo, hi = seen = kernels.minmax(groups, None, num_threads=num_threads)
        signed = self.scale_rule == "signed_max"
        if not (lo.any() or hi.any()):
            evenly: Array = np.linspace(-_MOST, _MOST, self.size).round().astype(np.int8)
            return evenly
        table = self._first(groups, importance, np.where(hi > -lo, hi, lo), num_threads)
        for _ in range(_ROUNDS):
            values = table.astype(np.float32)
            base = kernels.table_quantize(groups, values, rule=self.scale_rule).scale
            view = Groups(groups, importance, values, None, num_threads)
            scale = best_scales(view, base, seen, signed=signed, scales="float32", factors=_FACTORS)
            table = _fitted(table, view, scale)
        learned: Array = np.rint(table * _MOST).astype(np.int8)
        return learned

    def _first(self, x: Array, w: Array | None, most: Array, num_threads: int | None) -> Array:
        """A table to begin with: that of usual weights, or exact k-means of x/most."""
        if self.bits == 4 and self.scale_rule == "signed_max":
            return np.array(_USUAL) / _MOST
        most = np.abs(most) if self.scale_rule == "absmax" else most
        exponent = int(np.frexp(np.abs(most).max())[1])
        with np.errstate(all="ignore"):
            q = np.where(most == 0, 0, x / most)
            weights = np.ldexp(most.astype(np.float64), -exponent) ** 2 * (1 if w is None else w)
        weights = np.broadcast_to(weights, x.shape)
        found = centroids(q.astype(np.float32), self.size, weights, num_threads=num_threads)
        return _normal(found)


def _fitted(table: Array, groups: Groups, scale: Array) -> Array:
    """The values of least error for the codes that this table and these scales give."""
    codes = kernels.table_encode(groups.x, groups.values, scale, num_threads=groups.num_threads)
    exponent = -int(np.frexp(np.abs(scale).max())[1])  # that of the table stays as it is
    s, x = (np.ldexp(a.astype(np.float64), exponent) for a in (scale, groups.x))
    w = s if groups.importance is None else s * groups.importance
    flat, count = codes.reshape(-1), len(table)
    cross = np.bincount(flat, (w * x).reshape(-1), count)
    square = np.bincount(flat, np.broadcast_to(w * s, codes.shape).reshape(-1), count)
    return _normal(np.divide(cross, square, out=table.copy(), where=square > 0))


def _normal(table: Array) -> Array:
    """The table whose value of largest magnitude is 1 or −1."""
    most = np.abs(table).max()
    normal: Array = table / most if most > 0 else table
    return normal


def _values(table: Array) -> Array:
    values: Array = table.astype(np.float32) / np.float32(_MOST)
    return values
