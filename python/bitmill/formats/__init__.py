# SPDX-License-Identifier: MIT
"""Storage formats, one module each: all offer what `Format` lists, and FORMATS names them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from bitmill._dtypes import Array, dtype
from bitmill.qtensor import QTensor
from bitmill.schemes import Field, Scheme

FORMATS = ("compressed_tensors", "native")
"""The modules of this package that are formats."""


class Weight(NamedTuple):
    """A quantized weight as a configuration describes it; `dtype` is that of the original."""

    scheme: Scheme
    shape: tuple[int, ...]
    dtype: str


class Format(Protocol):
    """A format is a module with these functions. A weight of module `M` lies in tensors `M.*`."""

    def why_not(self, scheme: object, shape: tuple[int, ...]) -> str | None:
        """Why the format cannot hold a weight of this shape under this scheme; None if it can."""

    def tensors(self, scheme: Scheme, shape: tuple[int, ...]) -> list[Field]:
        """Name (behind `M.`), dtype and shape of every tensor that stands for the weight."""

    def nbytes(self, scheme: Scheme, shape: tuple[int, ...]) -> int:
        """Bytes of these tensors."""

    def encode(self, q: QTensor) -> dict[str, Array]:
        """The arrays that `tensors` lists."""

    def decode(
        self,
        arrays: Mapping[str, Array],
        described: Mapping[str, Any],
        *,
        dtype_name: str | None = None,
    ) -> QTensor:
        """The inverse of `encode`; `described` is what `config` says about the weight."""

    def config(
        self,
        weights: Mapping[str, Weight],
        *,
        linear: Collection[str] = (),
        ignore: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The `quantization_config` for these modules.

        `linear` names those that loaders are sure to see as class `Linear`, `ignore` modules that
        might be taken for quantized ones and are not.
        """

    def notes(self, scheme: Scheme) -> list[str]:
        """What to know about the runtimes before such weights are handed to them."""


def total(fields: Iterable[Field]) -> int:
    """Bytes of arrays of these dtypes and shapes.

    >>> total([Field("codes", "int8", (2, 8)), Field("scale", "bfloat16", (2, 1))])
    20
    """
    return sum(math.prod(field.shape) * dtype(field.dtype).itemsize for field in fields)
