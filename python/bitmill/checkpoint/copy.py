# SPDX-License-Identifier: MIT
"""The files beside the weights: tokenizer, generation settings, model card and their like."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bitmill.checkpoint.read import CONFIG, INDEX, Checkpoint
from bitmill.checkpoint.write import TargetFolder

# The same weights in another container, float ones among them: they would outweigh the result.
_OTHER_WEIGHTS = (
    *(".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".ckpt"),
    *(".gguf", ".ggml", ".onnx", ".onnx_data", ".onnx.data", ".h5", ".h5.index.json"),
    *(".msgpack", ".msgpack.index.json", ".tflite", ".ot", ".npz"),
)
_PRIVATE = (".git", ".cache")  # version control, and what the hub's client keeps in a folder


def copy_others(source: Checkpoint, target: TargetFolder) -> tuple[str, ...]:
    """Stage copies of the source folder's other files, subfolders too; the names left out.

    Left out are weights of other kinds or that the checkpoint does not use, and what is no file.
    """
    left_out = []
    for path in _others(source):
        name = path.relative_to(source.folder).as_posix()
        if path.name.endswith(_OTHER_WEIGHTS) or not path.is_file():
            left_out.append(name)
        else:
            shutil.copyfile(path, target.stage(name))
    return tuple(left_out)


def _others(source: Checkpoint) -> Iterator[Path]:
    """Every path in the folder but the checkpoint's own files and private ones, in order."""
    own = {source.folder / name for name in (*source.files, CONFIG, INDEX)}
    for folder, subfolders, names in os.walk(source.folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(_PRIVATE))
        links = (name for name in subfolders if os.path.islink(os.path.join(folder, name)))
        for name in sorted((*names, *links)):  # os.walk does not follow links to folders
            path = Path(folder, name)
            if path not in own and not name.startswith(_PRIVATE):
                yield path
