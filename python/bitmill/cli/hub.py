# SPDX-License-Identifier: MIT
"""Sources on the Hugging Face hub: `org/name` is fetched into the hub's own cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bitmill.checkpoint import CheckpointError
from bitmill.cli.arguments import path

_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.md", "*.tiktoken", "*.py")
"""What is fetched: safetensors weights, and the small files beside them."""
_TWICE = ("consolidated*", "original/*")
"""The same weights once more, as their makers first had them."""


def source(text: str) -> str:
    """SRC as it was typed: "./a/b" is a path, "a/b" may be a repository, and Path drops the dot."""
    path(text)
    return text


def local(name: str) -> Path:
    """The path `name` if it is there; else the folder of that repository, fetched if need be.

    Raises CheckpointError if the package is missing, or the repository.
    """
    if os.path.lexists(name) or not _NAME.fullmatch(name):
        return Path(name)
    try:
        import huggingface_hub
    except ImportError:
        raise CheckpointError(
            f"{name}: no such file or folder; to fetch it from the Hugging Face hub: "
            "pip install 'bitmill[hub]'"
        ) from None
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name, allow_patterns=list(_FILES), ignore_patterns=list(_TWICE)
            )
        )
    except Exception as error:  # its HTTP libraries have errors of their own, of several kinds
        kind, text = type(error).__name__, str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{name}: no such file or folder, and fetching it from the hub failed: {kind}: {text}"
        ) from error
