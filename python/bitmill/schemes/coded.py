# SPDX-License-Identifier: MIT
"""Unsigned codes of 1 to 8 bits, and options as they are written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from bitmill import layouts
from bitmill._dtypes import Array
from bitmill._sizes import word_count
from bitmill.schemes.base import Field
from bitmill.schemes.scales import Scales


@dataclass(frozen=True, repr=False)
class Coded:
    """A scheme whose codes are packed below 8 bits."""

    positional: ClassVar[tuple[str, ...]] = ()
    """Options that are given without their names, in order."""

    @property
    def code_bits(self) -> int:
        """Width of a code."""
        raise NotImplementedError

    @property
    def packed_bits(self) -> int | None:
        """Width of the fields in packed words; None at 8 bits, which are not packed."""
        return self.code_bits if self.code_bits < 8 else None

    def code_field(self, shape: tuple[int, ...]) -> Field:
        """The array that holds the codes of a tensor of this shape."""
        if self.packed_bits is None:
            return Field("codes", "uint8", shape)
        return Field("packed", "uint32", (*shape[:-1], word_count(shape[-1], self.packed_bits)))

    def words(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """What `kernels.table_decode` must know of packed words."""
        return {} if self.packed_bits is None else {"bits": self.code_bits, "length": shape[-1]}

    def codes(
        self,
        arrays: Mapping[str, Array],
        shape: tuple[int, ...],
        *,
        num_threads: int | None = None,
    ) -> Array:
        """The codes, uint8: those held, or unpacked ones."""
        if self.packed_bits is None:
            return arrays["codes"]
        return layouts.unpack(
            arrays["packed"], self.code_bits, shape[-1], signed=False, num_threads=num_threads
        )

    def to_dict(self) -> dict[str, Any]:
        """The options that differ from the defaults, under the scheme's name."""
        given: dict[str, Any] = {"scheme": type(self).__name__}
        for name, value in self._given().items():
            if isinstance(value, Scales):
                value = value.to_dict()
            given[name] = list(value) if isinstance(value, tuple) else value
        return given

    def __repr__(self) -> str:
        options = [f"{name}={value!r}" for name, value in self._given().items()]
        return f"{type(self).__name__}({', '.join(options)})"

    def _given(self) -> dict[str, Any]:
        """The options that differ from the defaults; those without one always."""
        ordered = sorted(fields(self), key=lambda f: f.name not in self.positional)
        values = {f.name: (getattr(self, f.name), f.default) for f in ordered}
        return {
            name: value
            for name, (value, default) in values.items()
            if default is MISSING or value != default
        }
