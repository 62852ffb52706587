# SPDX-License-Identifier: MIT
"""What is in a checkpoint, quantized or not, by bitmill or others; one tensor in detail."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitmill import kernels
from bitmill._dtypes import FLOATS, Array
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.foreign import recognize
from bitmill.checkpoint.gguf import MAGIC, TYPES, read_gguf
from bitmill.checkpoint.load import Place, Stored, find_stored, quantization_of
from bitmill.checkpoint.paths import failing_at, given_path, regular_file
from bitmill.checkpoint.read import Checkpoint, open_checkpoint, read_tensor
from bitmill.formats import NATIVE
from bitmill.qtensor import QTensor

_PLAIN_TYPES = {kind.name for kind in TYPES.values() if kind.elements == 1}

_MOST_CODES = 256
"""Codes of 8 bits are counted one by one; those of 16 would fill a thousand screens."""

BITMILL, COMPRESSED_TENSORS, PLAIN = "bitmill", "compressed-tensors", "not quantized"

# Module and part of a tensor's name. `weight.absmax` and `weight.quant_state.*` are one part each.
_NAME = re.compile(r"(?:(.*?)\.)??(weight\.(?:quant_state\.)?[^.]+|[^.]*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Item:
    """A weight with all tensors that stand for it, or a tensor that stands for itself."""

    name: str
    shape: tuple[int, ...] | None
    """Logical shape; None where the files do not tell."""
    kind: str
    """The scheme of a quantized weight, else the dtype."""
    method: str | None
    """Who quantized it; None if nobody."""
    nbytes: int | None
    parts: tuple[str, ...]

    @property
    def bits_per_weight(self) -> float | None:
        """Stored bits per weight."""
        size = math.prod(self.shape) if self.shape is not None else 0
        return 8 * self.nbytes / size if self.nbytes is not None and size else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "name": self.name,
            "shape": None if self.shape is None else list(self.shape),
            "kind": self.kind,
            "method": self.method,
            "bytes": self.nbytes,
            "bits_per_weight": self.bits_per_weight,
            "parts": list(self.parts),
        }


@dataclass(frozen=True, slots=True)
class Contents:
    """What a checkpoint holds."""

    method: str
    """"not quantized", or who quantized it: "compressed-tensors", "GPTQ", "GGUF", ..."""
    facts: dict[str, Any]
    """What the configuration says."""
    files: dict[str, int]
    items: tuple[Item, ...]

    @property
    def quantized(self) -> tuple[Item, ...]:
        """The quantized weights."""
        return tuple(item for item in self.items if item.method is not None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "method": self.method,
            "facts": {key: _finite(value) for key, value in self.facts.items()},
            "files": self.files,
            "tensors": [item.to_dict() for item in self.items],
        }


def inspect_checkpoint(path: str | os.PathLike[str]) -> Contents:
    """What is in the checkpoint at `path`: a folder, a safetensors file, or a GGUF file.

    Recognized are compressed-tensors, bitmill's own format, GPTQ, AWQ, bitsandbytes, MLX and GGUF;
    from a config.json where there is one, else from the tensors. Raises CheckpointError, OSError.
    """
    path = given_path(path, "path")
    gguf = _gguf_file(path)
    if gguf is not None:
        return _gguf(gguf)
    source = open_checkpoint(path)
    try:
        said = quantization_of(source.config) or {}
    except ValueError as error:
        raise CheckpointError(f"{source.folder}: config.json: {error}") from None
    items = tuple(_items(source, said))
    methods = Counter(item.method for item in items if item.method is not None)
    method = methods.most_common(1)[0][0] if methods else said.get("quant_method", PLAIN)
    facts = {key: value for key, value in said.items() if not isinstance(value, (dict, list))}
    files = {name: header.nbytes for name, header in source.files.items()}
    return Contents(str(method), facts, files, items)


def inspect_tensor(path: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """One tensor or weight in detail; values are read. CheckpointError if there is no such one."""
    contents = inspect_checkpoint(path)
    named = {item.name: item for item in contents.items}
    item = named.get(name) or named.get(f"{name}.weight")
    if item is None:
        part = next((item for item in contents.items if name in item.parts), None)
        hint = f" (it is a part of {part.name!r})" if part else ""
        raise CheckpointError(f"{path}: no tensor {name!r} in it{hint}")
    found = item.to_dict()
    if contents.method == "GGUF":
        return found
    source = open_checkpoint(path)
    places = {info.name: (path, info) for path, info in source.tensors()}
    found["stored"] = {
        part: {
            "file": places[part][0].name,
            "dtype": places[part][1].dtype,
            "shape": list(places[part][1].shape),
            "begin": places[part][1].begin,
            "bytes": places[part][1].nbytes,
        }
        for part in item.parts
    }
    if item.method in (BITMILL, COMPRESSED_TENSORS):
        stored = next((s for s in _stored(source, places) if s.name == item.name), None)
        if stored is not None:
            return found | _quantized_values(stored.read(source.dtype))
    if item.method is None:
        return found | _values(read_tensor(*places[item.parts[0]]))
    return found


def _gguf_file(path: Path) -> Path | None:
    """The GGUF file that is meant: `path`, or one in it if the folder has no other weights."""
    if path.is_dir():
        found = sorted(path.glob("*.gguf"))
        return found[0] if found and not any(path.glob("*.safetensors")) else None
    with failing_at(path), open(regular_file(path), "rb") as file:
        return path if file.read(4) == MAGIC else None


def _gguf(path: Path) -> Contents:
    header = read_gguf(path)
    items = tuple(
        Item(
            tensor.name,
            tensor.shape,
            tensor.type,
            None if tensor.type in _PLAIN_TYPES else "GGUF",
            tensor.nbytes,
            (tensor.name,),
        )
        for tensor in header.tensors
    )
    facts = {"version": header.version, **header.metadata}
    return Contents("GGUF", facts, {path.name: header.nbytes}, items)


def _items(source: Checkpoint, said: Mapping[str, Any]) -> Iterator[Item]:
    """Every weight and tensor: those that bitmill reads, those of others, the rest."""
    places: dict[str, Place] = {info.name: (path, info) for path, info in source.tensors()}
    taken: set[str] = set()
    for stored in _stored(source, places):
        parts = tuple(info.name for _, info in stored.parts.values())
        taken.update(parts)
        yield _read_item(stored, parts)
    modules: dict[str, dict[str, Place]] = {}
    for name, place in places.items():
        match = _NAME.fullmatch(name)
        if name not in taken and match is not None:  # every name matches
            modules.setdefault(match[1] or "", {})[match[2]] = place
    for module, parts_of in modules.items():
        exception = said.get(module)  # MLX has them by the names of modules
        config = {**said, **exception} if isinstance(exception, dict) else said
        yield from _module_items(module, parts_of, config)


def _module_items(
    module: str, parts: Mapping[str, Place], config: Mapping[str, Any]
) -> Iterator[Item]:
    """The weight of a module that others quantized, and its tensors that stand for themselves."""
    found = recognize(parts, config)
    alone = {part: place for part, place in parts.items() if found is None or part == "bias"}
    if found is not None:
        own = [info for part, (_, info) in parts.items() if part not in alone]
        yield Item(
            f"{module}.weight" if module else "weight",
            found.shape,
            found.scheme,
            found.method,
            sum(info.nbytes for info in own),
            tuple(info.name for info in own),
        )
    for _, info in alone.values():
        yield Item(info.name, info.shape, info.dtype, None, info.nbytes, (info.name,))


def _stored(source: Checkpoint, places: Mapping[str, Place]) -> list[Stored]:
    """The weights that bitmill reads; none where it cannot read them all."""
    try:
        return list(find_stored(source, places))
    except CheckpointError:
        return []


def _read_item(stored: Stored, parts: tuple[str, ...]) -> Item:
    """A weight whose scheme and shape bitmill knows; only the shape is read, where it is data."""
    method = BITMILL if stored.label == NATIVE else COMPRESSED_TENSORS
    nbytes = sum(info.nbytes for _, info in stored.parts.values())
    scheme = stored.scheme()
    kind = stored.label if scheme is None else scheme.describe()
    activations = " a8" if stored.input_activations else ""
    return Item(stored.name, stored.shape(), kind + activations, method, nbytes, parts)


def _values(x: Array) -> dict[str, Any]:
    """Statistics of a float array; nothing of another."""
    if x.dtype.name not in FLOATS or x.size == 0:
        return {}
    lo, hi = kernels.minmax(x.reshape(1, -1))
    finite = np.isfinite(lo).all() and np.isfinite(hi).all()
    if not finite:
        wide = kernels.to_float32(x.reshape(1, -1))
        return {"nonfinite": int(np.count_nonzero(~np.isfinite(wide)))}
    zeros = int(np.count_nonzero(x.reshape(-1) == 0))
    return {"min": float(lo[0, 0]), "max": float(hi[0, 0]), "zeros": zeros, "nonfinite": 0}


def _quantized_values(q: QTensor) -> dict[str, Any]:
    """Statistics of a quantized weight: its codes, its scales, the values it stands for."""
    values, counts = np.unique(q.codes, return_counts=True)
    scales = {"dtype": q.scale.dtype.name, "shape": list(q.scale.shape)}
    found = {
        "scheme": q.scheme.to_dict(),
        "scales": scales | _values(q.scale),
        "levels_used": len(values),
    }
    if len(values) <= _MOST_CODES:
        found["codes"] = {int(v): int(n) for v, n in zip(values, counts, strict=True)}
    return found | _values(q.dequantize())


def _finite(value: Any) -> Any:
    """The value, or None for a float that JSON has no number for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
