# SPDX-License-Identifier: MIT
"""export_checkpoint: from a checkpoint that bitmill made to one of another format, exactly."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill.checkpoint import Progress
from bitmill.checkpoint.copy import OtherFiles, copy_file, other_files, refuse_unfit
from bitmill.checkpoint.data import read_bytes, write_at
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.find import Place, Stored
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.loaded import LoadedCheckpoint, load_checkpoint
from bitmill.checkpoint.paths import given_path
from bitmill.checkpoint.read import Checkpoint
from bitmill.checkpoint.room import refuse_full
from bitmill.checkpoint.target import (
    WorkFolder,
    already_there,
    has_pieces,
    other_content,
)
from bitmill.checkpoint.write import create
from bitmill.export import gptq, mlx, onnx
from bitmill.export.base import Exporter, Files, Weight
from bitmill.schemes import Affine

FORMATS: dict[str, Exporter] = {"onnx": onnx, "mlx": mlx, "gptq": gptq.V1, "gptq_v2": gptq.V2}
TARGETS = tuple(FORMATS)
Slots = Mapping[str, tuple[Path, TensorInfo]]
"""Where the tensors of the target go: file, and place in it."""

_BLOCK = 1 << 24
"""Bytes of a kept tensor that are in memory at once."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    to: str
    weights: tuple[str, ...]
    """The modules whose weights were repacked."""
    kept: tuple[str, ...]
    """Tensors that were copied unchanged."""
    files: dict[str, int]
    """Name and size of each file with weights, and of those that tell of them."""
    notes: tuple[str, ...] = ()
    """What to know about the runtimes."""
    not_copied: tuple[str, ...] = ()
    """What of the source's folder is not in the target."""
    replaced: tuple[str, ...] = ()
    """Files of the target that were there before, under the name of a new one."""
    removed: tuple[str, ...] = ()
    """Files of the target that were deleted: weights and config.json of what was there."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            name: list(value) if isinstance(value := getattr(self, name), tuple) else value
            for name in self.__slots__
        }


def export_checkpoint(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    to: str,
    overwrite: bool = False,
    progress: Callable[[Progress], object] | None = None,
) -> Exported:
    """Write the quantized checkpoint `src`, repacked for another runtime, into the folder `dst`.

    `to` is "onnx" (a graph of MatMulNBits nodes), "mlx", "gptq" or "gptq_v2". Codes, scales and
    zero-points go over as they are: what the target's tensors stand for is just what
    `bitmill.dequantize` gives (a runtime that computes in float16 rounds it to that). Where the
    format cannot hold it, nothing is written.

    `src` is what `load_checkpoint` reads. One weight is in memory at a time. Files get their names
    when all of them are complete and on the disk; the one that tells of the others is the last.
    `overwrite` replaces files of the same names, and removes the weights of a checkpoint that was
    in `dst`. `progress` is called with a `Progress` after each tensor.

    Raises CheckpointError naming every weight that the format cannot hold, and why; for a broken
    source; if there is nothing to export. FileExistsError if `dst` holds something else and
    `overwrite` is false; OSError.

    >>> import bitmill as bm, numpy as np, tempfile, os
    >>> q = bm.quantize(np.ones((2, 64), np.float32), bm.Affine(4, group_size=32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "q.safetensors")
    ...     bm.save({"m.weight": q}, path)
    ...     done = bm.export_checkpoint(path, os.path.join(folder, "mlx"), to="mlx")
    >>> done.weights, sorted(done.files)
    (('m',), ['config.json', 'model.safetensors'])
    """
    exporter = FORMATS[_check.choice(to, "to", TARGETS)]
    path, loaded = given_path(dst, "dst"), load_checkpoint(src)
    source = loaded.source
    weights = _weights(loaded, to, exporter)
    kept = {name: (at.name, info) for name, (at, info) in loaded.kept.items()}
    files = exporter.files(source, weights, kept)
    others = other_files(source) if exporter.copies else OtherFiles()
    refuse_unfit(path, source, others, {*files.data, *files.texts, *others.copied})
    _refuse_content(path, overwrite)
    with WorkFolder(path) as work:
        _refuse_content(path, overwrite)  # now that nobody else writes to it
        slots = _stage(work, files)
        for name in others.copied:
            copy_file(source.folder / name, work.stage(name))
        copied = loaded.kept if exporter.copies else {}
        done, total = 0, sum(info.nbytes for _, info in _sources(loaded, copied))
        for name, nbytes in _write(loaded, exporter, copied, slots):
            done += nbytes
            if progress is not None:
                progress(Progress(name, done, total))
        for name, text in files.texts.items():
            work.stage_bytes(name, text)
        source.refuse_changed()
        commit = work.commit(last=files.texts)
    sizes = {name: file.nbytes for name, file in files.data.items()}
    return Exported(
        to,
        tuple(weights),
        tuple(copied),
        sizes | {name: len(text) for name, text in files.texts.items()},
        (*files.notes, *_activation_notes(loaded)),
        others.left_out,
        commit.replaced,
        commit.obsolete,
    )


def _weights(loaded: LoadedCheckpoint, to: str, exporter: Exporter) -> dict[str, Weight]:
    """The weights to export, by module; CheckpointError naming all that the format cannot hold."""
    where = loaded.source.where
    if not loaded.stored:
        told = " (config.json tells of that: name the folder)" if loaded.source.is_file else ""
        raise CheckpointError(f"{where}: nothing to export: no weight in it is quantized{told}")
    weights, refused = {}, dict[str, list[str]]()
    for name, stored in loaded.stored.items():
        module, scheme, shape = _module(name), stored.scheme(), stored.shape()
        if scheme is None or shape is None:
            stored.read(loaded.source.dtype)  # raises, saying what is wrong
            raise CheckpointError(f"{where}: tensor {name!r}: its scheme and shape are not told")
        if module in weights:
            raise CheckpointError(f"{where}: two weights would be those of module {module!r}")
        reason = exporter.why_not(scheme, shape, module)
        if reason is not None:
            refused.setdefault(reason, []).append(name)
        elif isinstance(scheme, Affine):
            path, _ = next(iter(stored.parts.values()))
            weights[module] = Weight(scheme, shape, path.name)
    if refused:
        listed = "; ".join(f"{', '.join(names)} ({why})" for why, names in refused.items())
        raise CheckpointError(f"{where}: {to} cannot hold just these values: {listed}")
    return weights


def _activation_notes(loaded: LoadedCheckpoint) -> Iterator[str]:
    count = sum(stored.input_activations for stored in loaded.stored.values())
    if count:
        yield f"activations of {count} layers are not quantized in the target: weights are exported"


def _module(name: str) -> str:
    return name.removesuffix(".weight")


def _refuse_content(path: Path, overwrite: bool) -> None:
    """Raise for a target that holds something else, unless that may be destroyed."""
    if overwrite:
        return
    if other_content(path):
        raise already_there(path, "is not empty")
    if has_pieces(path):
        raise already_there(path, "holds an unfinished run that quantizes")


def _stage(work: WorkFolder, files: Files) -> Slots:
    """Create the files of tensors under temporary names, if the disk has room for them."""
    partials = {name: work.stage(name) for name in files.data}
    nbytes = sum(file.nbytes for file in files.data.values())
    refuse_full(work.path, nbytes, partials.values())
    slots: dict[str, tuple[Path, TensorInfo]] = {}
    for file, laid in files.data.items():
        create(partials[file], laid.head, laid.nbytes)
        slots |= {name: (partials[file], place) for name, place in laid.places.items()}
    return slots


def _sources(loaded: LoadedCheckpoint, copied: Mapping[str, Place]) -> Iterator[Place]:
    for stored in loaded.stored.values():
        yield from stored.parts.values()
    yield from copied.values()


def _write(
    loaded: LoadedCheckpoint,
    exporter: Exporter,
    copied: Mapping[str, Place],
    slots: Slots,
) -> Iterator[tuple[str, int]]:
    """Write tensor by tensor; after each, its name and how many bytes of the source it took."""
    for name, stored in loaded.stored.items():
        for part, array in _encoded(loaded.source, name, stored, exporter).items():
            target, place = slots[f"{_module(name)}.{part}"]
            write_at(target, [(place.begin, array)])
        yield name, sum(info.nbytes for _, info in stored.parts.values())
    out = np.empty(min(_BLOCK, max((i.nbytes for _, i in copied.values()), default=0)), np.uint8)
    for name, (path, info) in copied.items():
        target, place = slots[name]
        stamp = loaded.source.files[path.name].stamp
        for done in range(0, info.nbytes, _BLOCK):
            count = min(_BLOCK, info.nbytes - done)
            block = read_bytes(path, info.begin + done, count, out=out[:count], stamp=stamp)
            write_at(target, [(place.begin + done, block)])
        yield name, info.nbytes


def _encoded(source: Checkpoint, name: str, stored: Stored, exporter: Exporter) -> dict[str, Array]:
    """The arrays that stand for one weight; CheckpointError where its values do not allow it."""
    q = stored.read(source.dtype)
    try:
        return exporter.encode(q)
    except ValueError as error:
        raise CheckpointError(f"{source.where}: tensor {name!r}: {error}") from None
