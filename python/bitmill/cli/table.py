# SPDX-License-Identifier: MIT
"""A table of names and columns for a terminal of any width, or for a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence

from bitmill.cli.text import printable

_PADDED = 60
"""Where no terminal sets the width, names up to this long line up the columns behind them."""
_LEAST = 24
"""Characters of a name on a line; columns that leave no room for them are left out, but for the
last ones, beside which there may be half as many."""


def table_lines(
    names: Sequence[str], columns: Sequence[Sequence[str]], *, keep: int = 2
) -> Iterator[str]:
    """A line for each name and its cells; the first of each is the heading.

    On a narrow terminal the first columns are left out, which are missed least, until `keep` are
    there; long names are folded. In a pipe nothing is cut.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    names = [printable(name) for name in names]
    aligned = [_aligned(column) for column in columns]
    longest = max(map(len, names))
    room = min(longest, _PADDED)
    if width is not None:
        while len(aligned) > keep and width - _taken(aligned) < _LEAST:
            del aligned[0]
        room = min(longest, max(width - _taken(aligned), _LEAST // 2))
    folded = longest if width is None else room
    for name, *cells in zip(names, *aligned, strict=True):
        yield "  ".join([name[:folded].ljust(room), *cells])
        yield from (name[i : i + folded] for i in range(folded, len(name), folded))


def shape_text(shape: tuple[int, ...] | None) -> str:
    """A shape as 4096x1024.

    >>> shape_text((4096, 1024)), shape_text(()), shape_text(None)
    ('4096x1024', 'scalar', '?')
    """
    if shape is None:
        return "?"
    return "x".join(map(str, shape)) or "scalar"


def _aligned(column: Sequence[str]) -> list[str]:
    width = max(map(len, column))
    return [cell.rjust(width) for cell in column]


def _taken(columns: list[list[str]]) -> int:
    """Characters of a line that the columns and the gaps before them take."""
    return sum(2 + len(column[0]) for column in columns)
