# SPDX-License-Identifier: MIT
"""Affine weights of MLX, which mlx-lm loads: codes as bit streams, with a scale and a bias each.

A module `M` with a weight [R, C] in b bits and groups of g columns becomes
    M.weight   U32 [R, C·b/32]   a row's codes as one bit stream, unsigned, u
    M.scales       [R, C/g]
    M.biases       [R, C/g]      of the scales' dtype
that stand for u · scale + bias. A symmetric weight has bias −2^(b−1) · scale, exactly. An offset is
the bias. A zero-point makes the bias −zp · scale, which takes more digits than the scale: with
float16 and bfloat16 scales both become float32, which holds it; float32 scales are refused.

MLX computes in the dtype of the scales. In float32 that gives bitmill's values to the bit if scales
are float16 or bfloat16 ones. Products of float32 scales it rounds before it adds the bias, as
bitmill does for offsets, or not, as for symmetric weights: that is up to how MLX was compiled.

Layout as MLX 0.32 writes and reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bitmill._dtypes import Array, dtype
from bitmill._sizes import word_count
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.read import Checkpoint
from bitmill.export import affine
from bitmill.export.base import Files, Weight
from bitmill.export.folder import folder_files
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine, Field, Scheme

copies = True

BITS = (2, 3, 4, 5, 6, 8)
GROUP_SIZES = (32, 64, 128)


def why_not(scheme: Scheme, shape: tuple[int, ...], module: str) -> str | None:
    """Why the format cannot hold just these values; None if it can.

    >>> why_not(Affine(4, group_size=128), (512, 384), "m")
    >>> why_not(Affine(4, group_size=16), (512, 384), "m")
    'rows of 384 in groups of 16 cannot be cut into groups of 32, 64 or 128'
    """
    reason = affine.why_not(scheme, shape, BITS)
    if reason is not None:
        return reason
    assert isinstance(scheme, Affine)
    if not _sizes(scheme, shape):
        groups = f" in groups of {scheme.group_size}" if scheme.group_size else ""
        return f"rows of {shape[-1]}{groups} cannot be cut into groups of 32, 64 or 128"
    if _has_points(scheme) and affine.scale_dtype(scheme) == "float32":
        return (
            "the format adds a bias, and that of a zero-point and a float32 scale takes more than "
            "float32 (float16 or bfloat16 scales, or offset=True, would do)"
        )
    return None


def tensors(scheme: Affine, shape: tuple[int, ...]) -> list[Field]:
    """Name (behind `M.`), dtype and shape of every tensor that stands for the weight.

    >>> for tensor in tensors(Affine(4, group_size=128, scales="bfloat16"), (512, 384)):
    ...     print(*tensor)
    weight uint32 (512, 48)
    scales bfloat16 (512, 3)
    biases bfloat16 (512, 3)
    """
    rows, columns = shape
    kind, groups = _dtype(scheme), (rows, columns // group_size(scheme, shape))
    return [
        Field("weight", "uint32", (rows, word_count(columns, scheme.bits))),
        Field("scales", kind, groups),
        Field("biases", kind, groups),
    ]


def encode(q: QTensor) -> dict[str, Array]:
    """The arrays that `tensors` lists; ValueError if a bias overflows their dtype."""
    scheme = q.scheme
    assert isinstance(scheme, Affine)
    scale = affine.scale_of(q).astype(dtype(_dtype(scheme)))
    if q.offset is not None:
        bias = affine.finite(q.offset, "offset")
    else:
        with np.errstate(over="ignore"):
            bias = scale * -affine.points(q).astype(scale.dtype)
        if not np.isfinite(bias.astype(np.float32)).all():
            raise ValueError(
                f"the bias of a group, -{affine.middle(scheme)} scales, overflows {bias.dtype}"
            )
    size = group_size(scheme, q.shape)
    return {
        "weight": affine.words(q),
        "scales": affine.spread(scale, scheme, q.shape, size),
        "biases": affine.spread(bias, scheme, q.shape, size),
    }


def files(
    source: Checkpoint,
    weights: Mapping[str, Weight],
    kept: Mapping[str, tuple[str, TensorInfo]],
) -> Files:
    """The target's files: those of the source with other tensors, and a config.json that says so.

    The width and the group size that most weights have are those of the model; others are named.
    """
    fields = {module: tensors(w.scheme, w.shape) for module, w in weights.items()}
    said = {module: _said(weight) for module, weight in weights.items()}
    (usual, _), *_ = Counter(said.values()).most_common(1)
    others = {module: dict(one) for module, one in said.items() if one != usual}
    config: dict[str, Any] = {**dict(usual), "mode": "affine"}
    for module in config.keys() & others.keys():
        raise CheckpointError(
            f"{source.where}: mlx cannot tell of module {module!r}, whose width or group size is "
            "another than that of most: its config.json has that key for all"
        )
    config |= others
    named = {"quantization": config, "quantization_config": config}
    data, texts = folder_files(source, weights, fields, kept, named)
    return Files(data, texts, tuple(_notes(weights)))


def group_size(scheme: Affine, shape: tuple[int, ...]) -> int:
    """Columns for which a scale is stored: the most that MLX has and the scheme allows.

    >>> group_size(Affine(4), (8, 192)), group_size(Affine(4, group_size=32), (8, 192))
    (64, 32)
    """
    return max(_sizes(scheme, shape))


def _sizes(scheme: Affine, shape: tuple[int, ...]) -> list[int]:
    columns = shape[-1]
    return [s for s in affine.fitting(scheme, columns, GROUP_SIZES) if columns % s == 0]


def _has_points(scheme: Affine) -> bool:
    return not scheme.symmetric and not scheme.offset


def _dtype(scheme: Affine) -> str:
    """That of scales and biases. float32 holds 8 bits of zero-point times 11 of scale."""
    return "float32" if _has_points(scheme) else affine.scale_dtype(scheme)


def _said(weight: Weight) -> tuple[tuple[str, int], ...]:
    scheme, shape, _ = weight
    return ("group_size", group_size(scheme, shape)), ("bits", scheme.bits)


def _notes(weights: Mapping[str, Weight]) -> Iterator[str]:
    """What to know about the runtime."""
    widened = sum(_has_points(weight.scheme) for weight in weights.values())
    if widened:
        yield (
            f"scales and biases of {widened} weights with zero-points are float32, which alone "
            "holds the biases"
        )
    elif any(affine.scale_dtype(weight.scheme) == "float32" for weight in weights.values()):
        yield "scales are float32: MLX's own arithmetic may differ from bitmill's in the last bit"
