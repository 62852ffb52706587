# SPDX-License-Identifier: MIT
"""The floating-point mode that results are defined in, for Python's and NumPy's own arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bitmill import _core


@contextmanager
def default_floats() -> Iterator[None]:
    """A block, or a function, in which floats are rounded to nearest and subnormals are kept.

    A host program may have set something else in its thread, which comes back behind the block.

    >>> with default_floats():
    ...     1e-200 * 1e-120
    1e-320
    """
    before = _core.default_floats()
    try:
        yield
    finally:
        _core.restore_floats(before)
