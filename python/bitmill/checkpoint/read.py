# SPDX-License-Identifier: MIT
"""Checkpoints as they lie on disk: which files hold the weights, and the bytes of a tensor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitmill._dtypes import FLOATS, Array, dtype
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import Header, TensorInfo, parse_json, read_header
from bitmill.checkpoint.paths import failing_at, given_path, regular_file

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The headers and the configuration of a checkpoint; tensor data stay on disk."""

    folder: Path
    files: dict[str, Header]
    """The weight files by their names in `folder`."""
    config: dict[str, Any]
    """config.json; empty where there is none."""
    index: dict[str, Any]
    """model.safetensors.index.json; empty where there is none."""
    is_file: bool
    """The source was named as one file: what else lies in its folder is not part of it."""

    @property
    def where(self) -> Path:
        """What errors name: the folder, or the one file that is the source."""
        return self.folder / next(iter(self.files)) if self.is_file else self.folder

    @property
    def dtype(self) -> str | None:
        """The float dtype of the model by its config.json, as NumPy calls it; None if silent."""
        for config in (self.config, self.config.get("text_config")):
            for key in ("dtype", "torch_dtype"):
                value = config.get(key) if isinstance(config, dict) else None
                name = value.removeprefix("torch.") if isinstance(value, str) else None
                if name in FLOATS:
                    return name
        return None

    def tensors(self) -> Iterator[tuple[Path, TensorInfo]]:
        """Every tensor with the path of its file, in the order of files and bytes."""
        for name, header in self.files.items():
            for info in header.tensors.values():
                yield self.folder / name, info


def open_checkpoint(src: str | os.PathLike[str]) -> Checkpoint:
    """Read the headers of `src`: a safetensors file, or a folder with one or several.

    In a folder, `model.safetensors` counts first, then the files that
    `model.safetensors.index.json` names (as in Transformers), then every `*.safetensors`.
    Raises CheckpointError naming file, tensor and field, and OSError.
    """
    path = given_path(src, "src")
    if path.is_dir():
        index = {} if os.path.lexists(path / WEIGHTS) else _read_index(path)
        config = _read_json(path / CONFIG, allow_nan=True)
        files = {name: read_header(path / name) for name in _weight_files(path, index)}
        _check_shards(path, files, index)
        return Checkpoint(path, files, config, index, is_file=False)
    return Checkpoint(path.parent, {path.name: read_header(path)}, {}, {}, is_file=True)


def weight_files(folder: Path) -> set[str]:
    """The names of files in `folder` that are the weights of a checkpoint, as far as it tells.

    They are model.safetensors, the index, and the safetensors files that the index names.
    """
    names = {WEIGHTS, INDEX}
    with suppress(CheckpointError):  # a broken index names nothing
        shards = _read_index(folder).get("weight_map", {}).values()
        names.update(name for name in shards if name.endswith(".safetensors"))
    return {name for name in names if (folder / name).is_file() or (folder / name).is_symlink()}


def read_bytes(path: Path, begin: int, nbytes: int) -> Array:
    """`nbytes` bytes of the file, from byte `begin`, as uint8 in memory of our own.

    Not a memory map: a file that shrinks under one kills the process. Each call has its own file
    position, which os.pread would give too, but not on Windows.
    """
    out = np.empty(nbytes, np.uint8)
    view = out.data
    done = 0
    with failing_at(path), open(path, "rb", buffering=0) as file:
        file.seek(begin)
        while done < nbytes:  # one read returns 2 GiB at most
            count = file.readinto(view[done:])
            if not count:
                raise CheckpointError(f"{path}: ends at byte {begin + done} while being read")
            done += count
    return out


def read_tensor(path: Path, info: TensorInfo) -> Array:
    """The tensor at `info` in the file `path`; uint8 bytes where NumPy lacks its dtype."""
    data = read_bytes(path, info.begin, info.nbytes)
    return data if info.numpy is None else data.view(dtype(info.numpy)).reshape(info.shape)


def _read_json(path: Path, *, allow_nan: bool = False) -> dict[str, Any]:
    """The JSON object in a file, {} if there is no such file."""
    if not os.path.lexists(path):
        return {}
    with failing_at(path):
        return parse_json(path, regular_file(path).read_bytes(), allow_nan=allow_nan)


def _read_index(folder: Path) -> dict[str, Any]:
    """The index of a sharded checkpoint, {} if there is none."""
    path = folder / INDEX
    if not os.path.lexists(path):
        return {}
    index = _read_json(path)
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not isinstance(index.get("metadata", {}), dict):
        raise CheckpointError(f"{path}: wanted objects called 'weight_map' and 'metadata'")
    if not shards:
        raise CheckpointError(f"{path}: 'weight_map' is empty: it names no tensor and no file")
    for tensor, name in shards.items():
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0"):
            raise CheckpointError(
                f"{path}: tensor {tensor!r}: {name!r} is not the plain name of a file"
            )
    return index


def _weight_files(folder: Path, index: dict[str, Any]) -> list[str]:
    """The names of the files that hold the weights."""
    if index:
        names = sorted(set(index["weight_map"].values()))
        for name in names:
            if not (folder / name).exists():
                raise CheckpointError(f"{folder / INDEX}: names {name!r}, which is not there")
        return names
    if os.path.lexists(folder / WEIGHTS):
        return [WEIGHTS]
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    if not names:
        raise CheckpointError(
            f"{folder}: holds no *.safetensors file; other kinds of weights must be converted first"
        )
    return names


def _check_shards(folder: Path, files: dict[str, Header], index: dict[str, Any]) -> None:
    """Raise unless every tensor lies in one file, and in that which the index names."""
    homes: dict[str, str] = {}
    for name, header in files.items():
        for tensor in header.tensors:
            if tensor in homes:
                raise CheckpointError(
                    f"{folder}: tensor {tensor!r} is in both {homes[tensor]!r} and {name!r}"
                )
            homes[tensor] = name
    if not index:
        return
    listed = index["weight_map"]
    for tensor in sorted(listed.keys() | homes.keys()):
        if homes.get(tensor) != listed.get(tensor):
            raise CheckpointError(
                f"{folder / INDEX}: tensor {tensor!r} is listed in "
                f"{listed.get(tensor, 'no file')} but lies in {homes.get(tensor, 'no file')}"
            )
