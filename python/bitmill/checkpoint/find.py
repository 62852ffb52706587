# SPDX-License-Identifier: MIT
"""The quantized weights of a checkpoint: which tensors stand for each, and what decodes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitmill.checkpoint.data import read_tensor
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.patterns import weight_of
from bitmill.checkpoint.read import Checkpoint
from bitmill.checkpoint.store import descriptions_in
from bitmill.formats import (
    BITSANDBYTES,
    BY_NAME,
    INT_QUANTIZED,
    NATIVE,
    PACK_QUANTIZED,
    Format,
    bitsandbytes,
    compressed_tensors,
    floats,
    native,
)
from bitmill.qtensor import QTensor
from bitmill.schemes import Scheme

Place = tuple[Path, TensorInfo]


@dataclass(frozen=True, slots=True)
class Stored:
    """A quantized weight as it lies in the files: its parts by field, and how to decode them."""

    name: str
    label: str
    """The format's name."""
    described: Mapping[str, Any]
    parts: Mapping[str, Place]
    input_activations: bool = False

    @property
    def format(self) -> Format:
        """What decodes the parts."""
        return BY_NAME[self.label]

    def scheme(self) -> Scheme | None:
        """The scheme, as far as headers tell; None where they contradict each other or lack it."""
        dtypes = {field: info.numpy for field, (_, info) in self.parts.items()}
        try:
            return self.format.scheme_of(self.described, dtypes)
        except (TypeError, ValueError):
            return None

    def shape(self) -> tuple[int, ...] | None:
        """The logical shape; None where the files do not tell."""
        shapes = {field: info.shape for field, (_, info) in self.parts.items()}
        try:
            return self.format.shape_of(
                self.described, shapes, lambda field: read_tensor(*self.parts[field])
            )
        except (TypeError, ValueError):
            return None

    def read(self, dtype_name: str | None) -> QTensor:
        """The weight; `dtype_name` is the dtype that it had, if the files do not tell."""
        arrays = {field: read_tensor(*place) for field, place in self.parts.items()}
        try:
            return self.format.decode(arrays, self.described, dtype_name=dtype_name)
        except (TypeError, ValueError, OverflowError) as error:
            path = next(iter(self.parts.values()))[0] if self.parts else "?"
            raise CheckpointError(f"{path}: tensor {self.name!r}: {error}") from None


def quantization_of(source: Checkpoint) -> dict[str, Any] | None:
    """What config.json says about quantization, None if nothing; CheckpointError for no object."""
    for key in ("quantization_config", "compression_config", "quantization"):
        said = source.config.get(key)
        if said:
            if not isinstance(said, dict):
                raise CheckpointError(
                    f"{source.where}: config.json: {key} is a JSON {type(said).__name__}; "
                    "wanted an object"
                )
            # MLX says it twice, with no method: under the key that is its own, and another's
            return {"quant_method": "mlx" if "quantization" in source.config else key, **said}
    return None


def find_stored(source: Checkpoint, places: Mapping[str, Place]) -> list[Stored]:
    """The quantized weights among these tensors.

    Raises CheckpointError if they are quantized in a way that bitmill does not read.
    """
    said = quantization_of(source)
    if said is None:
        return list(_saved(source, places))
    find = _FINDERS.get(str(said["quant_method"]))
    if find is None:
        raise CheckpointError(
            f"{source.where}: quantized by {said['quant_method']}, which bitmill does not read "
            "('bitmill inspect' shows what is there)"
        )
    try:
        return list(find(said, places))
    except (TypeError, ValueError, OverflowError, re.error) as error:
        raise CheckpointError(
            f"{source.where}: quantization_config of config.json: {error}"
        ) from None


def _saved(source: Checkpoint, places: Mapping[str, Place]) -> Iterator[Stored]:
    """The weights in files that `bitmill.save` wrote."""
    for name, header in source.files.items():
        path = source.folder / name
        for tensor, described in descriptions_in(path, header.metadata).items():
            try:
                yield _native(tensor, tensor, described, places)
            except ValueError as error:
                raise CheckpointError(f"{path}: tensor {tensor!r}: {error}") from None


def _of_bitmill(said: Mapping[str, Any], places: Mapping[str, Place]) -> Iterator[Stored]:
    """The weights of a checkpoint in the native format."""
    for module, described in native.descriptions(said).items():
        yield _native(weight_of(module, len(native.shape(described))), module, described, places)


def _native(
    name: str, module: str, described: Mapping[str, Any], places: Mapping[str, Place]
) -> Stored:
    parts = _parts(native.fields(described), f"{module}.", places)
    return Stored(name, NATIVE, described, parts)


def _of_compressed_tensors(
    said: Mapping[str, Any], places: Mapping[str, Place]
) -> Iterator[Stored]:
    """The weights of a compressed-tensors checkpoint: those that are packed or have scales."""
    for name, (_, info) in places.items():
        module, dot, last = name.rpartition(".")
        scaled = f"{module}{dot}weight_scale" in places
        if last != "weight_scale" and (last != "weight_packed" or scaled):
            continue
        group = compressed_tensors.group_of(said, module)
        packed = f"{module}{dot}weight_packed" in places
        label = group.format
        if label in (None, "naive-quantized"):  # as int-quantized, or float-quantized
            label = floats.label(group.weights) or (PACK_QUANTIZED if packed else INT_QUANTIZED)
        if label not in BY_NAME or label in (BITSANDBYTES, NATIVE):
            known = ", ".join(name for name in BY_NAME if name not in (BITSANDBYTES, NATIVE))
            raise ValueError(f"{module!r} is in the format {label!r}; bitmill reads {known}")
        yield Stored(
            weight_of(module, len(info.shape)) if module else "weight",
            label,
            group.weights,
            _parts(BY_NAME[label].fields(group.weights), f"{module}{dot}", places),
            group.input_activations is not None,
        )


def _of_bitsandbytes(said: Mapping[str, Any], places: Mapping[str, Place]) -> Iterator[Stored]:
    """The 4-bit weights of bitsandbytes, each of which has a state."""
    if not said.get("load_in_4bit", said.get("_load_in_4bit")):
        raise ValueError("its weights are no 4-bit ones, which bitmill alone reads")
    for name in places:
        module, state, kind = name.rpartition(bitsandbytes.STATE)
        if not state:
            continue
        parts = _parts(bitsandbytes.fields({"quant_type": kind}), module, places)
        described = bitsandbytes.description({part: at.shape for part, (_, at) in parts.items()})
        yield Stored(f"{module}weight", BITSANDBYTES, described, parts)


_FINDERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Place]], Iterator[Stored]]] = {
    native.METHOD: _of_bitmill,
    compressed_tensors.METHOD: _of_compressed_tensors,
    bitsandbytes.METHOD: _of_bitsandbytes,
}


def _parts(fields: tuple[str, ...], prefix: str, places: Mapping[str, Place]) -> dict[str, Place]:
    """The fields that are there."""
    return {field: places[prefix + field] for field in fields if prefix + field in places}
