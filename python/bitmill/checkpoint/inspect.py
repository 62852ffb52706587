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

from bitmill._dtypes import FLOATS, Array
from bitmill.checkpoint.data import read_tensor
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.find import Place, Stored, find_stored, quantization_of
from bitmill.checkpoint.foreign import recognize
from bitmill.checkpoint.gguf import MAGIC, TYPES, read_gguf
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.paths import failing_at, given_path, regular_file
from bitmill.checkpoint.read import Checkpoint, open_checkpoint
from bitmill.formats import BITSANDBYTES, NATIVE
from bitmill.formats.compressed_tensors import METHOD
from bitmill.metrics import count_nonfinite
from bitmill.qtensor import QTensor

_PLAIN_TYPES = {kind.name for kind in TYPES.values() if kind.elements == 1}

_MOST_CODES = 256
"""Codes of 8 bits are counted one by one; those of 16 would fill a thousand screens."""

BITMILL, PLAIN = "bitmill", "not quantized"

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


@dataclass(frozen=True, slots=True)
class _Opened:
    """A safetensors checkpoint with its quantized weights, as far as bitmill reads them."""

    source: Checkpoint
    places: dict[str, Place]
    stored: dict[str, Stored]
    items: tuple[Item, ...]


def inspect_checkpoint(path: str | os.PathLike[str]) -> Contents:
    """What is in the checkpoint at `path`: a folder, a safetensors file, or a GGUF file.

    Recognized are compressed-tensors, bitmill's own format, GPTQ, AWQ, bitsandbytes, MLX and GGUF;
    from a config.json where there is one, else from the tensors. Raises CheckpointError, OSError.

    >>> import bitmill as bm, numpy as np, tempfile, os
    >>> q = bm.quantize(np.ones((2, 64), np.float32), bm.Affine(4, group_size=32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "q.safetensors")
    ...     bm.save({"w": q}, path)
    ...     contents = inspect_checkpoint(path)
    >>> contents.method, [(item.name, item.kind, item.shape) for item in contents.items]
    ('bitmill', [('w', 'int4 sym g32', (2, 64))])
    """
    path = given_path(path, "path")
    gguf = _gguf_file(path)
    if gguf is not None:
        return _gguf(gguf)
    opened = _open(path)
    said = quantization_of(opened.source) or {}
    methods = Counter(item.method for item in opened.items if item.method is not None)
    method = methods.most_common(1)[0][0] if methods else said.get("quant_method", PLAIN)
    facts = {key: value for key, value in said.items() if not isinstance(value, (dict, list))}
    files = {name: header.nbytes for name, header in opened.source.files.items()}
    return Contents(str(method), facts, files, opened.items)


def inspect_tensor(path: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """One tensor or weight in detail, as JSON can hold it; its values are read.

    Raises CheckpointError if there is no such one, or if it is broken; OSError.
    """
    path = given_path(path, "path")
    gguf = _gguf_file(path)
    if gguf is not None:
        return _item(path, _gguf(gguf).items, name).to_dict()
    opened = _open(path)
    item = _item(path, opened.items, name)
    found = item.to_dict()
    found["stored"] = {part: _place(*opened.places[part]) for part in item.parts}
    if item.name in opened.stored:
        return found | _quantized_values(opened.stored[item.name].read(opened.source.dtype))
    if item.method is None:
        return found | _values(read_tensor(*opened.places[item.parts[0]]))
    return found


def _item(path: Path, items: tuple[Item, ...], name: str) -> Item:
    """The item of this name, or of the module of this name."""
    named = {item.name: item for item in items}
    item = named.get(name) or named.get(f"{name}.weight")
    if item is None:
        part = next((item for item in items if name in item.parts), None)
        hint = f" (it is a part of {part.name!r})" if part else ""
        raise CheckpointError(f"{path}: no tensor {name!r} in it{hint}")
    return item


def _place(path: Path, info: TensorInfo) -> dict[str, Any]:
    said = {"file": path.name, "dtype": info.dtype, "shape": list(info.shape)}
    return {**said, "begin": info.begin, "bytes": info.nbytes}


def _open(path: Path) -> _Opened:
    source = open_checkpoint(path)
    places: dict[str, Place] = {info.name: (path, info) for path, info in source.tensors()}
    try:
        stored = find_stored(source, places)
    except CheckpointError:  # none where it cannot read them all
        stored = []
    items = (*map(_read_item, stored), *_others(source, places, stored))
    return _Opened(source, places, {one.name: one for one in stored}, items)


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


def _others(
    source: Checkpoint, places: Mapping[str, Place], stored: list[Stored]
) -> Iterator[Item]:
    """What bitmill does not read as quantized: weights that others quantized, and the rest."""
    said = quantization_of(source) or {}
    taken = {info.name for one in stored for _, info in one.parts.values()}
    modules: dict[str, dict[str, Place]] = {}
    for name, place in places.items():
        match = _NAME.fullmatch(name)
        if name not in taken and match is not None:  # every name matches
            modules.setdefault(match[1] or "", {})[match[2]] = place
    for module, parts in modules.items():
        exception = said.get(module)  # MLX has them by the names of modules
        config = {**said, **exception} if isinstance(exception, dict) else said
        yield from _module_items(module, parts, config)


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


def _read_item(stored: Stored) -> Item:
    """A weight whose scheme and shape bitmill knows; only the shape is read, where it is data."""
    parts = [info for _, info in stored.parts.values()]
    scheme = stored.scheme()
    kind = stored.label if scheme is None else scheme.describe()
    return Item(
        stored.name,
        stored.shape(),
        kind + (" a8" if stored.input_activations else ""),
        {NATIVE: BITMILL, BITSANDBYTES: BITSANDBYTES}.get(stored.label, METHOD),
        sum(info.nbytes for info in parts),
        tuple(info.name for info in parts),
    )


def _values(x: Array) -> dict[str, Any]:
    """Statistics of a float array; nothing of another."""
    if x.dtype.name not in FLOATS or x.size == 0:
        return {}
    nonfinite = count_nonfinite(x)
    if nonfinite:
        return {"nonfinite": nonfinite}
    flat = x.reshape(-1)
    zeros = int(np.count_nonzero(flat == 0))
    return {"min": float(flat.min()), "max": float(flat.max()), "zeros": zeros, "nonfinite": 0}


def _quantized_values(q: QTensor) -> dict[str, Any]:
    """Statistics of a quantized weight: its codes, its scales, the values it stands for."""
    values, counts = np.unique(q.codes, return_counts=True)
    found: dict[str, Any] = {"scheme": q.scheme.to_dict()}
    if (scale := q.scale) is not None:
        shape = {"dtype": scale.dtype.name, "shape": list(scale.shape)}
        found["scales"] = shape | _values(scale)
    found["levels_used"] = len(values)
    if len(values) <= _MOST_CODES:
        found["codes"] = {int(v): int(n) for v, n in zip(values, counts, strict=True)}
    return found | _values(q.dequantize())


def _finite(value: Any) -> Any:
    """The value, or None for a float that JSON has no number for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
