# SPDX-License-Identifier: MIT
"""save and load: quantized tensors in one safetensors file of bitmill's native format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import read_header
from bitmill.checkpoint.read import read_tensor
from bitmill.checkpoint.write import replace_file, write_tensors
from bitmill.formats import native
from bitmill.qtensor import QTensor


def save(tensors: Mapping[str, QTensor], path: str | os.PathLike[str]) -> None:
    """Write quantized tensors to one file, which appears under its name only when it is complete.

    The file is a safetensors file: `<name>.<field>` for each array; schemes, shapes and dtypes are
    JSON in `__metadata__["bitmill"]`. Same tensors, same bytes. An existing file is replaced.

    Raises TypeError for values that are no QTensor, OSError where the file cannot be written.

    >>> import bitmill as bm, numpy as np, tempfile, os
    >>> q = bm.quantize(np.ones((2, 64), np.float32), bm.Affine(4, group_size=32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "q.safetensors")
    ...     bm.save({"w": q}, path)
    ...     bm.load(path)["w"]
    QTensor(int4 sym g32, shape=(2, 64), dtype=float32, 5 bits per weight, 80 bytes)
    """
    arrays = {}
    for name, q in tensors.items():
        if not isinstance(q, QTensor):
            raise TypeError(f"tensors[{name!r}] is a {type(q).__name__}; save takes QTensors")
        arrays.update(native.tensors(name, q))
    with replace_file(Path(path)) as temporary:
        write_tensors(temporary, arrays, native.config(tensors))


def load(path: str | os.PathLike[str]) -> dict[str, QTensor]:
    """The quantized tensors in a file that `save` wrote.

    Raises CheckpointError (a ValueError), naming file and tensor, for a file that is not one of
    them or not whole; OSError where it cannot be read.
    """
    path = Path(path)
    header = read_header(path)
    try:
        described = native.descriptions(header.metadata)
        stored = {name: read_tensor(path, info) for name, info in header.tensors.items()}
        return {name: native.qtensor(name, d, stored) for name, d in described.items()}
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
