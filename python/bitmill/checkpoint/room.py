# SPDX-License-Identifier: MIT
"""Room on the disk: whether what is to be written will fit, before it is."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def refuse_full(path: Path, nbytes: int, partials: Iterable[Path]) -> None:
    """Raise if the disk has no room for what is still to be written: better now than at the end."""
    missing = missing_room(path, nbytes, partials)
    if missing > 0:
        raise OSError(
            errno.ENOSPC, f"No space left on device: {missing} bytes more are needed", str(path)
        )


def missing_room(path: Path, nbytes: int, partials: Iterable[Path]) -> int:
    """Bytes that files of `nbytes` together take beyond those that are free; what of them is there
    under temporary names, `partials`, needs no more."""
    needed = nbytes
    for partial in partials:
        with suppress(OSError):
            needed -= 512 * getattr(os.stat(partial), "st_blocks", 0)
    return needed - shutil.disk_usage(path).free
