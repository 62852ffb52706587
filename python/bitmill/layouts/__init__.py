# SPDX-License-Identifier: MIT
"""How codes lie in memory: words, nibbles, blobs, other orders, and tiles for dot products.

`pack` and `unpack` make the words that bitmill holds. A layout is an object with `pack(codes)`,
`unpack(packed, shape)`, `shape(shape)` and `nbytes(shape)`; what it pads, it pads in the packed
array alone.
"""

from bitmill.layouts.base import Layout
from bitmill.layouts.integers import Integers
from bitmill.layouts.interleaved import Interleaved
from bitmill.layouts.nibbles import Nibbles
from bitmill.layouts.streams import Blobs, Words
from bitmill.layouts.tiles import Tiles
from bitmill.layouts.words import pack, unpack

__all__ = [
    "Blobs",
    "Integers",
    "Interleaved",
    "Layout",
    "Nibbles",
    "Tiles",
    "Words",
    "pack",
    "unpack",
]
