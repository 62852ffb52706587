# SPDX-License-Identifier: MIT
"""What the export formats share: they hold integer codes of 2-D weights, with scales along rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from bitmill._dtypes import Array
from bitmill.formats.affine import why_not_shape
from bitmill.layouts import pack
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine, Scheme


def why_not(scheme: Scheme, shape: tuple[int, ...], bits: Sequence[int]) -> str | None:
    """Why a format of these widths cannot hold the weight; None if only its groups matter now.

    >>> why_not(Affine(5), (8, 64), (2, 4, 8))
    'the format holds 2, 4 or 8 bits, not 5'
    """
    if not isinstance(scheme, Affine):
        return f"the format holds affine codes only, no {type(scheme).__name__}"
    if scheme.bits not in bits:
        *some, last = map(str, bits)
        return f"the format holds {', '.join(some)} or {last} bits, not {scheme.bits}"
    reason = why_not_shape(shape, (2,))
    if reason is None and scheme.group_size is None and scheme.view(shape).params[-1] != 1:
        return "the format holds scales along rows only, not one per column"
    return reason


def fitting(scheme: Affine, columns: int, sizes: Iterable[int]) -> list[int]:
    """Of the group sizes of a format, those whose groups lie in one group of the scheme each.

    The scale of a larger group, or of a row, is repeated then.

    >>> fitting(Affine(4, group_size=96), 384, (16, 32, 64)), fitting(Affine(4), 384, (64, 128))
    ([16, 32], [64, 128])
    """
    group = scheme.group_size
    whole_row = group is None or group >= columns
    return [size for size in sizes if whole_row or (group and group % size == 0)]


def spread(given: Array, scheme: Affine, shape: tuple[int, ...], size: int) -> Array:
    """Scales, zero-points or offsets [R or 1, G] of the scheme for groups of `size`, as
    [R, ceil(C/size)]."""
    rows, columns = shape
    starts = np.arange(-(-columns // size)) * size
    at = starts // (scheme.group_size or columns)
    return np.broadcast_to(given[:, at], (rows, len(at)))


def words(q: QTensor) -> Array:
    """The codes as one little-endian bit stream per row: uint32 [R, ceil(C·b/32)], each code
    unsigned, u = q + 2^(b−1) for signed ones."""
    assert isinstance(q.scheme, Affine)
    return q.packed if q.scheme.bits < 8 else pack(q.codes, q.scheme.bits)


def middle(scheme: Affine) -> int:
    """The unsigned code of 0.0 in a symmetric scheme, 2^(b−1)."""
    return 1 << scheme.bits - 1


def points(q: QTensor) -> Array:
    """The unsigned code of 0.0 in each group, uint8, in the shape of the scales."""
    assert isinstance(q.scheme, Affine)
    if q.zero_point is not None:
        return q.zero_point
    return np.full(q.scheme.view(q.shape).params, middle(q.scheme), np.uint8)


def scale_dtype(scheme: Affine) -> str:
    """The dtype of `q.scale`."""
    return scheme.scales if isinstance(scheme.scales, str) else "float32"


def scale_of(q: QTensor) -> Array:
    """The scales; those of two levels multiplied out."""
    scale = q.scale
    assert scale is not None
    return finite(scale, "scale")


def finite(array: Array, name: str) -> Array:
    """`array`; ValueError if NaN or infinity is in it, which only a damaged source has."""
    odd = array[~np.isfinite(array.astype(np.float32))]
    if odd.size:
        raise ValueError(f"{name} holds {odd[0]}: the checkpoint is damaged")
    return array
