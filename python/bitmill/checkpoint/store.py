# SPDX-License-Identifier: MIT
"""save and load: quantized tensors in one safetensors file of bitmill's native format."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitmill._dtypes import Array
from bitmill.checkpoint.data import read_tensor
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import parse_json, read_header
from bitmill.checkpoint.paths import given_path
from bitmill.checkpoint.write import replace_file, write_tensors
from bitmill.formats import NATIVE, LayerScheme, Weight, native
from bitmill.qtensor import QTensor

KEY = "bitmill"
"""Where in a file's `__metadata__` its configuration stands."""


def save(tensors: Mapping[str, QTensor], path: str | os.PathLike[str]) -> None:
    """Write quantized tensors to one file, which appears under its name only when it is complete.

    The file is a safetensors file: `<name>.<field>` for each array; schemes, shapes and dtypes are
    JSON in `__metadata__["bitmill"]`. Same tensors, same bytes. An existing file is replaced.

    Raises TypeError for what is no mapping of names to QTensors, OSError where the file cannot be
    written.

    >>> import bitmill as bm, numpy as np, tempfile, os
    >>> q = bm.quantize(np.ones((2, 64), np.float32), bm.Affine(4, group_size=32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "q.safetensors")
    ...     bm.save({"w": q}, path)
    ...     bm.load(path)["w"]
    QTensor(int4 sym g32, shape=(2, 64), dtype=float32, 5 bits per weight, 80 bytes)
    """
    _check(tensors)
    write_quantized(tensors, path)


def write_quantized(
    tensors: Mapping[str, QTensor],
    path: str | os.PathLike[str],
    more: Mapping[str, Array] | None = None,
    told: Mapping[str, str] | None = None,
) -> None:
    """The file of `save`, with `more` arrays and what is `told` in its metadata."""
    arrays = {
        f"{name}.{field}": array
        for name, q in tensors.items()
        for field, array in native.encode(q).items()
    }
    weights = {
        name: Weight(LayerScheme(q.scheme, format=NATIVE), q.shape, q.dtype)
        for name, q in tensors.items()
    }
    metadata = {KEY: json.dumps(native.config(weights), sort_keys=True)} | dict(told or {})
    with replace_file(given_path(path, "path")) as temporary:
        write_tensors(temporary, arrays | dict(more or {}), metadata)


def load(path: str | os.PathLike[str]) -> dict[str, QTensor]:
    """The quantized tensors in a file that `save` wrote.

    Raises CheckpointError (a ValueError), naming file and tensor, for a file that is not one of
    them or not whole; OSError where it cannot be read.
    """
    path = given_path(path, "path")
    header = read_header(path)
    if KEY not in header.metadata:
        raise CheckpointError(
            f"{path}: its metadata have no {KEY!r} entry: bm.save did not write it"
        )
    described = descriptions_in(path, header.metadata)
    stored: dict[str, dict[str, Array]] = {}
    for tensor, info in header.tensors.items():
        name, _, field = tensor.rpartition(".")
        stored.setdefault(name, {})[field] = read_tensor(path, info)
    loaded = {}
    for name, description in described.items():
        try:
            loaded[name] = native.decode(stored.get(name, {}), description)
        except ValueError as error:
            raise CheckpointError(f"{path}: tensor {name!r}: {error}") from None
    return loaded


def _check(tensors: object) -> None:
    """Raise unless `tensors` is a mapping of names to QTensors."""
    if not isinstance(tensors, Mapping):
        raise TypeError(f"tensors is a {type(tensors).__name__}; save takes {{name: QTensor}}")
    for name, q in tensors.items():
        if not isinstance(name, str):
            raise TypeError(f"tensors has the name {name!r}, a {type(name).__name__}; wanted a str")
        if not isinstance(q, QTensor):
            raise TypeError(f"tensors[{name!r}] is a {type(q).__name__}; save takes QTensors")


def descriptions_in(path: Path, metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What the metadata of a file say about each quantized tensor; nothing if not by `save`."""
    if KEY not in metadata:
        return {}
    where = f"{path}: its {KEY!r} entry"
    try:
        return native.descriptions(parse_json(where, metadata[KEY].encode()))
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None
