# SPDX-License-Identifier: MIT
"""What a quantized tensor tells beside its values: clipped values, groups, scales, sizes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitmill._dtypes import Array, name_of
from bitmill.channels import Channel, pieces
from bitmill.qtensor import QTensor

_FLOATS = ("float16", "bfloat16", "float32")


class Facts(NamedTuple):
    """As in `Metrics`."""

    clip_rate: float
    zero_groups: int
    underflowed_scales: int
    bits_per_weight: float


def facts(x: Array, q: QTensor, *, num_threads: int | None = None) -> Facts:
    """Of a tensor `x` and what was made of it."""
    if x.size == 0:
        return Facts(0.0, 0, 0, 0.0)
    counts = q.scheme.health(x, q.arrays, num_threads=num_threads)
    return Facts(
        counts.get("clipped", 0) / x.size,
        counts.get("zero_groups", 0),
        _least(q.arrays.get("scale")),
        q.bits_per_weight(),
    )


def channel_facts(x: Array, q: QTensor, axis: Channel) -> list[Facts] | None:
    """Of each channel; None unless each could have been quantized alone."""
    innermost, shared = q.scheme.cut(q.shape)
    depth = axis if isinstance(axis, int) else x.ndim - 2
    if depth >= 0 and (innermost is None or shared or depth > innermost):
        return None
    return [_piece(x, q, at) for at in pieces(x.shape, axis)]


def _piece(x: Array, q: QTensor, at: tuple[slice, ...]) -> Facts:
    part = np.ascontiguousarray(x[at])
    # What is as large for a piece as for the whole does not belong to any one.
    arrays = {
        name: array if array.shape == shape else np.ascontiguousarray(array[at])
        for (name, _, shape), array in (
            (field, q.arrays[field.name]) for field in q.scheme.layout(part.shape)
        )
    }
    return facts(part, QTensor(q.scheme, part.shape, q.dtype, arrays), num_threads=1)


def _least(scale: Array | None) -> int:
    """How many scales are the least positive value of their dtype, or its negative, by their bits:
    where the caller has subnormal numbers set to zero, they would not be found otherwise."""
    if scale is None or name_of(scale.dtype) not in _FLOATS:
        return 0
    bits = scale.view(f"u{scale.itemsize}") << 1
    return int(np.count_nonzero(bits == 2))
