# SPDX-License-Identifier: MIT
"""What bitmill makes of a checkpoint, beside what the safetensors package makes of its files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bitmill.checkpoint import CheckpointError, open_checkpoint, read_tensor
from bitmill.checkpoint.read import INDEX
from conftest import needs

STRICTER = re.compile(
    r"the header starts with b'[ \\]"  # blanks
    r"|occurs twice"
    r"|__metadata__ is a JSON NoneType"
    r"|is a JSON list; wanted an object"
    r"|dtype {'[\w]+': None} is not one of"
    r"|dimensions; NumPy takes at most 64"
    r"|is more than an array can hold"
    r"|digits; wanted at most 300"
    r"|nested more than 100 deep"
)
"""Errors for what safetensors accepts, as the docstring of bitmill.checkpoint.header lists them."""


def refusal(src: Path) -> str | None:
    """The error of bitmill; None if it reads every tensor, and so does safetensors, and the same.

    Any other error passes, and a difference is an AssertionError.
    """
    try:
        checkpoint = open_checkpoint(src)
        found = {
            info.name: (path.name, info.dtype, list(info.shape), read_tensor(path, info).tobytes())
            for path, info in checkpoint.tensors()
        }
    except CheckpointError as error:
        return str(error)
    wanted = {}
    for name in checkpoint.files:
        path = checkpoint.folder / name
        for tensor, *rest in theirs(path.read_bytes()):
            assert tensor not in wanted, f"{tensor!r} is in two files"
            wanted[tensor] = (name, *rest)
    assert found == wanted
    if checkpoint.index:
        homes = json.loads((checkpoint.folder / INDEX).read_text("utf-8-sig"))["weight_map"]
        assert {tensor: name for tensor, (name, *_) in found.items()} == homes
    return None


def theirs(content: bytes) -> list[tuple[str, str, list[int], bytes]]:
    """Name, dtype, shape and bytes of each tensor in a file, as the safetensors package has it."""
    entries: list[tuple[str, dict[str, Any]]] = needs("safetensors").deserialize(content)
    return [(name, entry["dtype"], entry["shape"], bytes(entry["data"])) for name, entry in entries]


def they_accept(content: bytes) -> bool:
    """Whether the safetensors package takes these bytes for a good file."""
    try:
        needs("safetensors").deserialize(content)
    except needs("safetensors").SafetensorError:
        return False
    return True
