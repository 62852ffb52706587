# SPDX-License-Identifier: MIT
"""What memory allows: streams that read and write as many bytes as a kernel, and do no more."""

from __future__ import annotations

from math import log

import numpy as np

from bitmill import _core

RATIOS = [(1, 0), (8, 1), (4, 1), (2, 1), (1, 1), (1, 2), (1, 4), (1, 8), (0, 1)]
"""Lines read and lines written at a time, as `_core.stream` has them."""


class Stream:
    """Reads `source` and writes `nbytes_out` bytes, in the nearest ratio there is."""

    def __init__(self, source: np.ndarray | None, nbytes_out: int, threads: int = 1) -> None:
        self._from = np.empty(0, np.uint8) if source is None else _bytes(source)
        self._to = np.ones(nbytes_out + 64, np.uint8)  # touched; and room to start at a line
        self._ratio, self._threads = nearest(self._from.nbytes, nbytes_out), threads
        self.name = describe(*self._ratio)
        self.nbytes = self.run()

    def run(self) -> int:
        """Move the bytes; how many they were, read and written."""
        return _core.stream(self._from, self._to, *self._ratio, self._threads)


class Ceiling:
    """Streams one after another: one for each time that a kernel goes over its data."""

    def __init__(self, *streams: Stream) -> None:
        self._streams = streams
        self.name = ", then ".join(stream.name for stream in streams)
        self.nbytes = sum(stream.nbytes for stream in streams)

    def run(self) -> None:
        for stream in self._streams:
            stream.run()


def one_pass(source: np.ndarray | None, nbytes_out: int, threads: int = 1) -> Ceiling:
    """The ceiling of a kernel that reads `source` once and writes so many bytes."""
    return Ceiling(Stream(source, nbytes_out, threads))


def two_passes(source: np.ndarray, nbytes_out: int) -> Ceiling:
    """The ceiling of a kernel that reads `source` for a range, then again for the codes."""
    return Ceiling(Stream(source, 0), Stream(source, nbytes_out))


def nearest(nbytes_in: int, nbytes_out: int) -> tuple[int, int]:
    """The ratio nearest to so many bytes read and written.

    Parameters of groups are within a twentieth of the codes, and change nothing.
    """
    if nbytes_in == 0:
        return 0, 1
    if nbytes_out * 50 < nbytes_in:
        return 1, 0
    wanted = log(nbytes_in / nbytes_out)
    both = [(i, o) for i, o in RATIOS if i and o]
    return min(both, key=lambda ratio: abs(log(ratio[0] / ratio[1]) - wanted))


def describe(lines_in: int, lines_out: int) -> str:
    """In words, by the byte: "read 8 write 1"."""
    words = [f"read {lines_in}" * (lines_in > 0), f"write {lines_out}" * (lines_out > 0)]
    if not (lines_in and lines_out):
        return "read" if lines_in else "write"
    return " ".join(words)


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)
