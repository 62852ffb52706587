# SPDX-License-Identifier: MIT
"""Sources on the Hugging Face hub: `org/name` is fetched into the hub's own cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bitmill.checkpoint import CheckpointError

_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.md", "*.tiktoken", "*.py")
"""What is fetched: safetensors weights, and the small files beside them."""


def local(src: Path) -> Path:
    """`src` if it is there; else the folder of the repository of that name, fetched if need be.

    Raises CheckpointError if the package is missing, or the repository.
    """
    name = src.as_posix()
    if os.path.lexists(src) or not _NAME.fullmatch(name) or src.parts[0] in (".", ".."):
        return src
    try:
        import huggingface_hub
    except ImportError:
        raise CheckpointError(
            f"{name}: no such file or folder; to fetch it from the Hugging Face hub: "
            "pip install 'bitmill[hub]'"
        ) from None
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(_FILES)))
    except Exception as error:  # its HTTP libraries have errors of their own, of several kinds
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{name}: no such file or folder, and fetching it from the hub failed: {text}"
        ) from error
