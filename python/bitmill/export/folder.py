# SPDX-License-Identifier: MIT
"""A folder of safetensors: the files of the source under their names, with other tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import NAMES, Spec, TensorInfo, build_header
from bitmill.checkpoint.output import TensorFile, index_of, refuse_long
from bitmill.checkpoint.read import CONFIG, INDEX, WEIGHTS, Checkpoint
from bitmill.checkpoint.write import json_text
from bitmill.export.base import Weight
from bitmill.schemes import Field


def folder_files(
    source: Checkpoint,
    weights: Mapping[str, Weight],
    fields: Mapping[str, Sequence[Field]],
    kept: Mapping[str, tuple[str, TensorInfo]],
    named: Mapping[str, Any],
) -> tuple[dict[str, TensorFile], dict[str, bytes]]:
    """The files of weights, and config.json with the entries `named`, and the index if need be.

    `fields` are the tensors of each module. What the source says of its own quantization goes.
    """
    specs: dict[str, list[Spec]] = {name: [] for name in source.files}
    for module, weight in weights.items():
        specs[weight.file] += (
            Spec(f"{module}.{field.name}", NAMES[field.dtype], field.shape)
            for field in fields[module]
        )
    for file, info in kept.values():
        specs[file].append(Spec(info.name, info.dtype, info.shape))
    counts = Counter(spec.name for listed in specs.values() for spec in listed)
    for name, count in counts.items():
        if count > 1:
            raise CheckpointError(f"{source.where}: two tensors would have the name {name!r}")
    # All that a file holds may go to another, where the weight begins.
    filled = {file: listed for file, listed in specs.items() if listed}
    data = {
        file if len(filled) > 1 else WEIGHTS: TensorFile(*build_header(listed, {"format": "pt"}))
        for file, listed in filled.items()
    }
    texts = {INDEX: json_text(index_of(source, data))} if len(data) > 1 else {}
    refuse_long(source, data, texts)
    texts[CONFIG] = json_text({**_without_quantization(source), **named})
    return data, texts


def _without_quantization(source: Checkpoint) -> dict[str, Any]:
    told = ("quantization_config", "compression_config", "quantization")
    return {key: value for key, value in source.config.items() if key not in told}
