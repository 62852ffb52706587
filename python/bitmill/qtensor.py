# SPDX-License-Identifier: MIT
"""A quantized tensor: a scheme, the logical shape and dtype, and named arrays."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, field
from typing import Any

from bitmill import _check
from bitmill._dtypes import Array
from bitmill._floats import default_floats
from bitmill._threads import resolve
from bitmill.schemes import Scheme
from bitmill.schemes.base import Held


@dataclass(frozen=True, eq=False, repr=False)
class QTensor:
    """A tensor as `bitmill.quantize` returns it.

    `arrays` are those of `scheme.layout(shape)`; `dtype` is the name of the input's dtype; `health`
    counts what happened on the way ("underflowed": scales raised to the smallest positive value;
    "unclipped": groups whose clip left no range, which have the full one), and is empty where
    nothing did. Raises ValueError for arrays that are not those of the layout.

    `np.asarray(q)` is `q.dequantize()`: float32.
    """

    scheme: Scheme
    shape: tuple[int, ...]
    dtype: str
    arrays: dict[str, Array]
    health: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check.scheme(self.scheme)
        object.__setattr__(self, "shape", _check.shape(self.shape))
        object.__setattr__(self, "dtype", _check.float_dtype(self.dtype))
        layout = self.scheme.layout(self.shape)
        names = [wanted.name for wanted in layout]
        if sorted(self.arrays) != sorted(names):
            raise ValueError(f"arrays are {', '.join(self.arrays)}; wanted {', '.join(names)}")
        for wanted in layout:
            _check.held(self.arrays[wanted.name], *wanted)

    @property
    def codes(self) -> Array:
        """The codes as integers, in the shape of the tensor."""
        return self.scheme.codes(self.arrays, self.shape)

    @property
    def packed(self) -> Array:
        """The codes as they are stored: uint32 words below 8 bits, else integers."""
        return self.arrays["packed" if "packed" in self.arrays else "codes"]

    @property
    def scale(self) -> Array | None:
        """Real units per code, or per unit of a table's values; None where the scheme has none.

        In the dtype they are stored in; float32 where codes stand for them.
        """
        return self._params()[0]

    @property
    def zero_point(self) -> Array | None:
        """The code of 0.0 in each group; None where the scheme has none."""
        return self._params()[1]

    @property
    def offset(self) -> Array | None:
        """The value of code 0 in each group; None where the scheme has none."""
        return self._params()[2]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays: codes, scales, zero-points, offsets and padding."""
        return sum(array.nbytes for array in self.arrays.values())

    def bits_per_weight(self, format: str | None = None) -> float:
        """8·bytes/size of what is held, or of what a file of this format would take.

        Raises ValueError for an unknown format, or one that cannot hold this tensor.
        """
        if format is None:
            count = self.nbytes
        else:
            # Formats lie above this module; they are looked up by name, when asked for.
            formats = importlib.import_module("bitmill.formats").FORMATS
            name = _check.choice(format, "format", formats)
            module = importlib.import_module(f"bitmill.formats.{name}")
            count = module.nbytes(self.scheme, self.shape)
        return 8 * count / self.size if self.size else 0.0

    @default_floats()
    def dequantize(
        self, *, dtype: str = "float32", out: Array | None = None, num_threads: int | None = None
    ) -> Array:
        """The values: see `bitmill.dequantize`."""
        name, threads = _check.float_dtype(dtype), resolve(num_threads)
        return self.scheme.decode(self.arrays, self.shape, name, out=out, num_threads=threads)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError(
                "a quantized tensor has no float array to share: copy=False is not met"
            )
        values = self.dequantize()
        return values if dtype is None else values.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return (
            f"QTensor({self.scheme.describe()}, shape={self.shape}, dtype={self.dtype}, "
            f"{self.bits_per_weight():.4g} bits per weight, {self.nbytes:,} bytes)"
        )

    @default_floats()
    def _params(self) -> Held:
        return self.scheme.params(self.arrays, self.shape)
