# SPDX-License-Identifier: MIT
"""Files of other kinds under the name of a safetensors file, and what is there but is no file."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import pickle
import socket
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hostile_files import WHOLE, Case, written

KINDS: dict[str, Case] = {}
"""The files by name."""

LFS_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 9876543210\n"
)
PAGE = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>\n"


class Trap:
    """Unpickled, it leaves a mark."""

    SPRUNG: list[str] = []  # noqa: RUF012

    def __reduce__(self) -> Any:
        return Trap.SPRUNG.append, ("unpickled",)


def pickled(protocol: int) -> bytes:
    """Weights as PyTorch had them, and a trap."""
    return pickle.dumps({"weight": list(range(300)), "trap": Trap()}, protocol)


def zipped(**members: bytes) -> bytes:
    """A zip archive of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(content: bytes) -> bytes:
    """A tar archive of one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("model.safetensors")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def saved(save: Callable[..., None], *args: Any, **options: Any) -> bytes:
    """What a function of NumPy writes."""
    out = io.BytesIO()
    save(out, *args, **options)
    return out.getvalue()


for name, error, content in (
    ("Git LFS pointer", "looks like a Git LFS pointer .*: git lfs pull fetches", LFS_POINTER),
    ("old Git LFS pointer", "Git LFS", b"version https://hawser.github.com/spec/v1\noid sha256:0"),
    ("HTML page", "looks like an HTML or XML page", PAGE),
    ("HTML page without a doctype", "HTML or XML", b"\r\n  <HTML>" + bytes(100)),
    ("XML of a storage service", "XML page", b'<?xml version="1.0"?><Error><Code>NoSuchKey'),
    ("PyTorch file", "a zip archive, which is what PyTorch", zipped(data=pickled(2))),
    ("zip archive of nothing", "a zip archive", zipped()),
    ("npz file", "zip archive, .* numpy.savez", saved(np.savez, w=np.ones(9))),
    ("npy file", "a NumPy .npy file", saved(np.save, np.ones(9))),
    *(
        (f"pickle of protocol {number}", "a pickle", pickled(number))
        for number in range(pickle.HIGHEST_PROTOCOL + 1)
        if number != 1  # starts as any bytes may
    ),
    (
        "old PyTorch file",
        "a pickle, as PyTorch used to write",
        pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickled(2),
    ),
    ("pickle of a class", "a pickle", b"cposix\nsystem\n(S'true'\ntR."),
    ("GGUF file", "a GGUF file, which bitmill can inspect", b"GGUF\3\0\0\0" + bytes(16)),
    ("GGML file", "a GGML file", b"tjgg\3\0\0\0" + bytes(100)),
    ("HDF5 file", "an HDF5 file", b"\x89HDF\r\n\x1a\n" + bytes(100)),
    ("TFLite file", "a TensorFlow Lite file", b"\x1c\0\0\0TFL3" + bytes(100)),
    ("gzip file", "a gzip file: it must be unpacked", gzip.compress(WHOLE)),
    ("xz file", "an xz file", lzma.compress(WHOLE)),
    ("Zstandard file", "a Zstandard file", b"\x28\xb5\x2f\xfd" + bytes(100)),
    ("7-Zip archive", "a 7-Zip archive", b"7z\xbc\xaf\x27\x1c" + bytes(100)),
    ("tar archive", "a tar archive", tarred(WHOLE)),
    ("index", "looks like JSON text", b'{"metadata": {}, "weight_map": {"t": "x.safetensors"}}'),
    ("two bytes of JSON", "looks like JSON text", b"{}"),
    ("program", "header length .* it is no safetensors file", b"\x7fELF\2\1\1" + bytes(100)),
):
    KINDS[f"kind: {name}"] = Case(partial(written, content), error)


def _sparse(size: int, length: int, folder: Path) -> Path:
    """A file of this size that is a header length and zeros."""
    path = written(length.to_bytes(8, "little"), folder)
    os.truncate(path, size)
    return path


KINDS["sparse file, header over 100 MB"] = Case(
    partial(_sparse, 10**9, 10**8 + 1), "header length 100000001 in a file of 1000000000 bytes"
)
KINDS["sparse file of zeros"] = Case(partial(_sparse, 10**12, 0), "header length 0 in a file")


def _folder(folder: Path) -> Path:
    path = folder / "x.safetensors"
    path.mkdir()
    return path


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "x.safetensors")
    return folder / "x.safetensors"


def _socket(folder: Path) -> Path:
    path = folder / "x.safetensors"
    before = Path.cwd()
    os.chdir(folder)  # the path of a socket may have about 100 bytes
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(before)
    return path


def _device(folder: Path) -> Path:
    (folder / "x.safetensors").symlink_to("/dev/zero")
    return folder / "x.safetensors"


NO_FILE = "a pipe, a socket or a device; wanted a regular file"
KINDS["folder without weights"] = Case(_folder, r"holds no \*.safetensors file")
KINDS["pipe"] = Case(_pipe, NO_FILE)
KINDS["socket"] = Case(_socket, NO_FILE)
KINDS["device"] = Case(_device, NO_FILE)
