# SPDX-License-Identifier: MIT
"""What every storage format offers, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from bitmill._dtypes import Array
from bitmill.formats.layer import LayerScheme
from bitmill.qtensor import QTensor
from bitmill.schemes import Field, Scheme


class Weight(NamedTuple):
    """A quantized weight as a configuration describes it; `dtype` is that of the original."""

    layer: LayerScheme
    shape: tuple[int, ...]
    dtype: str


class Format(Protocol):
    """A module with these functions: how one weight is stored. That of module `M` lies in `M.*`."""

    def why_not(self, scheme: object, shape: tuple[int, ...]) -> str | None:
        """Why the format cannot hold a weight of this shape under this scheme; None if it can."""

    def tensors(self, scheme: Scheme, shape: tuple[int, ...]) -> list[Field]:
        """Name (behind `M.`), dtype and shape of every tensor that stands for the weight."""

    def nbytes(self, scheme: Scheme, shape: tuple[int, ...]) -> int:
        """Bytes of these tensors."""

    def encode(self, q: QTensor, shape: tuple[int, ...] | None = None) -> dict[str, Array]:
        """The arrays that `tensors` lists; `q` may be a piece of a weight that has this `shape`."""

    def row_step(self, scheme: Scheme) -> int:
        """Pieces that are rows of a matrix begin at multiples of so many."""

    def decode(
        self,
        arrays: Mapping[str, Array],
        described: Mapping[str, Any],
        *,
        dtype_name: str | None = None,
    ) -> QTensor:
        """The inverse of `encode`; `described` is what the configuration says about the weight.

        `dtype_name` is the dtype that the weight had, where the description does not tell.
        """

    def fields(self, described: Mapping[str, Any]) -> tuple[str, ...]:
        """The names (behind `M.`) of what may stand for a weight that is described so."""

    def scheme_of(self, described: Mapping[str, Any], dtypes: Mapping[str, str | None]) -> Scheme:
        """The scheme, by the description and the dtypes of the fields; ValueError if unclear."""

    def shape_of(
        self,
        described: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
        read: Callable[[str], Array],
    ) -> tuple[int, ...] | None:
        """The shape, by the description, the shapes of the fields, or a small field's content."""


class Method(Protocol):
    """A module with these functions: how a config.json tells of quantized weights."""

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

    def notes(self, weights: Mapping[str, Weight], kept: Sequence[str] = ()) -> list[str]:
        """What to know about the runtimes before such weights are handed to them.

        `kept` are the modules that are not quantized.
        """


def held(arrays: Mapping[str, Array], name: str) -> Array:
    """The array of this name; ValueError if it is missing."""
    if name not in arrays:
        raise ValueError(f"{name} is missing; found {', '.join(arrays) or 'nothing'}")
    return arrays[name]
