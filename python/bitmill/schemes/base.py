# SPDX-License-Identifier: MIT
"""What every scheme offers; nothing above asks which one it holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from bitmill._dtypes import Array, dtype


class Field(NamedTuple):
    """One array of a quantized tensor: its name, dtype name and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def total(fields: Iterable[Field]) -> int:
    """Bytes of arrays of these dtypes and shapes.

    >>> total([Field("codes", "int8", (2, 8)), Field("scale", "bfloat16", (2, 1))])
    20
    """
    return sum(math.prod(field.shape) * dtype(field.dtype).itemsize for field in fields)


class Cut(NamedTuple):
    """How a tensor can be quantized in pieces: ranges of indices along one axis.

    The arrays of the pieces, one after the other along that axis, are those of the whole.
    """

    axis: int | None
    """The innermost axis that may be cut (then any axis before it may be); None if none may."""
    shared: bool = False
    """Whether values of several pieces share parameters: then all must be seen by `scan` first."""


class Encoded(NamedTuple):
    """The arrays of a quantized tensor, named as in `layout`, and counts of what happened."""

    arrays: dict[str, Array]
    health: dict[str, int]
    scheme: Scheme | None = None
    """The scheme that has the layout of these arrays, where data decide it and it is another."""


Held = tuple[Array | None, Array | None, Array | None]
"""Scale, zero_point, offset of a tensor; codebooks have none of them."""


class Scheme(Protocol):
    """A way to quantize tensors."""

    def layout(self, shape: tuple[int, ...]) -> list[Field]:
        """The arrays that a tensor of this shape takes: the one source of sizes."""

    @property
    def takes_importance(self) -> bool:
        """Whether `quantize` takes `importance`."""

    def scratch(self, shape: tuple[int, ...], *, weighed: bool = False) -> int:
        """Bytes of memory, about, that `quantize` takes beside its input and its arrays, `weighed`
        by an importance of each column."""

    def cut(self, shape: tuple[int, ...]) -> Cut:
        """Where a tensor of this shape may be cut."""

    def scan(self, x: Array, *, num_threads: int | None = None) -> Any:
        """What the parameters depend on, of a piece `x`. Raises ValueError for NaN and infinity."""

    def merge(self, seen: Any, more: Any) -> Any:
        """What `scan` would tell of two pieces as one; `seen` is None before the first."""

    def quantize(
        self,
        x: Array,
        seen: Any = None,
        *,
        importance: Array | None = None,
        num_threads: int | None = None,
    ) -> Encoded:
        """Fit and encode `x`, a C-contiguous float array, or the piece of one that was scanned.

        `importance`, float32 from 0 to 1 of the shape of `x` or of its last axis, weighs squared
        errors; ValueError if the scheme cannot take it.
        """

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

    def params(self, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> Held:
        """Scale, zero-point and offset, those that there are.

        Scales are in real units per code; those of a table, per unit of its values.
        """

    def codes(self, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
        """The integer codes, unpacked."""

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
        """Counts of what deserves a look in the finished tensor, beside those of `quantize`.

        Of a piece that was scanned (`seen`) what it shares with others counts in the first alone.
        `fitted` says that the arrays are those of `quantize`, which may spare a look at the values.
        """

    def with_scales(self, scales: str) -> Scheme:
        """The same scheme with scales stored in another dtype."""

    def describe(self) -> str:
        """A few words for tables: "int4 sym g128"."""

    def to_dict(self) -> dict[str, Any]:
        """The scheme as JSON can hold it; `from_dict` reads it back."""


@runtime_checkable
class WithRowErrors(Protocol):
    """A scheme that can tell what it loses without making codes."""

    def row_errors(self, x: Array, *, num_threads: int | None = None) -> Array | None:
        """Σ(x − x̂)² over each row of `x`, float64: just what `quantize` and `decode` would give.

        None if they must be asked. Raises ValueError as `quantize` does.
        """


_KINDS: dict[str, type[Scheme]] = {}
S = TypeVar("S", bound=type[Any])


def register(cls: S) -> S:
    """Make a scheme class known to `from_dict`, under its own name."""
    _KINDS[cls.__name__] = cls
    return cls


def from_dict(given: Mapping[str, Any]) -> Scheme:
    """The scheme that `to_dict` described; ValueError if it describes none.

    >>> from_dict({"scheme": "Affine", "bits": 4}).describe()
    'int4 sym row'
    """
    arguments = dict(given)
    name = arguments.pop("scheme", None)
    if not isinstance(name, str) or name not in _KINDS:
        raise ValueError(f"scheme={name!r} is not one of: {', '.join(sorted(_KINDS))}")
    try:
        return _KINDS[name](**arguments)
    except TypeError as error:
        raise ValueError(f"scheme {name} cannot be made from {arguments}: {error}") from None
