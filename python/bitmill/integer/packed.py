# SPDX-License-Identifier: MIT
"""Quantized weights, laid out once for integer matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bitmill._arguments import MOST_W8A8
from bitmill._dtypes import Array
from bitmill.integer import nibbles
from bitmill.layouts import Integers, Tiles
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine


@dataclass(frozen=True, eq=False, repr=False)
class Prepacked:
    """Weights [N, K] as the kernels for integer products read them: see `bitmill.integer.prepack`.

    `layout` names what `arrays` are, and the kernels that take them. For "w8a8", of
    `bitmill.kernels.matmul_w8a8`, these are its `w`, `w_scale`, `w_zero_point` and `w_sum`, in this
    order. "w4" is for `matmul_w4a8` and `matmul_w4a16`, whose `group_size` is here too: "codes" and
    "scale"; "zero_point" where there are some; of tables "values", and, if they are whole numbers,
    or 127ths, that int8 holds, "whole", which `matmul_w4a8` takes, and "parts", 1 or 127.
    """

    layout: str
    shape: tuple[int, int]
    arrays: dict[str, Array]
    group_size: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, with the padding of the last panel."""
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def is_whole(self) -> bool:
        """Whether weights are whole numbers but for their scales."""
        return "values" not in self.arrays or "whole" in self.arrays

    def __repr__(self) -> str:
        return f"Prepacked({self.layout}, shape={self.shape}, {self.nbytes:,} bytes)"


def prepack(q: QTensor) -> Prepacked:
    """Weights [N, K], laid out for `Linear`, and for `matmul` if they have 8 bits.

    They are quantized to 8 bits with one scale a row or one in all; or to at most 4 bits, by
    `bm.Affine`, with groups of a multiple of 8 columns or whole rows, or by a table.

    Codes become unsigned, u = q + 128 where they are int8, and lie in panels of 16 rows, four
    columns of each row side by side: [ceil(N / 16), ceil(K / 4), 16, 4]. What a product needs of
    each row comes with them: scale, zero-point (128 where codes are int8) and Σ(u − zero-point).
    Codes of 4 bits lie in such panels too, eight columns of a row in four bytes, and scales and
    zero-points of groups beside them, [ceil(N / 16), groups, 16].
    It is the same for every instruction set.

    Raises TypeError unless `q` is a QTensor, ValueError for another scheme, for groups, a real
    offset, other than two dimensions, or, with 8 bits, K above 65,793, where sums may not fit 32
    bits.

    >>> import bitmill as bm, numpy as np
    >>> q = bm.quantize(np.linspace(-1, 1, 192, dtype=np.float32).reshape(32, 6), bm.Affine(8))
    >>> bm.integer.prepack(q)
    Prepacked(w8a8, shape=(32, 6), 544 bytes)
    """
    if not isinstance(q, QTensor):
        raise TypeError(f"q is a {type(q).__name__}; wanted a QTensor: bm.quantize(q, …)")
    if len(q.shape) != 2:
        raise ValueError(f"q has the shape {q.shape}; wanted 2 dimensions: rows of weights")
    rows, length = q.shape
    if nibbles.fits(q):
        held, size = nibbles.panels(q)
        return Prepacked("w4", (rows, length), held, size)
    if not isinstance(q.scheme, Affine) or q.scheme.bits != 8:
        raise ValueError(
            f"q has the scheme {q.scheme!r}; wanted bm.Affine(8), or bm.Affine of at most 4 bits "
            "without offset, or a table of at most 16 values"
        )
    codes, scale, zeros = bytes_of(q, "q")
    if length > MOST_W8A8:
        raise ValueError(
            f"q has rows of {length:,}; beyond {MOST_W8A8:,} a sum of products may not fit 32 bits"
        )
    sums = codes.sum(axis=1, keepdims=True, dtype=np.int32)
    if zeros is None:  # q is u - 128
        zero_point = np.full((rows, 1), 128, np.uint8)
    else:
        zero_point, sums = zeros, sums - length * zeros.astype(np.int32)
    tiles = Tiles(16, inner=Integers(codes.dtype.name, biased=zeros is None))
    arrays = {"codes": tiles.pack(codes), "scale": scale, "zero_point": zero_point, "sum": sums}
    return Prepacked("w8a8", (rows, length), arrays)


def bytes_of(q: Any, name: str) -> tuple[Array, Array, Array | None]:
    """Codes of a QTensor, and of each of its rows the scale, float32, and perhaps the zero-point.

    Codes are int8 or uint8, in the shape of the tensor; zero-points uint8; these are [rows, 1].
    """
    if not isinstance(q, QTensor):
        raise TypeError(f"{name} is a {type(q).__name__}; wanted a QTensor: bm.quantize({name}, …)")
    if not isinstance(q.scheme, Affine) or q.scheme.bits != 8 or q.offset is not None:
        raise ValueError(f"{name} has the scheme {q.scheme!r}; wanted bm.Affine(8) without offset")
    assert q.scale is not None  # Affine has one
    if q.scale.shape[-1] != 1:
        raise ValueError(
            f"{name} has scales of the shape {q.scale.shape}; wanted one a row, or one in all"
        )
    zeros = None if q.zero_point is None else _by_row(q.zero_point, q.shape)
    return q.codes, _by_row(q.scale.astype(np.float32), q.shape), zeros


def _by_row(params: Array, shape: tuple[int, ...]) -> Array:
    """Parameters of a tensor of this shape as a column, an entry per row."""
    spread = np.broadcast_to(params, (*shape[:-1], 1))
    return np.array(spread.reshape(-1, 1), order="C")  # its own, whatever becomes of the tensor
