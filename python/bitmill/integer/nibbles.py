# SPDX-License-Identifier: MIT
"""Weights of 4 bits, or fewer, as the kernels for products read them."""

from __future__ import annotations

import numpy as np

from bitmill._dtypes import STORAGES, Array, name_of
from bitmill._sizes import group_count
from bitmill.layouts import Nibbles, Tiles
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine
from bitmill.schemes.table_scheme import TableScheme

_TILES = Tiles(16, inner=Nibbles(8, signed=False))


def fits(q: QTensor) -> bool:
    """Whether these weights have codes of at most 4 bits, and what they stand for is known."""
    if isinstance(q.scheme, Affine):
        return q.scheme.bits <= 4 and q.offset is None
    return isinstance(q.scheme, TableScheme) and q.scheme.code_bits <= 4


def panels(q: QTensor) -> tuple[dict[str, Array], int | None]:
    """The arrays of weights [N, K] that `fits` takes, by panels of 16 rows, and the group size.

    "codes" and "scale"; "zero_point" where there are some; of tables "values", float32, and, if
    they are whole numbers, or 127ths, that int8 holds, "whole" and "parts", float32 [1]: a value is
    whole / parts. Raises ValueError for groups that are no multiple of 8.
    """
    size = getattr(q.scheme, "group_size", None)
    if size is not None and size % 8:
        raise ValueError(f"q has groups of {size}; wanted a multiple of 8, or a scale a row")
    assert q.scale is not None  # both kinds of schemes have one
    if q.shape[1] and q.scale.shape[-1] != group_count(q.shape[1], size):
        raise ValueError(
            f"q has scales of the shape {q.scale.shape}; wanted one a group or row, or one in all"
        )
    scale = q.scale if name_of(q.scale.dtype) in STORAGES else q.scale.astype(np.float32)
    arrays = {"scale": _params(scale, q.shape)}
    codes = q.codes
    if isinstance(q.scheme, TableScheme):
        given = q.scheme.table_of(q.arrays)
        values = np.pad(given, (0, 16 - len(given)), mode="edge")
        arrays |= {"values": values, **_whole(values)}
    elif q.zero_point is None:
        codes = (codes + np.int8(8)).view(np.uint8)
    else:
        arrays["zero_point"] = _params(q.zero_point, q.shape)
    return {"codes": _TILES.pack(codes), **arrays}, size


def _params(params: Array, shape: tuple[int, ...]) -> Array:
    """Parameters of groups as [panels, groups, 16]; those of rows that are added are 0."""
    rows, length = shape
    count, groups = -(-rows // 16), params.shape[-1] if length else 0
    spread = np.zeros((count * 16, groups), params.dtype)
    spread[:rows] = params[..., :groups]
    return np.ascontiguousarray(spread.reshape(count, 16, groups).swapaxes(1, 2))


def _whole(values: Array) -> dict[str, Array]:
    """Values as int8 codes, and what these are divided by, if there are such."""
    for parts in (np.float32(1), np.float32(127)):
        codes = np.rint(values * parts)
        if (np.abs(codes + np.float32(0.5)) < 128).all() and (codes / parts == values).all():
            return {"whole": codes.astype(np.int8), "parts": np.array([parts])}
    return {}
