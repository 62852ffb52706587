# SPDX-License-Identifier: MIT
"""What every observer offers: batches in, parameters out, states that merge and are written."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from bitmill import _check
from bitmill._results import AffineParams, Range
from bitmill._threads import resolve
from bitmill.clip import Clip
from bitmill.clip import resolve as resolve_clip
from bitmill.grid import Grid, View, view
from bitmill.observers.batch import Batch
from bitmill.observers.state import State
from bitmill.observers.written import KINDS, Written
from bitmill.qparams import QParams, static_scheme
from bitmill.schemes import Affine
from bitmill.schemes.overflow import overflow_error


class Observer(Written, ABC):
    """Looks at batches of values, of which it keeps a summary of a size that does not grow.

    `axis` None is one summary for all values; an int is one for each channel along that axis.

    Attributes
    ----------
    count
        Finite values seen.
    nonfinite
        NaN and infinities seen, and float64 beyond the range of float32: they are left out.
    batches
        Batches seen.
    """

    def __init__(self, *, axis: int | None = None) -> None:
        wide = 1 << 6  # more axes than an array can have
        self.axis = None if axis is None else _check.integer(axis, "axis", low=-wide, high=wide)
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self.count = self.nonfinite = self.batches = 0
        self._params: tuple[int, ...] | None = None
        self._state: State = {}

    # Batches in

    def update(self, x: Any, *, num_threads: int | None = None) -> None:
        """Look at a batch: anything `bitmill.quantize` takes. NaN and infinity are skipped.

        After an error, or Ctrl-C, the observer is as it was before. Raises TypeError for another
        dtype, ValueError for 0 dimensions and for another number of channels than before.
        """
        threads = resolve(num_threads)
        values = _check.array(x)
        if values.size:
            cut = view(values.shape, self.axis, None)
            params = self._fitting(self._shape(cut), "x")
            batch = Batch(values, cut, threads)
            state = self._plus(self._state or self._empty(math.prod(params)), batch)
            self._params, self._state = params, state
            self.count += values.size - batch.nonfinite
            self.nonfinite += batch.nonfinite
        self.batches += 1

    def merge(self, other: Observer) -> None:
        """Look at all that `other` has seen; `other` is not changed.

        Raises TypeError for an observer of another class, ValueError for other options or another
        number of channels.
        """
        if type(other) is not type(self):
            raise TypeError(
                f"other is a {type(other).__name__}; a {type(self).__name__} merges with its kind"
            )
        if other._options() != self._options():
            raise ValueError(f"other has the options {other._options()}; wanted {self._options()}")
        if other._params is not None:
            params = self._fitting(other._params, "other")
            if self._state:
                self._state = self._merged(self._state, other._state)
            else:
                self._state = {name: array.copy() for name, array in other._state.items()}
            self._params = params
        self.count += other.count
        self.nonfinite += other.nonfinite
        self.batches += other.batches

    # Parameters out

    def compute(self, scheme: Affine) -> QParams:
        """Parameters by what was seen, the range being chosen by the scheme's clip.

        Raises TypeError for a scheme that is not affine; ValueError for one with rows, groups or
        another axis, for a clip that needs to know more than this observer keeps, for a channel
        without finite values, and for a scale that overflows its dtype.
        """
        scheme = self._checked(scheme)
        full = self._full()
        assert self._params is not None
        channels = View((1, full.min.size), self._params)
        clip = resolve_clip(scheme.clip)
        if clip.by_ranges:
            made = clip.fit_ranges(full, channels, scheme.grid)
        elif self.informs(clip):
            made = self._fitted(clip, channels, scheme.grid)
        else:
            raise no_informant(type(self).__name__, clip)
        if made.overflowed:
            raise overflow_error(scheme, self.range)
        health = {k: getattr(made, k) for k in ("underflowed", "unclipped") if getattr(made, k)}
        return QParams(scheme, *made[:3], health)

    @property
    def range(self) -> Range:
        """The least and greatest value, float32, in a shape that broadcasts against the values.

        Raises ValueError before the first finite value.
        """
        seen = self._full()
        assert self._params is not None
        return Range(*(ends.reshape(self._params) for ends in seen))

    def _checked(self, scheme: Any) -> Affine:
        """`scheme`, if it asks for what is observed."""
        static = static_scheme(scheme)
        if static.axis != self.axis:
            raise ValueError(
                f"scheme has axis={static.axis} and the observer axis={self.axis}; "
                "wanted the same one"
            )
        return static

    @staticmethod
    def informs(clip: Clip) -> bool:
        """Whether this observer knows what `clip` goes by, beside ranges."""
        return False

    def _fitted(self, clip: Clip, channels: View, grid: Grid) -> AffineParams:
        """What a clip that this observer informs makes of what it knows."""
        raise NotImplementedError

    def _full(self) -> Range:
        """The range of each channel, float32 [n]."""
        if self._params is None:
            raise ValueError(f"{type(self).__name__} has seen no finite value: update it first")
        seen = self._seen(self._state)
        empty = np.flatnonzero(~np.isfinite(seen.min))
        if empty.size:
            channel = "" if self.axis is None else f" in channel {empty[0]} of axis {self.axis}"
            raise ValueError(f"{type(self).__name__} has seen no finite value{channel}")
        return seen

    # Channels

    def _shape(self, cut: View) -> tuple[int, ...]:
        """The shape of parameters that broadcast against values of any rank that `axis` allows."""
        if self.axis is None:
            return (1,)
        return cut.params[self.axis :] if self.axis < 0 else cut.params

    def _fitting(self, params: tuple[int, ...], name: str) -> tuple[int, ...]:
        if self._params is not None and params != self._params:
            raise ValueError(
                f"{name} has channels in the shape {params}; wanted {self._params}, as before"
            )
        return params

    # What an observer keeps: functions of states, which change none

    @abstractmethod
    def _plus(self, state: State, batch: Batch) -> State:
        """The state after another batch."""

    @abstractmethod
    def _merged(self, state: State, other: State) -> State:
        """The state after the batches of both."""

    @abstractmethod
    def _seen(self, state: State) -> Range:
        """The range of each channel, float32 [n]; inf and −inf where nothing finite was seen."""


def informants(clip: Clip) -> list[type[Observer]]:
    """The observers that know what `clip` goes by, beside those that know ranges.

    >>> from bitmill.clip import MinMax
    >>> informants(MinMax())
    []
    """
    kinds = [kind for kind in KINDS.values() if issubclass(kind, Observer)]
    return [kind for kind in kinds if kind.informs(clip)]


def no_informant(who: str, clip: Clip) -> ValueError:
    """The error for a clip that needs more than `who` knows."""
    known = " or ".join(f"observers.{kind.__name__}" for kind in informants(clip))
    remedy = f"use {known}" if known else "no observer can; use clip='minmax'"
    return ValueError(f"{who} cannot tell what clip={str(clip)!r} goes by: {remedy}")
