# SPDX-License-Identifier: MIT
"""Codebooks of k-means, without scales: for a tensor, or for each few of its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from operator import index
from typing import Any, ClassVar

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import STORAGES, Array, dtype
from bitmill._results import Range
from bitmill.grid import View, rows_of
from bitmill.grid import view as view_of
from bitmill.kmeans import centroids, row_centroids
from bitmill.schemes.base import Cut, Encoded, Field, Held, register
from bitmill.schemes.coded import Coded
from bitmill.schemes.ranged import Ranged


@register
@dataclass(frozen=True, repr=False)
class KMeans(Coded, Ranged):
    """x̂ = codebook[code]: 2^bits values by exact k-means, no scales.

    The values are those of least Σw·(x − x̂)², w being the importance, for the tensor or for each
    few of its rows (`bm.kmeans1d` says how they are found); each weight gets the nearest value as
    it is stored, or the lower of two that are equally near.

    Parameters
    ----------
    bits
        Width of a code, 1 to 8.
    per
        "tensor": one codebook; "row": one for every `rows_per_codebook` rows.
    rows_per_codebook
        With per="row". A codebook of 16 float32 values takes 512 bits.
    pin_zero
        One of the values is 0, so that zeros stay zeros.
    values
        Storage dtype of codebooks: "float32", "float16" or "bfloat16".

    Raises ValueError for values out of range and for options that exclude each other, TypeError for
    values of a wrong type.

    >>> import bitmill as bm, numpy as np
    >>> q = bm.quantize(np.float32([[1, 2, 9, 11, 1.5]]), bm.KMeans(1))
    >>> q.codes, q.arrays["codebook"], q.scale
    (array([[0, 0, 1, 1, 0]], dtype=uint8), array([[ 1.5, 10. ]], dtype=float32), None)
    """

    bits: int = 4
    per: str = "tensor"
    _: KW_ONLY
    rows_per_codebook: int = 1
    pin_zero: bool = False
    values: str = "float32"

    positional: ClassVar[tuple[str, ...]] = ("bits", "per")

    def __post_init__(self) -> None:
        def settle(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        settle("bits", _check.integer(self.bits, "bits", low=1, high=8))
        _check.choice(self.per, "per", ("tensor", "row"))
        rows = _check.integer(self.rows_per_codebook, "rows_per_codebook", low=1, high=1 << 40)
        settle("rows_per_codebook", rows)
        settle("pin_zero", _check.flag(self.pin_zero, "pin_zero"))
        _check.choice(self.values, "values", STORAGES)
        if self.per == "tensor" and rows != 1:
            raise ValueError(f"rows_per_codebook={rows} goes with per='row'")

    @property
    def code_bits(self) -> int:
        """Width of a code."""
        return self.bits

    def layout(self, shape: tuple[int, ...]) -> list[Field]:
        """The arrays that a tensor of this shape takes: the one source of sizes."""
        shape = tuple(map(index, shape))
        if self.per == "row" and self.rows_per_codebook == 1:
            books = shape[:-1]
        else:
            books = (self._codebooks(math.prod(shape[:-1])),)
        return [self.code_field(shape), Field("codebook", self.values, (*books, 1 << self.bits))]

    @property
    def takes_importance(self) -> bool:
        """Whether `quantize` takes `importance`: it does."""
        return True

    def scratch(self, shape: tuple[int, ...], *, weighed: bool = False) -> int:
        """Bytes of memory, about, that `quantize` takes beside its input and its arrays, `weighed`
        by an importance of each column."""
        together = math.prod(shape) if self.per == "tensor" else min(math.prod(shape), 1 << 21)
        return (48 << 20) + 24 * together + 4 * math.prod(shape) * weighed

    def cut(self, shape: tuple[int, ...]) -> Cut:
        """Between rows, if each has a codebook of its own."""
        alone = self.per == "row" and self.rows_per_codebook == 1 and len(shape) > 1
        return Cut(len(shape) - 2 if alone else None)

    def view(self, shape: tuple[int, ...]) -> View:
        """Rows, by which NaN and infinity are found."""
        return view_of(shape, "row", None)

    def quantize(
        self,
        x: Array,
        seen: Range | None = None,
        *,
        importance: Array | None = None,
        num_threads: int | None = None,
    ) -> Encoded:
        """Codebooks and codes."""
        matrix = rows_of(x)
        books = self._fit(matrix, importance, num_threads)
        rows_per_table = None if self.per == "tensor" else self.rows_per_codebook
        codes = kernels.table_encode(
            matrix, books.astype(np.float32), rows_per_table=rows_per_table,
            bits=self.packed_bits, num_threads=num_threads,
        )  # fmt: skip
        made = {self.code_field(x.shape).name: codes, "codebook": books}
        return Encoded({f.name: made[f.name].reshape(f.shape) for f in self.layout(x.shape)}, {})

    def _fit(self, matrix: Array, importance: Array | None, num_threads: int | None) -> Array:
        """Codebooks [T, 2^bits], in ascending order, as they are stored."""
        count = 1 << self.bits
        if matrix.size == 0:
            return np.zeros((self._codebooks(len(matrix)), count), dtype(self.values))
        if importance is not None and importance.ndim > 1:
            importance = rows_of(importance)
        options: dict[str, Any] = {"pin_zero": self.pin_zero, "num_threads": num_threads}
        if self.per == "tensor":
            found = centroids(matrix, count, importance, **options)[np.newaxis]
        else:
            options["rows_per_codebook"] = self.rows_per_codebook
            found = row_centroids(matrix, count, importance, **options)
        with np.errstate(over="ignore", under="ignore"):
            stored = kernels.from_float32(found.astype(np.float32), self.values)
        if not np.isfinite(stored.astype(np.float32)).all():
            raise ValueError(
                f"x: a value of a codebook overflows {self.values}: use values='float32'"
            )
        stored[stored == 0] = 0  # what underflowed from below is -0.0
        return stored

    def decode(
        self,
        arrays: Mapping[str, Array],
        shape: tuple[int, ...],
        dtype_name: str,
        *,
        out: Array | None = None,
        num_threads: int | None = None,
    ) -> Array:
        """The values, rounded once to `dtype_name`."""
        out = _check.output(out, shape, dtype(dtype_name), *arrays.values())
        if out.size:
            kernels.table_decode(
                rows_of(arrays[self.code_field(shape).name]),
                rows_of(arrays["codebook"]).astype(np.float32),
                rows_per_table=None if self.per == "tensor" else self.rows_per_codebook,
                dtype_name=dtype_name, out=rows_of(out), num_threads=num_threads,
                **self.words(shape),
            )  # fmt: skip
        return out

    def params(self, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> Held:
        """None of them: the values are those of the codebook."""
        return None, None, None

    def health(
        self,
        x: Array,
        arrays: Mapping[str, Array],
        seen: Range | None = None,
        *,
        is_first: bool = True,
        fitted: bool = False,
        num_threads: int | None = None,
    ) -> dict[str, int]:
        """Nothing: no group is special, no value is beyond the last code."""
        return {}

    def with_scales(self, scales: str) -> KMeans:
        """The same scheme: there are no scales."""
        return self

    def describe(self) -> str:
        """A few words for tables.

        >>> KMeans(4, "row", rows_per_codebook=8).describe()
        'kmeans4 8 rows'
        """
        rows = "row" if self.rows_per_codebook == 1 else f"{self.rows_per_codebook} rows"
        return f"kmeans{self.bits} {'tensor' if self.per == 'tensor' else rows}"

    def _codebooks(self, rows: int) -> int:
        return 1 if self.per == "tensor" else -(-rows // self.rows_per_codebook)
