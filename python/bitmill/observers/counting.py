# SPDX-License-Identifier: MIT
"""Histograms that grow: a state with ranges and counts, which depends on no order of values."""

from __future__ import annotations

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array
from bitmill._results import Range
from bitmill.observers.minmax import is_empty, unseen, wider
from bitmill.observers.state import State, require
from bitmill.summaries import Bins, Window, window


def uncounted(channels: int, bins: int) -> State:
    """The state before any value."""
    return unseen(channels) | {"counts": np.zeros((channels, bins), np.int64)}


def counted(state: State, rows: Array, seen: Range, num_threads: int | None = None) -> State:
    """With the values of `rows` [n, any number], whose finite ones have the range `seen`."""
    grown, room = _grown(state, seen)
    rows = np.ascontiguousarray(rows)
    bins = state["counts"].shape[1]
    counts = kernels.histogram(rows, room.exponent, room.first, bins=bins, num_threads=num_threads)
    counts += grown["counts"]
    return grown | {"counts": counts}


def added(state: State, other: State) -> State:
    """With the values that `other` has seen."""
    seen = Range(other["min"], other["max"])
    grown, room = _grown(state, seen)
    return grown | {"counts": grown["counts"] + _moved(other["counts"], _room(other), room)}


def bins_of(state: State, channel: int) -> Bins:
    """The histogram of a channel that has values, from the bin of its min to that of its max."""
    lo, hi = float(state["min"][channel]), float(state["max"][channel])
    room = _room({name: array[channel : channel + 1] for name, array in state.items()})
    exponent, first, last = (int(part[0]) for part in room)
    counts = state["counts"][channel, : last - first + 1].copy()
    return Bins(exponent, first, counts, lo, hi)


def validate(state: State) -> None:
    """Raise ValueError unless the counts reach from the bin of the min to that of the max."""
    counts, empty = state["counts"], is_empty(Range(state["min"], state["max"]))
    room = _room(state)
    last = (room.last - room.first)[:, np.newaxis]
    outside = np.arange(counts.shape[1]) > last
    ends = np.concatenate([counts[:, :1], np.take_along_axis(counts, last, 1)], axis=1)
    where = "one of counts that lie between min and max"
    require(counts >= 0, where)
    require(counts[outside] == 0, where)
    require((ends > 0).all(axis=1) != empty, where)


def _room(state: State) -> Window:
    return window(Range(state["min"], state["max"]), state["counts"].shape[1])


def _grown(state: State, seen: Range) -> tuple[State, Window]:
    """The same values in a window that has room for others, and the window."""
    grown = wider(state, seen) | {"counts": state["counts"]}
    before, after = _room(state), _room(grown)
    return grown | {"counts": _moved(state["counts"], before, after)}, after


def _moved(counts: Array, before: Window, after: Window) -> Array:
    """Counts [n, bins] in bins that are as wide or wider: i becomes i >> 1 as often as they double.

    The same as counting again, since ⌊⌊x / w⌋ / 2⌋ = ⌊x / 2w⌋.
    """
    if all((a == b).all() for a, b in zip(before, after, strict=True)):
        return counts
    channel, bin = np.nonzero(counts)
    index = before.first[channel].astype(np.int64) + bin
    doublings = (after.exponent - before.exponent)[channel]
    moved = np.zeros_like(counts)
    to = (index >> np.minimum(doublings, 63)) - after.first[channel]
    np.add.at(moved, (channel, to), counts[channel, bin])
    return moved
