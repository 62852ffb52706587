# SPDX-License-Identifier: MIT
"""load_checkpoint: the weights of a checkpoint by their names, read when asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitmill._dtypes import Array, dtype
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.patterns import weight_of
from bitmill.checkpoint.read import Checkpoint, open_checkpoint, read_tensor
from bitmill.checkpoint.store import descriptions_in
from bitmill.formats import (
    BY_NAME,
    INT_QUANTIZED,
    NATIVE,
    PACK_QUANTIZED,
    Format,
    affine,
    compressed_tensors,
    native,
)
from bitmill.qtensor import QTensor
from bitmill.schemes import Scheme

Place = tuple[Path, TensorInfo]


@dataclass(frozen=True, slots=True)
class Stored:
    """A quantized weight as it lies in the files: its parts by field, and how to decode them."""

    name: str
    format: Format
    described: Mapping[str, Any]
    parts: Mapping[str, Place]
    label: str
    """The format's name."""
    input_activations: bool = False

    def scheme(self) -> Scheme | None:
        """The scheme, as far as headers tell; None where they contradict each other."""
        if self.format is native:
            return native.scheme_of(self.described)
        scale = self.parts.get("weight_scale")
        try:
            empty = np.empty(0, dtype(scale[1].numpy or "")) if scale else None
            return None if empty is None else affine.scheme_of(self.described, empty)
        except (TypeError, ValueError):
            return None

    def shape(self) -> tuple[int, ...] | None:
        """The logical shape; None where the files do not tell."""
        if self.format is native:
            return tuple(int(n) for n in self.described["shape"])
        if "weight" in self.parts:
            return self.parts["weight"][1].shape
        return stored_shape(self.parts.get("weight_shape"))

    def read(self, dtype_name: str | None) -> QTensor:
        """The weight; `dtype_name` is the dtype that it had, if the files do not tell."""
        arrays = {field: read_tensor(*place) for field, place in self.parts.items()}
        if self.format is native:  # it says the dtype of each weight
            dtype_name = None
        try:
            return self.format.decode(arrays, self.described, dtype_name=dtype_name)
        except (TypeError, ValueError) as error:
            path = next(iter(self.parts.values()))[0] if self.parts else "?"
            raise CheckpointError(f"{path}: tensor {self.name!r}: {error}") from None


class LoadedCheckpoint(Mapping[str, QTensor | Array]):
    """The weights of a checkpoint: `name -> QTensor`, or an array where it is not quantized.

    Names are those of the original checkpoint ("model.layers.0.mlp.up_proj.weight"). Every access
    reads from disk; nothing is kept. Arrays of dtypes that NumPy lacks are uint8 bytes.
    """

    def __init__(self, source: Checkpoint) -> None:
        self.source = source
        places: dict[str, Place] = {info.name: (path, info) for path, info in source.tensors()}
        self.stored = {weight.name: weight for weight in find_stored(source, places)}
        taken = {info.name for w in self.stored.values() for _, info in w.parts.values()}
        self.kept = {name: place for name, place in places.items() if name not in taken}
        for name in self.stored.keys() & self.kept.keys():
            raise CheckpointError(
                f"{source.folder}: tensor {name!r} is there twice: quantized, and not"
            )
        self._names = sorted((*self.stored, *self.kept))

    def __getitem__(self, name: str) -> QTensor | Array:
        if name in self.stored:
            return self.stored[name].read(self.source.dtype)
        return read_tensor(*self.kept[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return (
            f"LoadedCheckpoint({str(self.source.folder)!r}, {len(self)} tensors, "
            f"{len(self.stored)} of them quantized)"
        )


def load_checkpoint(path: str | os.PathLike[str]) -> LoadedCheckpoint:
    """The weights at `path`: a folder, or a safetensors file, in a format that bitmill writes.

    Those are compressed-tensors (pack-quantized and int-quantized), bitmill's native format, files
    of `bm.save`, and checkpoints that are not quantized. Headers are read at once, tensors when
    they are asked for.

    Raises CheckpointError for checkpoints that are broken or quantized in another way, OSError.

    >>> import bitmill as bm, numpy as np, tempfile, os
    >>> q = bm.quantize(np.ones((2, 64), np.float32), bm.Affine(4, group_size=32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "q.safetensors")
    ...     bm.save({"w": q}, path)
    ...     dict(bm.load_checkpoint(path))
    {'w': QTensor(int4 sym g32, shape=(2, 64), dtype=float32, 5 bits per weight, 80 bytes)}
    """
    return LoadedCheckpoint(open_checkpoint(path))


def stored_shape(place: Place | None) -> tuple[int, ...] | None:
    """The shape in a tensor of two or three int64; None if it is not such a tensor."""
    if place is None or place[1].shape not in ((2,), (3,)) or place[1].numpy != "int64":
        return None
    return tuple(map(int, read_tensor(*place)))


def quantization_of(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a config.json says about quantization, None if nothing; ValueError for no object."""
    for key in ("quantization_config", "compression_config", "quantization"):
        said = config.get(key)
        if said:
            if not isinstance(said, dict):
                raise ValueError(f"{key} is a JSON {type(said).__name__}; wanted an object")
            # MLX says it twice, with no method: under the key that is its own, and another's
            return {"quant_method": "mlx" if "quantization" in config else key, **said}
    return None


def find_stored(source: Checkpoint, places: Mapping[str, Place]) -> Iterator[Stored]:
    """The quantized weights among these tensors."""
    where = source.folder
    try:
        said = quantization_of(source.config)
        if said is None:
            yield from _saved(source, places)
            method = None
        else:
            method = said["quant_method"]
        if method == native.METHOD and said is not None:
            for module, described in native.descriptions(said).items():
                yield _native(module, described, places, in_checkpoint=True)
        elif method == compressed_tensors.METHOD and said is not None:
            yield from _compressed(said, places)
    except CheckpointError:
        raise
    except (TypeError, ValueError, OverflowError, re.error) as error:
        raise CheckpointError(f"{where}: quantization_config of config.json: {error}") from None
    if method not in (None, native.METHOD, compressed_tensors.METHOD):
        raise CheckpointError(
            f"{where}: quantized by {method}, which bitmill does not read ('bitmill inspect' shows "
            "what is there)"
        )


def _saved(source: Checkpoint, places: Mapping[str, Place]) -> Iterator[Stored]:
    """The weights in files that `bitmill.save` wrote."""
    for name, header in source.files.items():
        for tensor, described in descriptions_in(source.folder / name, header.metadata).items():
            yield _native(tensor, described, places, in_checkpoint=False)


def _native(
    name: str, described: Mapping[str, Any], places: Mapping[str, Place], *, in_checkpoint: bool
) -> Stored:
    fields = native.fields(described)
    parts = {field: places[f"{name}.{field}"] for field in fields if f"{name}.{field}" in places}
    if in_checkpoint:
        name = weight_of(name, len(described.get("shape", ())))
    return Stored(name, native, described, parts, NATIVE)


_CONTAINERS = {
    PACK_QUANTIZED: ("weight_packed", "weight_scale", "weight_shape", "weight_zero_point"),
    INT_QUANTIZED: ("weight", "weight_scale", "weight_zero_point"),
}
"""What the formats of compressed-tensors call the parts of a weight; the first is always there."""


def _compressed(said: Mapping[str, Any], places: Mapping[str, Place]) -> Iterator[Stored]:
    """The quantized weights of a compressed-tensors checkpoint: those with scales or packed."""
    for name, (_, info) in places.items():
        module, dot, last = name.rpartition(".")
        scaled = f"{module}{dot}weight_scale" in places
        if last != "weight_scale" and (last != "weight_packed" or scaled):
            continue
        group = compressed_tensors.group_of(said, module)
        packed = f"{module}{dot}weight_packed" in places
        label = group.format or (PACK_QUANTIZED if packed else INT_QUANTIZED)
        if label not in _CONTAINERS:
            raise ValueError(
                f"{module!r} is in the format {label!r}; bitmill reads {', '.join(_CONTAINERS)}"
            )
        fields = [field for field in _CONTAINERS[label] if f"{module}{dot}{field}" in places]
        parts = {field: places[f"{module}{dot}{field}"] for field in fields}
        rank = len(info.shape)
        yield Stored(
            weight_of(module, rank) if module else "weight",
            BY_NAME[label],
            group.weights,
            parts,
            label,
            group.input_activations is not None,
        )
