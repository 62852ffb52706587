# SPDX-License-Identifier: MIT
"""Digests that tell data from other data at the speed of memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from bitmill._dtypes import Array
from bitmill.checkpoint.data import as_bytes

_WORDS = 1021
_ROW = 8 * _WORDS


def digest(arrays: Iterable[Array]) -> str:
    """What arrays, one after the other, are known by, in hexadecimal.

    sha256 over this of each: its bytes as 64-bit words in a table of 1,021 columns (a prime, so
    that rows of weights that change places change it), of which each column is summed modulo 2^64,
    and then the bytes that fill no row. sha256 of all bytes would take longer than quantizing them.
    Other weights, lost writes and torn ones do not pass; somebody who wants to pass can.

    >>> digest([np.arange(3)])[:16], digest([np.arange(3), np.arange(0)])[:16]
    ('ab25350e3e65efeb', 'ab25350e3e65efeb')
    """
    found = hashlib.sha256()
    for array in arrays:
        data = as_bytes(array)
        full = data.nbytes // _ROW * _ROW
        if full:
            table = data[:full].view(np.uint64).reshape(-1, _WORDS)
            found.update(np.add.reduce(table, axis=0).data)
        found.update(data[full:].data)
    return found.hexdigest()


def digest_of(digests: Iterable[str]) -> str:
    """One digest for those of all pieces of a tensor."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()
