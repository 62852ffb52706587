# SPDX-License-Identifier: MIT
"""A scheme around a scheme: a few large weights kept as they are, beside a low-bit rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields, replace
from fractions import Fraction
from math import prod
from operator import index
from typing import Any

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array, dtype
from bitmill.grid import rows_of
from bitmill.schemes import outlier_threshold
from bitmill.schemes.base import Cut, Encoded, Field, Held, Scheme, register, total
from bitmill.schemes.outlier_loss import by_loss
from bitmill.schemes.outlier_options import check_options
from bitmill.schemes.outlier_ranks import largest
from bitmill.schemes.outlier_rest import (
    excludes_zero,
    kept_of,
    learns_values,
    put_back,
    rest_of,
    weights_of,
)
from bitmill.schemes.outlier_room import STEPS, VALUES, Room, room_for

_SHORT = {"float16": "f16", "bfloat16": "bf16", "float32": "f32"}
_COMPARING = 1 << 23
"""Bytes that the comparison of blocks of values takes."""


@register
@dataclass(frozen=True)
class Outliers:
    """A few weights kept in float16 beside a rest that `inner` quantizes without seeing them.

    `inner` finds a 0 in place of each weight that is kept, or with `offset=True` the least value
    that is left in its group, so that no range is wider for it; a scheme that learns its values
    (`KMeans`, and `LearnedTable` with its searched scales) learns nothing from these places. A clip
    by statistics counts them as it finds them. Dequantizing writes the kept ones back in one pass
    over them.

    Parameters
    ----------
    inner
        Any scheme but another `Outliers`.
    fraction
        The part of the weights that is kept, those of largest magnitude (of equal ones the first),
        rounded half to even: 0.001 of 2,500 are 2.
    threshold
        In place of a fraction: a magnitude, above which weights are kept; "percentile:99.9" of the
        magnitudes; or "mad:6": weights more than 6 standard deviations from the median, by the
        median absolute deviation. How many these are, the data tell: then the scheme of the QTensor
        has `count`, and no checkpoint can be planned with it.
    budget_bits
        In place of a fraction: bits per weight, all included, of which the inner scheme leaves some
        for outliers: as many as fit.
    count
        In place of a fraction: how many.
    mode
        "element", or "column": all counts are of whole columns (along the last axis), which are
        ranked by their largest magnitude; without a count their threshold is 6.0. LLM.int8() does
        so with activations.
    by
        "magnitude", or "loss": those that remove the most squared error from the tensor, weighed by
        importance if there is one, by trials with more and more of the largest of each row:
        2·log2(columns) quantizations and a few. It is never worse, and the same where rows share
        scales.
    per
        "tensor", or "row": all counts and the budget are of each row, which can then be quantized
        without the others.
    values
        What stores the kept weights, rounded once: "float16", "bfloat16" or "float32".

    Their arrays are `outlier_values`, by place in C order, and `outlier_steps`: the gaps between
    their places along the tensor (with `per="row"` along each row; columns: those of one row), one
    byte each, where 255 stands for 255 places without an outlier; two bytes where that is less. The
    room for steps is what the worst data need: 0.031 bits per weight beside a byte per outlier.

    With `per="row"` these are the rows of a CSR matrix whose row pointers are known, for each row
    has as many. Elsewhere there are no row pointers: at two bytes a row of 384 they would take more
    than the room for steps does, and a tensor whose largest weights are kept is not read in parts;
    who wants its rows from one on sums up the steps before, a byte for each outlier.

    Raises ValueError for values out of range, for options that exclude each other, and in
    `quantize` for an outlier that overflows `values`; TypeError for values of a wrong type.

    >>> import bitmill as bm, numpy as np
    >>> scheme = bm.Outliers(bm.Affine(4), fraction=0.25)
    >>> q = bm.quantize(np.float32([[7, 1000.5, -3, 2]]), scheme)
    >>> q.dequantize()
    array([[   7. , 1000.5,   -3. ,    2. ]], dtype=float32)
    >>> [(field.name, field.shape) for field in scheme.layout((1, 4))]
    [('packed', (1, 1)), ('scale', (1, 1)), ('outlier_values', (1,)), ('outlier_steps', (1,))]
    """

    inner: Scheme
    fraction: float | None = None
    _: KW_ONLY
    threshold: float | str | None = None
    budget_bits: float | None = None
    count: int | None = None
    mode: str = "element"
    by: str = "magnitude"
    per: str = "tensor"
    values: str = "float16"

    def __post_init__(self) -> None:
        check_options(self)

    # What the options mean

    def layout(self, shape: tuple[int, ...]) -> list[Field]:
        """The arrays of the inner scheme, values and steps: the one source of sizes.

        Raises ValueError with a threshold, and where the shape has no room for count or budget.
        """
        shape = tuple(map(index, shape))
        room, count = self._room(shape), self._count(shape)
        return [*self.inner.layout(shape), *room.fields(count, self.values)]

    @property
    def takes_importance(self) -> bool:
        """Whether `quantize` takes `importance`: if the inner scheme does."""
        return self.inner.takes_importance

    def scratch(self, shape: tuple[int, ...], *, weighed: bool = False) -> int:
        """Bytes of memory, about, that `quantize` takes beside its input and its arrays, `weighed`
        by an importance of each column."""
        size = prod(shape)
        kept = 0 if self.threshold is not None else self._count(shape) * prod(self._ranges(shape))
        tried = 0
        if self.by == "loss":  # ranks of all weights, a reconstruction, and places of most of them
            tried = (48 if excludes_zero(self.inner) else 24) * size
        learns = learns_values(self.inner)  # by an importance of each weight
        inner = self.inner.scratch(shape, weighed=weighed or learns) + 4 * size * learns
        return inner + 4 * size + 64 * kept + tried + min(_COMPARING, 32 * size)

    def with_scales(self, scales: str) -> Outliers:
        """The same with scales and offsets of the inner scheme stored in another dtype."""
        return replace(self, inner=self.inner.with_scales(scales))

    def describe(self) -> str:
        """A few words for tables.

        >>> import bitmill as bm
        >>> Outliers(bm.Affine(4, group_size=128), 0.001).describe()
        'int4 sym g128 + 0.1% f16'
        """
        what = f"{self.count}"
        if self.fraction is not None:
            what = f"{100 * self.fraction:.6g}%"
        elif self.threshold is not None:
            what = self.threshold if isinstance(self.threshold, str) else f">{self.threshold:g}"
        elif self.budget_bits is not None:
            what = f"to {self.budget_bits:g} bits"
        columns = " columns" if self.mode == "column" else ""
        return f"{self.inner.describe()} + {what}{columns} {_SHORT[self.values]}"

    def to_dict(self) -> dict[str, Any]:
        """The options that differ from the defaults, under the scheme's name.

        >>> import bitmill as bm
        >>> Outliers(bm.Affine(4), 0.001).to_dict()
        {'scheme': 'Outliers', 'inner': {'scheme': 'Affine', 'bits': 4}, 'fraction': 0.001}
        """
        said = {"scheme": "Outliers", "inner": self.inner.to_dict()}
        for option in fields(self)[1:]:
            value = getattr(self, option.name)
            if value != option.default:
                said[option.name] = value
        return said

    # What the scheme does

    def cut(self, shape: tuple[int, ...]) -> Cut:
        """Nowhere, for the largest are those of the whole tensor; with as many in each row, where
        the inner scheme can be cut and no row is.

        >>> import bitmill as bm
        >>> Outliers(bm.Affine(4), 0.01, per="row").cut((64, 32))
        Cut(axis=0, shared=False)
        """
        axis, shared = self.inner.cut(shape)
        if axis is None or self.per != "row" or self.budget_bits is not None:
            return Cut(None)
        if shared and excludes_zero(self.inner):  # what is left in a group lies in several pieces
            return Cut(None)
        return Cut(min(axis, len(shape) - 2), shared)

    def scan(self, x: Array, *, num_threads: int | None = None) -> Any:
        """What the inner scheme must know of the rest. Raises ValueError for NaN and infinity."""
        places = self._room(x.shape).places(self._positions(x, None, num_threads))
        return self.inner.scan(rest_of(x, places, self.inner), num_threads=num_threads)

    def merge(self, seen: Any, more: Any) -> Any:
        """As the inner scheme does."""
        return self.inner.merge(seen, more)

    def quantize(
        self,
        x: Array,
        seen: Any = None,
        *,
        importance: Array | None = None,
        num_threads: int | None = None,
    ) -> Encoded:
        """Keep the outliers, and let the inner scheme quantize the rest."""
        room = self._room(x.shape)
        positions = self._positions(x, importance, num_threads)
        places = room.places(positions)
        made = self._rest(x, places, seen, importance, num_threads)
        values = kept_of(x, places, self.values).reshape(*room.ranges, positions.shape[1])
        arrays = {**made.arrays, VALUES: values, STEPS: room.store(positions)}
        return Encoded(arrays, made.health, self._known(made.scheme, positions.shape[1]))

    def decode(
        self,
        arrays: Mapping[str, Array],
        shape: tuple[int, ...],
        dtype_name: str,
        *,
        out: Array | None = None,
        num_threads: int | None = None,
    ) -> Array:
        """The values, rounded once to `dtype_name`: those of the rest, and then the outliers."""
        out = _check.output(out, shape, dtype(dtype_name), *arrays.values())
        self.inner.decode(arrays, shape, dtype_name, out=out, num_threads=num_threads)
        put_back(out, self.places(arrays, shape), arrays[VALUES])
        return out

    def places(self, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
        """Where the kept weights lie in the tensor, laid flat: int64, in the order of their values.

        Raises ValueError for steps that do not fit.
        """
        room = self._room(shape)
        return room.places(room.read(arrays[STEPS], arrays[VALUES].shape[-1]))

    def params(self, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> Held:
        """Scale, and zero-point or offset where there is one, of the rest."""
        return self.inner.params(arrays, shape)

    def codes(self, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
        """The integer codes of the rest, unpacked."""
        return self.inner.codes(arrays, shape)

    def health(
        self,
        x: Array,
        arrays: Mapping[str, Array],
        seen: Any = None,
        *,
        is_first: bool = True,
        fitted: bool = False,
        num_threads: int | None = None,
    ) -> dict[str, int]:
        """Counts of what deserves a look in the rest."""
        return self.inner.health(
            rest_of(x, self.places(arrays, x.shape), self.inner),
            arrays,
            seen,
            is_first=is_first,
            fitted=fitted,
            num_threads=num_threads,
        )

    def _rest(
        self, x: Array, places: Array, seen: Any, importance: Array | None, num_threads: int | None
    ) -> Encoded:
        """What the inner scheme makes of all but what lies at these places."""
        weights = weights_of(importance, places, self.inner, x.shape)
        rest = rest_of(x, places, self.inner)
        return self.inner.quantize(rest, seen, importance=weights, num_threads=num_threads)

    # How many, and which

    def _room(self, shape: tuple[int, ...]) -> Room:
        return room_for(shape, self.mode, self.per)

    def _ranges(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._room(shape).ranges

    def _count(self, shape: tuple[int, ...]) -> int:
        """How many of each range are kept."""
        room = self._room(shape)
        if self.fraction is not None:
            return room.share(self.fraction)
        if self.budget_bits is not None:
            return self._affordable(room, shape, self.budget_bits)
        if self.count is None:
            raise ValueError(
                f"threshold={self.threshold!r}: how much is kept depends on the data; say it by "
                "fraction, budget_bits or count"
            )
        if self.count > room.length:
            unit = "columns" if self.mode == "column" else "values"
            raise ValueError(f"count={self.count} is more than {room.length} {unit} of {shape}")
        return self.count

    def _affordable(self, room: Room, shape: tuple[int, ...], bits: float) -> int:
        """How many a budget of bits per weight leaves room for."""
        size, taken = prod(shape), total(self.inner.layout(shape))
        count = room.most(self.values, Fraction(str(bits)) * size / 8 - taken) if size else 0
        if count is None:
            raise ValueError(
                f"budget_bits={bits} is less than the {8 * taken / size:.6g} bits per weight that "
                f"{self.inner.describe()} takes of a shape of {shape}"
            )
        return count

    def _positions(self, x: Array, importance: Array | None, num_threads: int | None) -> Array:
        """Which positions of each range are kept, ascending: int64 [ranges or 1, n]."""
        room = self._room(x.shape)
        ranked = room.view(x)
        if self.mode == "column":
            ranked = _column_magnitudes(x, num_threads)
        if self.threshold is not None:
            limit = outlier_threshold.parse(self.threshold)
            return limit.positions(ranked[0], num_threads=num_threads)[np.newaxis]
        count = self._count(x.shape)
        if self.by == "loss" and 0 < count < room.length and self._has_own_rows(x.shape):
            return self._by_loss(x, count, importance, num_threads)[np.newaxis]
        return largest(ranked, count, num_threads=num_threads)

    def _has_own_rows(self, shape: tuple[int, ...]) -> bool:
        """Whether no two rows share parameters."""
        return self.inner.cut(shape) == Cut(len(shape) - 2)

    def _by_loss(
        self, x: Array, count: int, importance: Array | None, num_threads: int | None
    ) -> Array:
        given = rows_of(x)
        if not np.isfinite(kernels.absmax(given, num_threads=num_threads)).all():
            raise _check.nonfinite_error(x)

        def errors(places: Array) -> Array:
            made = self._rest(x, places, None, importance, num_threads)
            found = self.inner.decode(made.arrays, x.shape, "float32", num_threads=num_threads)
            put_back(found, places, kept_of(x, places, self.values))
            if importance is None:
                return kernels.error_sums(given, rows_of(found), num_threads=num_threads).dd
            weights = importance.reshape(-1, given.shape[1])
            return kernels.weighed_error(given, rows_of(found), weights, num_threads=num_threads)

        return by_loss(given, count, errors)

    def _known(self, inner: Scheme | None, count: int) -> Outliers | None:
        """The scheme that has the layout of what was made, if that is another."""
        if self.threshold is not None:
            return replace(self, inner=inner or self.inner, threshold=None, count=count)
        return None if inner is None else replace(self, inner=inner)


def _column_magnitudes(x: Array, num_threads: int | None) -> Array:
    """The largest magnitude in each column, float32 [1, C]. ValueError for NaN and infinity."""
    if x.size == 0:
        return np.zeros((1, x.shape[-1]), np.float32)
    found = kernels.column_absmax(rows_of(x), num_threads=num_threads)
    if not np.isfinite(found).all():
        raise _check.nonfinite_error(x)
    return found.reshape(1, -1)
