# SPDX-License-Identifier: MIT
"""Checkpoints as they lie on disk: which files hold the weights, and the bytes of a tensor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitmill._dtypes import FLOATS
from bitmill.checkpoint.errors import CheckpointError, shown
from bitmill.checkpoint.header import MAX_HEADER, Header, TensorInfo, parse_json, read_header
from bitmill.checkpoint.paths import failing_at, given_path, regular_file

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
_SUFFIX = ".safetensors"
_MAX_NAME = 255
"""Bytes in the name of a file, for all usual file systems."""


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

    def refuse_changed(self) -> None:
        """Raise if a file of weights is not what it was when its header was read."""
        for name, header in self.files.items():
            if header.stamp.has_changed(os.stat(self.folder / name)):
                raise CheckpointError(
                    f"{self.folder / name}: has changed while it was read; start again"
                )

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
        names.update(shards)
    return {name for name in names if (folder / name).is_file() or (folder / name).is_symlink()}


def _read_json(path: Path, *, allow_nan: bool = False) -> dict[str, Any]:
    """The JSON object in a file, {} if there is no such file."""
    if not os.path.lexists(path):
        return {}
    with failing_at(path):
        size = regular_file(path).stat().st_size
        if size > MAX_HEADER:
            raise CheckpointError(f"{path}: {size} bytes; JSON of at most {MAX_HEADER} is read")
        return parse_json(path, path.read_bytes(), allow_nan=allow_nan)


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
        if not _is_plain(name):
            raise CheckpointError(
                f"{path}: tensor {shown(tensor)}: {shown(name)} is not the plain name of a "
                f"{_SUFFIX} file"
            )
    return index


def _is_plain(name: object) -> bool:
    """Whether an index may name this file: one of the folder, that can hold nothing but weights.

    With the suffix, no output can take the place of a config or a tokenizer; without control
    characters, an error that names the file is one line.
    """
    return (
        isinstance(name, str)
        and name.endswith(_SUFFIX)
        and name.isprintable()
        and not set(name) & set("/\\")
        and len(name.encode()) <= _MAX_NAME
    )


def _weight_files(folder: Path, index: dict[str, Any]) -> list[str]:
    """The names of the files that hold the weights."""
    if index:
        names = sorted(set(index["weight_map"].values()))
        for name in names:
            if not (folder / name).exists():
                raise CheckpointError(f"{folder / INDEX}: names {shown(name)}, which is not there")
        return names
    if os.path.lexists(folder / WEIGHTS):
        return [WEIGHTS]
    names = sorted(path.name for path in folder.glob(f"*{_SUFFIX}"))
    odd = [name for name in names if not _is_plain(name)]
    if odd:
        raise CheckpointError(f"{folder}: {shown(odd[0])} is not the plain name of a file")
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
                    f"{folder}: tensor {shown(tensor)} is in both {shown(homes[tensor])} and "
                    f"{shown(name)}"
                )
            homes[tensor] = name
    if not index:
        return
    listed = index["weight_map"]
    for tensor in sorted(listed.keys() | homes.keys()):
        if homes.get(tensor) != listed.get(tensor):
            raise CheckpointError(
                f"{folder / INDEX}: tensor {shown(tensor)} is listed in "
                f"{_home(listed, tensor)} but lies in {_home(homes, tensor)}"
            )


def _home(homes: dict[str, str], tensor: str) -> str:
    return shown(homes[tensor]) if tensor in homes else "no file"
