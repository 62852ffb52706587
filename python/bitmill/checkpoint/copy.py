# SPDX-License-Identifier: MIT
"""The files beside the weights: tokenizer, generation settings, model card and their like."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bitmill.checkpoint.paths import failing_at
from bitmill.checkpoint.read import CONFIG, INDEX, Checkpoint
from bitmill.checkpoint.report import REPORT
from bitmill.checkpoint.write import TargetFolder

# The same weights in another container, float ones among them: they would outweigh the result.
_OTHER_WEIGHTS = (
    *(".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".ckpt"),
    *(".gguf", ".ggml", ".onnx", ".onnx_data", ".onnx.data", ".h5", ".h5.index.json"),
    *(".msgpack", ".msgpack.index.json", ".tflite", ".ot", ".npz"),
)
_NOT_CONTENT = (".git", ".hg", ".svn", ".cache", "__pycache__")  # version control and caches


def copy_others(source: Checkpoint, target: TargetFolder) -> tuple[str, ...]:
    """Stage copies of the source folder's other files, subfolders too; the names left out.

    Left out are weights of other kinds or that the checkpoint does not use, folders of version
    control and caches, and what is no file.
    """
    left_out = []
    for path in _others(source):
        name = path.relative_to(source.folder).as_posix()
        if path.name in _NOT_CONTENT or path.name.endswith(_OTHER_WEIGHTS) or not path.is_file():
            left_out.append(name)
            continue
        temporary = target.stage(name)
        with failing_at(temporary):
            shutil.copyfile(path, temporary)
    return tuple(left_out)


def _others(source: Checkpoint) -> Iterator[Path]:
    """The paths of the folder but the checkpoint's own, in order; of folders, those left closed."""
    own = {source.folder / name for name in (*source.files, CONFIG, INDEX, REPORT)}
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
