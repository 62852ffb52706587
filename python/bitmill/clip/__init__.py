# SPDX-License-Identifier: MIT
"""How the range that a group's scale covers is chosen. A clip turns values into parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bitmill import _check
from bitmill.clip.aciq import ACIQ
from bitmill.clip.aciq_alpha import aciq_alpha
from bitmill.clip.aciq_bits import aciq_bits
from bitmill.clip.base import Clip
from bitmill.clip.entropy import Entropy
from bitmill.clip.extremes import finite_ranges, merge, ranges
from bitmill.clip.mean_std import MeanStd
from bitmill.clip.minmax import MinMax
from bitmill.clip.mse import MSE
from bitmill.clip.percentile import Percentile

__all__ = [
    "ACIQ",
    "MSE",
    "Clip",
    "Entropy",
    "MeanStd",
    "MinMax",
    "Percentile",
    "aciq_alpha",
    "aciq_bits",
    "finite_ranges",
    "merge",
    "ranges",
    "resolve",
    "spelled",
]

_KINDS: dict[str, type[Clip]] = {
    kind.name: kind for kind in (MinMax, MSE, Percentile, ACIQ, MeanStd, Entropy)
}
_PARSERS: dict[str, Callable[[str | None], Clip]] = {
    **{name: kind.parse for name, kind in _KINDS.items()},
    "mse-exact": MSE.parse_exact,
}


def resolve(clip: Any) -> Clip:
    """`clip`, or the clip that a string names: "minmax", "percentile:99.9".

    Raises TypeError for what is neither, and ValueError for a string that names none.

    >>> resolve("minmax")
    MinMax()
    """
    if isinstance(clip, Clip):
        return clip
    if isinstance(clip, type):
        raise TypeError(f"clip is the class {clip.__name__}; wanted an object: {clip.__name__}()")
    if not isinstance(clip, str):
        _check.choice(clip, "clip", tuple(_PARSERS))
    name, colon, argument = clip.partition(":")
    if name not in _PARSERS:
        _check.choice(clip, "clip", tuple(_PARSERS))
    return _PARSERS[name](argument if colon else None)


def spelled(clip: Clip) -> str:
    """The string that `resolve` reads back.

    Raises ValueError for a clip of a class that is not bitmill's.

    >>> spelled(MinMax())
    'minmax'
    """
    if type(clip) is not _KINDS.get(clip.name):
        raise ValueError(f"clip={clip!r} is not of bitmill: no file can name it")
    return str(clip)
