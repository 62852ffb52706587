# SPDX-License-Identifier: MIT
"""What every export format offers, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from bitmill._dtypes import Array
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.output import TensorFile
from bitmill.checkpoint.read import Checkpoint
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine, Field, Scheme


class Weight(NamedTuple):
    """A quantized weight to export, by the headers of its checkpoint."""

    scheme: Affine
    shape: tuple[int, ...]
    file: str
    """The name of the source's file in which it lies, or begins to."""


class Files(NamedTuple):
    """What the target will hold, but for copies: every size and place, before any data are read."""

    data: dict[str, TensorFile]
    texts: dict[str, bytes]
    """The files without which the folder is none: they get their names last."""
    notes: tuple[str, ...] = ()


class Exporter(Protocol):
    """A format: modules and objects with these functions. That of module `M` lies in `M.*`."""

    @property
    def copies(self) -> bool:
        """Whether what is not quantized goes along: other tensors, and files such as tokenizers."""

    def why_not(self, scheme: Scheme, shape: tuple[int, ...], module: str) -> str | None:
        """Why the format cannot hold just these values; None if it can."""

    def tensors(self, scheme: Affine, shape: tuple[int, ...]) -> list[Field]:
        """Name (behind `M.`), dtype and shape of every tensor that stands for the weight."""

    def encode(self, q: QTensor) -> dict[str, Array]:
        """The arrays that `tensors` lists; ValueError where values would change."""

    def files(
        self,
        source: Checkpoint,
        weights: Mapping[str, Weight],
        kept: Mapping[str, tuple[str, TensorInfo]],
    ) -> Files:
        """The target's files for these modules; `kept` tells file and place of other tensors."""
