# SPDX-License-Identifier: MIT
"""What lies where a safetensors file should: told by its first bytes, for the error to name it.

Downloads leave pointers and error pages under the names of weights, and weights of other kinds get
renamed. Nothing is unpacked or unpickled: only these patterns are compared. A pattern may match the
first bytes of a good file (a header length is any number), so they are for files refused already.
"""

from __future__ import annotations

import re

FIRST = 512
"""How many bytes of a file tell its kind."""

_CONVERT = "its weights must be converted to safetensors first"
_UNPACK = "it must be unpacked first"
_FETCH = "the file must be downloaded again"

# A header length, of up to 100 MB, in a file that is cut behind it. It may start as anything does,
# but only the short patterns would often be found in one.
_LENGTH = rb".{3}[\0-\x05]\0{4}"

_KINDS = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), kind)
    for pattern, kind in (
        (
            rb"version https://(git-lfs\.github\.com|hawser\.github\.com)/spec/",
            "a Git LFS pointer and not the file itself: git lfs pull fetches that",
        ),
        (rb"\s*<(!doctype html|html|head|body|\?xml)", f"an HTML or XML page: {_FETCH}"),
        (
            rb"PK(\x03\x04|\x05\x06|\x07\x08)",
            f"a zip archive, which is what PyTorch and numpy.savez write: {_CONVERT}",
        ),
        (rb"(?!%b)\x80[\x02-\x05]" % _LENGTH, f"a pickle, as PyTorch used to write: {_CONVERT}"),
        (rb"c[\w.]+\n[\w.]+\n|\([dl]p\d", f"a pickle: {_CONVERT}"),
        (rb"GGUF|FUGG", "a GGUF file, which bitmill can inspect but not quantize"),
        (rb"ggml|lmgg|ggjt|tjgg|ggla|algg", f"a GGML file: {_CONVERT}"),
        (rb"\x93NUMPY", f"a NumPy .npy file: {_CONVERT}"),
        (rb"\x89HDF\r\n\x1a\n", f"an HDF5 file: {_CONVERT}"),
        (rb".{4}TFL3", f"a TensorFlow Lite file: {_CONVERT}"),
        (rb"\x1f\x8b\x08", f"a gzip file: {_UNPACK}"),
        (rb"\x28\xb5\x2f\xfd", f"a Zstandard file: {_UNPACK}"),
        (rb"\xfd7zXZ\0", f"an xz file: {_UNPACK}"),
        (rb"7z\xbc\xaf\x27\x1c", f"a 7-Zip archive: {_UNPACK}"),
        (rb".{257}ustar", f"a tar archive: {_UNPACK}"),
    )
)
_JSON = re.compile(rb"(?!%b)(\xef\xbb\xbf)?\s*[{[]" % _LENGTH, re.DOTALL)


def lookalike(first: bytes) -> str | None:
    """What a file is that starts with `first`, and what to do about it; None if it is unknown.

    >>> lookalike(b"GGUF\\3\\0\\0\\0")
    'a GGUF file, which bitmill can inspect but not quantize'
    """
    return next((kind for pattern, kind in _KINDS if pattern.match(first)), None)


def is_json(first: bytes) -> bool:
    """Whether a text that starts with `first` is meant to be a JSON object or list."""
    return _JSON.match(first) is not None
