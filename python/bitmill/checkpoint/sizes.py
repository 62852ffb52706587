# SPDX-License-Identifier: MIT
"""Sizes as people write them: "256MiB", "5GB", or a number of bytes."""

from __future__ import annotations

import operator
import re
from decimal import Decimal
from typing import Any

UNITS = {"": 1, "B": 1} | {
    unit: base**power
    for base, suffix in ((1000, "B"), (1024, "iB"))
    for power, letter in enumerate("KMGT", 1)
    for unit in ((letter + suffix).upper(),)
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_size(value: Any, name: str) -> int:
    """The argument called `name` as a number of bytes, from 1 to 2^63 - 1.

    Units are powers of 1000 (KB, MB, GB, TB) and of 1024 (KiB, MiB, GiB, TiB), in any case. Raises
    TypeError for what is neither a string nor an int, ValueError for what is no size.

    >>> parse_size("1GiB", "max_memory"), parse_size("1.5 kB", "max_memory"), parse_size(7, "n")
    (1073741824, 1500, 7)
    """
    if isinstance(value, str):
        found = _SIZE.fullmatch(value)
        if found is None or found[2].upper() not in UNITS:
            raise ValueError(
                f"{name}={value!r} is no size; wanted bytes as a number, or such as '256MiB', '5GB'"
            )
        count = int(Decimal(found[1]) * UNITS[found[2].upper()])
    elif isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is a bool; {name} takes a size such as '1GiB'")
    else:
        try:
            count = operator.index(value)
        except TypeError:
            kind = type(value).__name__
            raise TypeError(
                f"{name}={value!r} is a {kind}; {name} takes a size such as '1GiB'"
            ) from None
    if count < 1:
        raise ValueError(f"{name}={value!r} must be at least 1 byte")
    if count >> 63:
        raise ValueError(f"{name} is more than 2^63 - 1 bytes, which no file or memory has")
    return count
