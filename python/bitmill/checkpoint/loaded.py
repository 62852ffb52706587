# SPDX-License-Identifier: MIT
"""load_checkpoint: the weights of a checkpoint by their names, read when asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from bitmill._dtypes import Array
from bitmill.checkpoint.data import read_tensor
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.find import Place, find_stored
from bitmill.checkpoint.read import Checkpoint, open_checkpoint
from bitmill.qtensor import QTensor


class LoadedCheckpoint(Mapping[str, QTensor | Array]):
    """The weights of a checkpoint: `name -> QTensor`, or an array where it is not quantized.

    Names are those of the original checkpoint ("model.layers.0.mlp.up_proj.weight"). Every access
    reads from disk; nothing is kept. Arrays of dtypes that NumPy lacks are uint8 bytes.
    """

    def __init__(self, source: Checkpoint) -> None:
        self.source = source
        places: dict[str, Place] = {info.name: (path, info) for path, info in source.tensors()}
        self.stored = {weight.name: weight for weight in find_stored(source, places)}
        taken = {info.name for w in self.stored.values() for _, info in w.parts.values()}
        self.kept = {name: place for name, place in places.items() if name not in taken}
        for name in self.stored.keys() & self.kept.keys():
            raise CheckpointError(
                f"{source.where}: tensor {name!r} is there twice: quantized, and not"
            )
        self._names = sorted((*self.stored, *self.kept))

    def __getitem__(self, name: str) -> QTensor | Array:
        if name in self.stored:
            return self.stored[name].read(self.source.dtype)
        return read_tensor(*self.kept[name])

    def __contains__(self, name: object) -> bool:
        return name in self.stored or name in self.kept  # Mapping's own would read the tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return (
            f"LoadedCheckpoint({str(self.source.folder)!r}, {len(self)} tensors, "
            f"{len(self.stored)} of them quantized)"
        )


def load_checkpoint(path: str | os.PathLike[str]) -> LoadedCheckpoint:
    """The weights at `path`: a folder, or a safetensors file, in a format that bitmill writes.

    Those are compressed-tensors, the 4-bit format of bitsandbytes, bitmill's native format, files
    of `bm.save`, and checkpoints that are not quantized. Headers are read at once, tensors when
    they are asked for.

    Raises CheckpointError for checkpoints that are broken or quantized in another way, OSError.

    >>> import bitmill as bm, numpy as np, tempfile, os
    >>> q = bm.quantize(np.ones((2, 64), np.float32), bm.Affine(4, group_size=32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "q.safetensors")
    ...     bm.save({"w": q}, path)
    ...     dict(bm.load_checkpoint(path))
    {'w': QTensor(int4 sym g32, shape=(2, 64), dtype=float32, 5 bits per weight, 80 bytes)}
    """
    return LoadedCheckpoint(open_checkpoint(path))
