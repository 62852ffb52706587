# SPDX-License-Identifier: MIT
"""GPTQ checkpoints, which vLLM, SGLang and GPTQModel load: words along the input, transposed.

A module `M` with a weight [R, C] in b bits and groups of g columns becomes
    M.qweight  I32 [C·b/32, R]     each column one bit stream of unsigned codes, u
    M.qzeros   I32 [C/g, R·b/32]   each row one bit stream of zero-points
    M.scales       [C/g, R]        float16 or bfloat16
    M.g_idx    I32 [C]             the group of each input
that stand for (u − zp) · scale. Version 1, which is called `gptq`, stores zp − 1. That has no place
for zp = 0, so it is for symmetric weights, whose zero-point is 2^(b−1). `gptq_v2` stores zp.

Layout as GPTQModel 5 writes and reads it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitmill._dtypes import Array
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.ignored import ignore_list, spelling
from bitmill.checkpoint.patterns import Model, is_embedding, model_of, module_of
from bitmill.checkpoint.read import Checkpoint
from bitmill.export import affine
from bitmill.export.base import Files, Weight
from bitmill.export.folder import folder_files
from bitmill.formats.affine import why_no_groups
from bitmill.formats.compressed_tensors import REGEX
from bitmill.layouts import pack
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine, Field, Scheme

BITS = (2, 3, 4, 8)
_STORAGES = ("float16", "bfloat16")


@dataclass(frozen=True, slots=True)
class Gptq:
    """One of the two versions, by its `checkpoint_format`."""

    name: str
    less: int
    """What is subtracted from a zero-point before it is stored."""

    @property
    def copies(self) -> bool:
        """What is not quantized goes along."""
        return True

    def why_not(self, scheme: Scheme, shape: tuple[int, ...], module: str) -> str | None:
        """Why the format cannot hold just these values; None if it can.

        >>> V1.why_not(Affine(4, group_size=128, scales="float16"), (512, 384), "m")
        >>> V1.why_not(Affine(4, group_size=128), (512, 384), "m")
        "the format holds float16 or bfloat16 scales, not float32 (quantize with scales='float16')"
        >>> V1.why_not(Affine(4, symmetric=False, scales="float16"), (512, 384), "m")
        'version 1 stores zero-points less 1, and has no place for 0 (gptq_v2 has)'
        """
        reason = affine.why_not(scheme, shape, BITS)
        if reason is not None:
            return reason
        assert isinstance(scheme, Affine)
        if is_embedding(module):
            return "the format holds Linear layers only, no embeddings"
        if scheme.offset:
            return "the format holds integer zero-points only, no real offsets"
        if not scheme.symmetric and self.less:
            return "version 1 stores zero-points less 1, and has no place for 0 (gptq_v2 has)"
        if not isinstance(scheme.scales, str):
            return "the format holds one scale per group, no two-level scales"
        if scheme.scales not in _STORAGES:
            return (
                "the format holds float16 or bfloat16 scales, not float32 (quantize with "
                "scales='float16')"
            )
        odd = [n for n in shape if n * scheme.bits % 32]
        if odd:
            return f"{odd[0]} codes of {scheme.bits} bits are not a whole number of 32-bit words"
        return why_no_groups(shape, _group_size(scheme, shape))

    def tensors(self, scheme: Affine, shape: tuple[int, ...]) -> list[Field]:
        """Name (behind `M.`), dtype and shape of every tensor that stands for the weight.

        >>> for tensor in V1.tensors(Affine(4, group_size=128, scales="float16"), (512, 384)):
        ...     print(*tensor)
        qweight int32 (48, 512)
        qzeros int32 (3, 64)
        scales float16 (3, 512)
        g_idx int32 (384,)
        """
        rows, columns = shape
        groups = columns // (_group_size(scheme, shape) or columns)
        return [
            Field("qweight", "int32", (columns * scheme.bits // 32, rows)),
            Field("qzeros", "int32", (groups, rows * scheme.bits // 32)),
            Field("scales", affine.scale_dtype(scheme), (groups, rows)),
            Field("g_idx", "int32", (columns,)),
        ]

    def encode(self, q: QTensor) -> dict[str, Array]:
        """The arrays that `tensors` lists."""
        scheme = q.scheme
        assert isinstance(scheme, Affine)
        columns = q.shape[1]
        size = _group_size(scheme, q.shape) or columns
        spread = (
            affine.spread(p, scheme, q.shape, size) for p in (affine.points(q), affine.scale_of(q))
        )
        points, scale = (np.ascontiguousarray(param.T) for param in spread)
        return {
            "qweight": np.ascontiguousarray(affine.words(q).T).view(np.int32),
            "qzeros": pack(points - np.uint8(self.less), scheme.bits).view(np.int32),
            "scales": scale,
            "g_idx": np.arange(columns, dtype=np.int32) // np.int32(size),
        }

    def files(
        self,
        source: Checkpoint,
        weights: Mapping[str, Weight],
        kept: Mapping[str, tuple[str, TensorInfo]],
    ) -> Files:
        """The target's files: those of the source with other tensors, and the config.json for it.

        Loaders take every Linear for quantized, in the way that is said first, but for those that
        `dynamic` names by regexes: "-:" ones are not quantized, "+:" ones in another way.
        """
        model = model_of(source.config, (*kept, *(f"{m}.weight" for m in weights)))
        said = {module: _said(weight) for module, weight in weights.items()}
        (usual, _), *_ = Counter(said.values()).most_common(1)
        others = (info for _, info in kept.values())
        spelled = spelling(model)
        dynamic: dict[str, dict[str, Any]] = {
            f"-:{_regex(name)}": {} for name in _skipped(others, weights, model)
        }
        dynamic |= {
            f"+:{_regex(spelled(module))}": dict(one)
            for module, one in said.items()
            if one != usual
        }
        config = {
            "quant_method": "gptq",
            **dict(usual),
            "desc_act": False,
            "checkpoint_format": self.name,
            "lm_head": any(module.rpartition(".")[2] == "lm_head" for module in weights),
            **({"dynamic": dynamic} if dynamic else {}),
        }
        fields = {m: self.tensors(weight.scheme, weight.shape) for m, weight in weights.items()}
        named = {"quantization_config": config}
        data, texts = folder_files(source, weights, fields, kept, named)
        return Files(data, texts, tuple(_notes(dynamic)))


V1, V2 = Gptq("gptq", 1), Gptq("gptq_v2", 0)


def _group_size(scheme: Affine, shape: tuple[int, ...]) -> int | None:
    """That of the scheme; None for one scale per row, also where a group is longer than that."""
    size = scheme.group_size
    return None if size is None or size > shape[-1] else size


def _said(weight: Weight) -> tuple[tuple[str, Any], ...]:
    scheme, shape, _ = weight
    size = _group_size(scheme, shape)
    return ("bits", scheme.bits), ("group_size", size or -1), ("sym", scheme.symmetric)


def _skipped(kept: Iterable[TensorInfo], weights: Mapping[str, Weight], model: Model) -> list[str]:
    """Linear layers that are not quantized; to readers of `dynamic`, embeddings and heads are
    none."""
    linear = [info for info in kept if not _is_beside(module_of(info))]
    return ignore_list(linear, weights, model)


def _is_beside(module: str | None) -> bool:
    return module is not None and (is_embedding(module) or module.rpartition(".")[2] == "lm_head")


def _regex(spelled: str) -> str:
    """A name, or a regex that is marked as one, as `dynamic` takes it."""
    if spelled.startswith(REGEX):
        return spelled.removeprefix(REGEX)
    return f"^{re.escape(spelled)}$"


def _notes(dynamic: Mapping[str, Any]) -> list[str]:
    if not dynamic:
        return []
    return [
        "layers that differ are named in 'dynamic': parts of what vLLM fuses (q/k/v, gate/up) must "
        "not differ from each other, and only its newest versions know them by these names"
    ]
