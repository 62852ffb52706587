# SPDX-License-Identifier: MIT
"""Digests that tell data from other data at the speed of memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from bitmill._dtypes import Array
from bitmill.checkpoint.data import as_bytes

_WORDS, _ROWS = 1021, 32
_BLOCK = 8 * _WORDS * _ROWS


def digest(arrays: Iterable[Array]) -> str:
    """What arrays, one after the other, are known by: 128 bits in hexadecimal.

    sha256 over this of each: for every block of 32 rows of 1,021 words of 64 bits, the sums of its
    columns modulo 2^64; then the bytes that fill no block. (sha256 of all bytes would take longer
    than quantizing them.) Other weights, lost and torn writes do not pass, nor do rows of 256 bytes
    or more that have changed places, for 1,021 is a prime; somebody who wants to pass can.

    >>> digest([np.arange(3)])[:16], digest([np.arange(3), np.arange(0)])[:16]
    ('ab25350e3e65efeb', 'ab25350e3e65efeb')
    """
    found = hashlib.sha256()
    for array in arrays:
        data = as_bytes(array)
        full = data.nbytes // _BLOCK * _BLOCK
        if full:
            blocks = data[:full].view(np.uint64).reshape(-1, _ROWS, _WORDS)
            found.update(np.add.reduce(blocks, axis=1).data)
        found.update(data[full:].data)
    return found.hexdigest()[:32]


class Joined:
    """One digest for those of all pieces of a tensor, in order."""

    def __init__(self) -> None:
        self._found = hashlib.sha256()

    def add(self, digest: str) -> None:
        """That of the next piece."""
        self._found.update(digest.encode())

    def __str__(self) -> str:
        return self._found.hexdigest()[:32]
