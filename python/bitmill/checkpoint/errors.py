# SPDX-License-Identifier: MIT
"""The error of this layer, and how it shows what came out of a file."""

from __future__ import annotations

import reprlib

_LONGEST = 120
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _LONGEST
_REPR.maxlist, _REPR.maxdict, _REPR.maxlevel = 8, 3, 3


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, planned or written as asked.

    The text names the file, the tensor and the field. Failures of the system stay OSErrors.
    """


def shown(value: object) -> str:
    """The repr of `value`, shortened: names and values in files may be megabytes long.

    >>> shown([2, 3]), shown([1] * 1000), len(shown("x" * 1000))
    ('[2, 3]', '[1, 1, 1, 1, 1, 1, 1, 1, ...]', 120)
    """
    text = _REPR.repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
