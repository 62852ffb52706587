# SPDX-License-Identifier: MIT
"""The files beside the weights: tokenizer, generation settings, model card and their like."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.manifest import MANIFEST
from bitmill.checkpoint.paths import failing_at
from bitmill.checkpoint.read import CONFIG, INDEX, Checkpoint
from bitmill.checkpoint.report import REPORT
from bitmill.checkpoint.target import WORK, refuse_overlap, refuse_wrong_kinds

# The same weights in another container, float ones among them: they would outweigh the result.
_OTHER_WEIGHTS = (
    *(".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".ckpt"),
    *(".gguf", ".ggml", ".onnx", ".onnx_data", ".onnx.data", ".h5", ".h5.index.json"),
    *(".msgpack", ".msgpack.index.json", ".tflite", ".ot", ".npz"),
)
_NOT_CONTENT = (".git", ".hg", ".svn", ".cache", "__pycache__", WORK)  # version control and caches


@dataclass(frozen=True, slots=True)
class OtherFiles:
    """Names in the source folder."""

    copied: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def other_files(source: Checkpoint) -> OtherFiles:
    """The source folder's other files, subfolders too; nothing if the source is one file.

    Left out are weights of other kinds or that the checkpoint does not use, folders of version
    control and caches, what is no file, and what bitmill itself writes.
    """
    if source.is_file:
        return OtherFiles()
    copied, left_out = [], []
    for path in _others(source):
        name = path.relative_to(source.folder).as_posix()
        if path.name in _NOT_CONTENT or path.name.endswith(_OTHER_WEIGHTS) or not path.is_file():
            left_out.append(name)
        else:
            copied.append(name)
    return OtherFiles(tuple(copied), tuple(left_out))


def refuse_unfit(
    path: Path,
    source: Checkpoint,
    others: OtherFiles,
    names: Iterable[str],
    *,
    read: Path | None = None,
) -> None:
    """Raise if the folder `path` is no place for files of these `names` that are made of the
    source: if it overlaps it, or if what is `read` beside it would be written over; and for names
    that no JSON file can hold."""
    _refuse_odd_names(source, others)
    inputs = [source.folder / name for name in source.files]
    if not source.is_file:
        inputs.append(source.folder)
    copied = [source.folder / name for name in others.copied]
    if read is not None:
        copied.append(read)
    names = set(names)
    refuse_overlap(path, inputs, copied, names)
    refuse_wrong_kinds(path, names)


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of a file; its times and rights are not content."""
    with failing_at(target):
        shutil.copyfile(source, target)


def differ(source: Path, target: Path) -> bool:
    """Whether a file has another content than its copy, or has none."""
    try:
        return not filecmp.cmp(source, target, shallow=False)
    except FileNotFoundError:
        return True


def _others(source: Checkpoint) -> Iterator[Path]:
    """The paths of the folder but the checkpoint's own, in order; of folders, those left closed."""
    own = {source.folder / name for name in (*source.files, CONFIG, INDEX, REPORT, MANIFEST)}
    for folder, subfolders, names in os.walk(source.folder, onerror=_fail):
        closed = [  # os.walk does not follow links to folders
            name
            for name in subfolders
            if name in _NOT_CONTENT or os.path.islink(os.path.join(folder, name))
        ]
        subfolders[:] = sorted(set(subfolders) - set(closed))
        paths = (Path(folder, name) for name in sorted((*names, *closed)))
        yield from (path for path in paths if path not in own)


def _fail(error: OSError) -> None:
    raise error  # a folder that cannot be listed; os.walk would skip it


def _refuse_odd_names(source: Checkpoint, others: OtherFiles) -> None:
    """Raise for names of files that are no UTF-8, and so would not go into any JSON file."""
    for name in (*source.files, *others.copied, *others.left_out):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise CheckpointError(
                f"{source.where}: the name of the file {name!r} is not UTF-8; give it another, or "
                "remove it"
            ) from None
